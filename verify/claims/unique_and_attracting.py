"""An irreducible generator has one stationary distribution, and everything flows to it at the spectral gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

FACTOR = 64.0  # times n η and a condition number, as backward-stable algorithms may lose
FEW = 60  # generators of a mutant
TIMES = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # in units of 1/gap


def check(profile: Profile) -> Exact:
    """The worst of three ratios to their rounding: zero eigenvalues, spectral radius, growth of relative entropy."""
    from verify.claims._generators import random_generators

    return _attraction(random_generators(profile.seed), profile.seed)


def mutant(profile: Profile) -> Exact:
    """Two chains that never meet are passed off as one irreducible chain."""
    import torch

    from verify.claims._generators import random_generators

    apart = (
        torch.stack([torch.block_diag(a, b) for a, b in zip(A, A.flip(0), strict=True)])
        for A in random_generators(profile.seed, sizes=(2, 5), count=20)
    )
    return _attraction(apart, profile.seed)


def _attraction(
    generators: Iterable[Tensor],
    seed: int,
    *,
    gap: float = 1.0,
    equilibrium: Callable[[Tensor], Tensor] = lambda p: p,
    driven: Callable[[Tensor], Tensor] = lambda A: A,
) -> Exact:
    """What a mutant has wrong: a factor of the gap, the p that deviations are taken from, the matrix that drives."""
    from theory import NotUniqueError
    from verify.claims._generators import KINDS

    quantity = "worst of: eigenvalues at zero, ρ(e^{At} − p1ᵀ) against e^{−gap t}, growth of D(x‖p); over its rounding"
    worst: dict[str, float] = {}
    count = 0
    for A in generators:
        try:
            ratios = _ratios(A, seed, gap, equilibrium, driven)
        except NotUniqueError as error:
            return Exact(
                quantity="recurrent classes of a generator said to be irreducible",
                measured=float(len(error.classes)),
                bound=1.0,
                reason=f"no unique equilibrium: {error}",
            )
        for name, ratio in ratios.items():
            worst[name] = max(worst.get(name, 0.0), ratio if ratio == ratio else float("inf"))
        count += len(A)
    return Exact(
        quantity=quantity,
        measured=max(worst.values()),
        bound=1.0,
        reason=f"{count} random generators ({', '.join(KINDS)}); worst: {max(worst, key=worst.__getitem__)}",
        details={"ratios": [{"of": name, "ratio": ratio} for name, ratio in worst.items()], "generators": count},
    )


def _ratios(
    A: Tensor,
    seed: int,
    factor: float,
    equilibrium: Callable[[Tensor], Tensor],
    driven: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    import torch

    from theory import spectral_gap, stationary_distribution
    from theory.chain.master_equation import relative_entropy
    from verify.claims._generators import condition, random_probabilities

    n = A.shape[-1]
    unit = FACTOR * n * torch.finfo(A.dtype).eps / 2
    p = equilibrium(stationary_distribution(A))
    gap, exact, A = spectral_gap(A), A, driven(A)
    values, vectors = torch.linalg.eig(A)
    norm = A.abs().sum(-2).amax(-1)
    # Bauer–Fike: an eigenvalue moves by at most the condition of the eigenvectors times the perturbation.
    moves = unit * norm * torch.linalg.cond(vectors)
    others = (values.abs() > torch.minimum(moves, 0.5 * gap)[:, None]).sum(-1)
    t = 1.0 / gap
    K = torch.linalg.matrix_exp(t[:, None, None] * A)
    if not bool(torch.isfinite(K).all()):
        return {"a flow that stays finite": float("inf")}
    away = K - p[:, :, None]
    radius = torch.linalg.eigvals(away).abs().amax(-1)
    rounding = unit * (1.0 + norm * t) * torch.linalg.cond(torch.linalg.eig(away).eigenvectors)
    x = random_probabilities(A, seed)
    times = torch.tensor(TIMES, dtype=A.dtype)[None, :] * t[:, None]
    path = (torch.linalg.matrix_exp(times[..., None, None] * A[:, None]) @ x[:, None, :, None])[..., 0]
    if not bool(torch.isfinite(path).all()):
        return {"a flow that stays finite": float("inf")}
    path = path.clamp_min(0.0)
    entropy = relative_entropy(path / path.sum(-1, keepdim=True), p[:, None])
    # Rounding in p(t), relative κ η, enters D through Σ dx ln(x/p).
    spread = (path.clamp_min(torch.finfo(A.dtype).tiny) / p[:, None]).log().abs().amax((-2, -1))
    grown = entropy.diff(dim=-1).amax(-1) / (unit * (1.0 + condition(exact)) * spread)
    return {
        "eigenvalues at zero beyond the first": float((n - 1 - others).abs().max()) * 2.0,
        "spectral radius": float(((radius - torch.exp(-factor * gap * t)).abs() / rounding).max()),
        "growth of relative entropy": float(grown.max().clamp_min(0.0)),
    }


def _few(**broken: Any) -> Callable[[Profile], Exact]:
    """The check on few generators, with something wrong."""

    def run(profile: Profile) -> Exact:
        from verify.claims._generators import random_generators

        return _attraction(random_generators(profile.seed, count=FEW), profile.seed, **broken)

    return run


def _tilted(p: Tensor) -> Tensor:
    """p with its first entry one per cent larger."""
    import torch

    factor = torch.ones_like(p)
    factor[..., 0] = 1.01
    return factor * p / (factor * p).sum(-1, keepdim=True)


def _pump(A: Tensor) -> Tensor:
    """A with one per cent of the exit rate of state 0 left out of its diagonal: probability is made."""
    pumped = A.clone()
    pumped[..., 0, 0] *= 0.99
    return pumped


CLAIM = ExactClaim(
    id="unique_and_attracting",
    statement="For an irreducible generator the equilibrium is unique and attracting: deviations decay with spectral "
    "radius e^{−gap·t}, and the relative entropy to p_st never grows.",
    source="Perron–Frobenius; Norris, Markov Chains (1997), thms 3.5.3 and 3.6.2; Schnakenberg, Rev. Mod. Phys. 48 "
    "(1976) 571",
    check=check,
    mutant=mutant,
    mutation="two chains that never meet are passed off as one irreducible chain",
    mutants=(
        Mutant("gap", "deviations are said to decay at 1.01 times the gap", _few(gap=1.01)),
        Mutant("tilted", "the equilibrium has one entry 1 % larger", _few(equilibrium=_tilted)),
        Mutant("rolled", "the equilibrium has its states rolled by one", _few(equilibrium=lambda p: p.roll(1, -1))),
        Mutant("pump", "1 % of an exit rate is left out: probability is made", _few(driven=_pump)),
        Mutant("backwards", "time runs backwards", _few(driven=lambda A: -A)),
        Mutant("faster", "the flow runs 1 % faster than the generator says", _few(driven=lambda A: 1.01 * A)),
    ),
)
