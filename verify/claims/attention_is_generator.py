"""Frozen attention is a generator, and what causal attention settles on is the first token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Exact, ExactClaim, Profile

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
COUNT = 1000
FACTOR = 8.0  # times n η


def check(profile: Profile) -> Exact:
    """Column sums, signs, positivity, and for causal attention p_st = e_0 and its gap: the worst, over its rounding."""
    return _generator(profile.seed, across_queries=False)


def mutant(profile: Profile) -> Exact:
    """Softmax over the queries instead of the keys: rows no longer sum to one."""
    return _generator(profile.seed, across_queries=True)


def _generator(seed: int, *, across_queries: bool) -> Exact:
    import torch

    worst = {"column sums": 0.0, "negative rates": 0.0, "full: p_st > 0": 0.0, "causal: p_st = e_0": 0.0}
    worst["causal: gap = 1 − max W_tt"] = 0.0
    count = 0
    rng = torch.Generator().manual_seed(seed)
    for n in LENGTHS:
        q, k = torch.randn(2, COUNT // len(LENGTHS), n, 16, generator=rng, dtype=torch.float64)
        sharpness = (4.0 * torch.rand(len(q), 1, 1, generator=rng, dtype=torch.float64) - 2.0).exp()
        scores = sharpness * (q @ k.mT) / 4.0
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        for causal in (False, True):
            masked = scores.masked_fill(later, -torch.inf) if causal else scores
            W = masked.softmax(-2 if across_queries else -1)
            found = _causal_ratios(W) if causal else _full_ratios(W)
            for name, ratio in found.items():
                worst[name] = max(worst[name], ratio if ratio == ratio else float("inf"))
        count += len(scores)
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="worst departure of A = Wᵀ − I from a generator with the stated equilibrium, over its rounding",
        measured=worst[largest],
        bound=1.0,
        reason=f"{count} random attention maps, flat to sharp, full and causal, of {LENGTHS[0]} to {LENGTHS[-1]} "
        f"tokens; worst: {largest}",
        details={"ratios": [{"of": name, "ratio": ratio} for name, ratio in worst.items()], "generators": count},
    )


def _shared_ratios(W: Tensor) -> tuple[Tensor, dict[str, float]]:
    """A = Wᵀ − I [..., n, n] and how far it is from being a generator."""
    import torch

    n = W.shape[-1]
    A = W.mT - torch.eye(n, dtype=W.dtype)
    unit = FACTOR * n * torch.finfo(W.dtype).eps / 2
    off = A - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))
    return A, {"column sums": float(A.sum(-2).abs().max()) / unit, "negative rates": float((-off).max()) / unit}


def _rates_of(A: Tensor) -> Tensor:
    """The same generator with the diagonal that its rates imply: that of Wᵀ − I cancels where W_tt is near 1."""
    from theory import from_rates

    return from_rates(A.clamp_min(0.0))


def _full_ratios(W: Tensor) -> dict[str, float]:
    from theory import stationary_distribution

    A, ratios = _shared_ratios(W)
    p = stationary_distribution(_rates_of(A))
    return ratios | {"full: p_st > 0": 0.0 if bool((p > 0).all()) else float("inf")}


def _causal_ratios(W: Tensor) -> dict[str, float]:
    import torch

    from theory import spectral_gap, stationary_distribution

    A, ratios = _shared_ratios(W)
    n = W.shape[-1]
    generator = _rates_of(A)
    unit = FACTOR * n * torch.finfo(W.dtype).eps / 2
    first = torch.eye(n, dtype=W.dtype)[0]
    p = stationary_distribution(generator)
    stays = W.diagonal(dim1=-2, dim2=-1)[..., 1:].amax(-1)
    # A is triangular: its eigenvalues are its diagonal, right to the rounding of W_tt however far from normal A is.
    error = (spectral_gap(generator) - (1.0 - stays)).abs() / unit
    ratios["causal: p_st = e_0"] = 0.0 if bool((p == first).all()) else float("inf")
    return ratios | {"causal: gap = 1 − max W_tt": float(error.max())}


CLAIM = ExactClaim(
    id="attention_is_generator",
    statement="Attention with frozen weights is a generator, A = Wᵀ − I; full attention has one equilibrium, positive "
    "everywhere, and the equilibrium of causal attention is the first token.",
    source="the paper's reading of attention as coupling; row-stochastic W; Norris, Markov Chains (1997), thm 3.5.3",
    check=check,
    mutant=mutant,
    mutation="softmax over the queries instead of the keys, so that rows of W no longer sum to one",
)
