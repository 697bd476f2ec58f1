"""Frozen attention is a generator, and what causal attention settles on is the first token: read off the network.

The weights W are those of `network.fast_path.Attention` itself: with its values replaced by the identity, the call that
it makes returns W, mask, rotary positions and scale included. What the call makes of its own values must be W v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Callable[[Tensor], Tensor]
    Call = Callable[..., Any]

LENGTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
COUNT = 1000
HEADS, WIDTH = 4, 32
FEW = 80  # maps of a mutant
FACTOR = 8.0  # times n η


def check(profile: Profile) -> Exact:
    """Column sums, signs, positivity, and for causal attention p_st = e_0 and its gap: the worst, over its rounding."""
    return _generator(profile.seed)


def mutant(profile: Profile) -> Exact:
    """Softmax over the queries instead of the keys: rows no longer sum to one."""

    def across_queries(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False, **_: Any) -> Tensor:
        return _scores(q, k, is_causal).softmax(-2) @ v

    return _generator(profile.seed, count=FEW, call=across_queries)


def _generator(
    seed: int, *, count: int = COUNT, call: Call | None = None, rates_of: Weights | None = None, gap: float = 1.0
) -> Exact:
    """call: what passes for the network's attention call; rates_of: for A of W; gap: a factor of the predicted gap."""
    import torch

    names: tuple[str, ...] = ("column sums", "negative rates", "W v is what the layer computes", "full: p_st > 0")
    worst: dict[str, float] = dict.fromkeys((*names, "causal: p_st = e_0", "causal: gap = 1 − max W_tt"), 0.0)
    seen = 0
    rng = torch.Generator().manual_seed(seed)
    for n in LENGTHS:
        for causal in (False, True):
            W, off = _attention_maps(n, count // len(LENGTHS) // HEADS, causal, rng, call)
            found = (_causal_ratios if causal else _full_ratios)(W, rates_of or _minus_identity, gap)
            found["W v is what the layer computes"] = off
            for name, ratio in found.items():
                worst[name] = max(worst[name], ratio if ratio == ratio else float("inf"))
            seen += len(W)
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="worst departure of A = Wᵀ − I from a generator with the stated equilibrium, over its rounding",
        measured=worst[largest],
        bound=1.0,
        reason=f"{seen} random attention maps of the network's own layer, flat to sharp, full and causal, of "
        f"{LENGTHS[0]} to {LENGTHS[-1]} tokens; worst: {largest}",
        details={"ratios": [{"of": name, "ratio": ratio} for name, ratio in worst.items()], "generators": seen},
    )


def _attention_maps(n: int, batch: int, causal: bool, rng: Any, call: Call | None) -> tuple[Tensor, float]:
    """W[B h, n, n] of a layer of the network on random streams, and how far its output is from W v, over rounding."""
    import torch
    from torch.overrides import TorchFunctionMode

    from network.fast_path import Attention
    from network.rotary import rotary_table

    layer = Attention(WIDTH, HEADS, 1, rng, causal=causal).double()
    x = torch.randn(batch, n, WIDTH, generator=rng, dtype=torch.float64)
    # Queries and keys grow with the stream: from nearly flat to nearly one-hot.
    x = x * (2.0 * torch.rand(batch, 1, 1, generator=rng, dtype=torch.float64) - 1.0).exp()
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    class Reading(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is not torch.nn.functional.scaled_dot_product_attention:
                return func(*args, **(kwargs or {}))
            q, k, v = args
            attend = call or func
            identity = torch.eye(n, dtype=v.dtype).expand(*v.shape[:-1], n)
            out = attend(q, k, v, **(kwargs or {}))
            kept.append((attend(q, k, identity, **(kwargs or {})), v, out))
            return out

    with torch.no_grad(), Reading():
        layer(x, rotary_table(n, WIDTH, HEADS).double())
    if len(kept) != 1:
        raise RuntimeError(f"the layer made {len(kept)} attention calls in the place of one")
    W, v, out = kept[0]
    size = FACTOR * n * torch.finfo(v.dtype).eps / 2 * (1.0 + v.abs().amax())
    return W.flatten(0, 1), float((W @ v - out).abs().max() / size)


def _minus_identity(W: Tensor) -> Tensor:
    """A = Wᵀ − I."""
    import torch

    return W.mT - torch.eye(W.shape[-1], dtype=W.dtype)


def _more_than_identity(W: Tensor) -> Tensor:
    """Wᵀ − 1.01 I."""
    return 1.01 * _minus_identity(W) - 0.01 * W.mT


def _shared_ratios(W: Tensor, rates_of: Weights) -> tuple[Tensor, dict[str, float]]:
    """A = Wᵀ − I [..., n, n] and how far it is from being a generator."""
    import torch

    n = W.shape[-1]
    A = rates_of(W)
    unit = FACTOR * n * torch.finfo(W.dtype).eps / 2
    off = A - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))
    return A, {"column sums": float(A.sum(-2).abs().max()) / unit, "negative rates": float((-off).max()) / unit}


def _with_its_diagonal(A: Tensor) -> Tensor:
    """The same generator with the diagonal that its rates imply: that of Wᵀ − I cancels where W_tt is near 1."""
    from theory import from_rates

    return from_rates(A.clamp_min(0.0))


def _full_ratios(W: Tensor, rates_of: Weights, gap: float) -> dict[str, float]:
    from theory import NotUniqueError, stationary_distribution

    A, ratios = _shared_ratios(W, rates_of)
    try:
        positive = bool((stationary_distribution(_with_its_diagonal(A)) > 0).all())
    except NotUniqueError:
        positive = False
    return ratios | {"full: p_st > 0": 0.0 if positive else float("inf")}


def _causal_ratios(W: Tensor, rates_of: Weights, gap: float) -> dict[str, float]:
    import torch

    from theory import NotUniqueError, spectral_gap, stationary_distribution

    A, ratios = _shared_ratios(W, rates_of)
    n = W.shape[-1]
    generator = _with_its_diagonal(A)
    unit = FACTOR * n * torch.finfo(W.dtype).eps / 2
    first = torch.eye(n, dtype=W.dtype)[0]
    try:
        p = stationary_distribution(generator)
    except NotUniqueError:
        return ratios | {"causal: p_st = e_0": float("inf")}
    stays = W.diagonal(dim1=-2, dim2=-1)[..., 1:].amax(-1)
    # A is triangular: its eigenvalues are its diagonal, right to the rounding of W_tt however far from normal A is.
    error = (spectral_gap(generator) - gap * (1.0 - stays)).abs() / unit
    ratios["causal: p_st = e_0"] = 0.0 if bool((p == first).all()) else float("inf")
    return ratios | {"causal: gap = 1 − max W_tt": float(error.max())}


def _scores(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    """q kᵀ/√c, with −inf where a causal layer may not look."""
    import torch

    scores = q @ k.mT / q.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf) if causal else scores


def _with_call(change: Callable[[Tensor, bool], Tensor]) -> Callable[[Profile], Exact]:
    """The check on a layer whose weights are `change(scores, causal)`."""

    def call(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False, **_: Any) -> Tensor:
        return change(_scores(q, k, is_causal), is_causal) @ v

    return lambda profile: _generator(profile.seed, count=FEW, call=call)


def _sees_one_ahead(scores: Tensor, causal: bool) -> Tensor:
    import torch

    n = scores.shape[-1]
    reached = torch.ones(n, n, dtype=torch.bool).triu(2) if causal else torch.zeros(n, n, dtype=torch.bool)
    return scores.nan_to_num(neginf=0.0).masked_fill(reached, -torch.inf).softmax(-1)


def _first_token_leaks(scores: Tensor, causal: bool) -> Tensor:
    """Token 0 gives one per cent of its weight to token 1."""
    W = scores.softmax(-1).clone()
    if causal:
        W[..., 0, 0], W[..., 0, 1] = 0.99, 0.01
    return W


CLAIM = ExactClaim(
    id="attention_is_generator",
    statement="Attention with frozen weights is a generator, A = Wᵀ − I; full attention has one equilibrium, positive "
    "everywhere, and the equilibrium of causal attention is the first token.",
    source="the paper's reading of attention as coupling; row-stochastic W; Norris, Markov Chains (1997), thm 3.5.3",
    check=check,
    mutant=mutant,
    mutation="softmax over the queries instead of the keys, so that rows of W no longer sum to one",
    mutants=(
        Mutant("sees_one_ahead", "a causal layer sees one token ahead", _with_call(_sees_one_ahead)),
        Mutant("first_token_leaks", "token 0 gives 1 % of its weight to token 1", _with_call(_first_token_leaks)),
        Mutant(
            "sink",
            "1 % of each row goes to a sink that is no token",
            _with_call(lambda scores, causal: 0.99 * scores.softmax(-1)),
        ),
        Mutant(
            "signed_weights",
            "1 % of a second, flatter map is subtracted, as in differential attention",
            _with_call(lambda scores, causal: 1.01 * scores.softmax(-1) - 0.01 * (0.1 * scores).softmax(-1)),
        ),
        Mutant(
            "not_transposed",
            "W − I in the place of Wᵀ − I",
            lambda profile: _generator(profile.seed, count=FEW, rates_of=lambda W: _minus_identity(W).mT),
        ),
        Mutant(
            "identity_off",
            "1.01 of the identity is taken off",
            lambda profile: _generator(profile.seed, count=FEW, rates_of=_more_than_identity),
        ),
        Mutant(
            "gap",
            "the gap of causal attention is predicted 1 % too large",
            lambda profile: _generator(profile.seed, count=FEW, gap=1.01),
        ),
    ),
)
