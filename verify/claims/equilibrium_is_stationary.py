"""The equilibrium of the frozen fast flow is the stationary distribution: seven routes to one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Exact, ExactClaim, Profile

if TYPE_CHECKING:
    from torch import Tensor

FACTOR = 64.0  # times n η κ(A): what backward-stable algorithms may lose
RELAXED = 60.0  # times 1/gap: e^{−60} is below rounding


def check(profile: Profile) -> Exact:
    """The largest TV between any two routes, in units of the rounding that its conditioning allows."""
    return _agreement(profile.seed, transposed=False)


def mutant(profile: Profile) -> Exact:
    """The null space is taken of Aᵀ, the row convention of the probability texts."""
    return _agreement(profile.seed, transposed=True)


def _agreement(seed: int, *, transposed: bool) -> Exact:
    import torch

    from theory import stationary_distribution, total_variation
    from verify.claims._generators import condition, random_generators

    worst: dict[str, float] = {}
    count = 0
    for A in random_generators(seed):
        n = A.shape[-1]
        p = stationary_distribution(A)
        allowed = FACTOR * n * torch.finfo(A.dtype).eps / 2 * (1.0 + condition(A))
        routes = _routes(A, transposed=transposed)
        for name, q in routes.items():
            ratio = float((total_variation(p, q) / allowed).max())
            worst[name] = max(worst.get(name, 0.0), ratio if ratio == ratio else float("inf"))
        count += len(A)
    worst["exact rational algebra (SymPy)"], symbolic = _against_sympy(seed)
    worst["occupation of simulated jumps"], sampled = _against_jumps(seed)
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="largest TV between elimination and another route, over its rounding (jumps: over the χ² quantile)",
        measured=worst[largest],
        bound=1.0,
        reason=f"{count} random generators, {symbolic} in exact algebra, {sampled} by simulation; worst: {largest}",
        details={"routes": [{"route": name, "ratio": ratio} for name, ratio in worst.items()], "generators": count},
    )


def _routes(A: Tensor, *, transposed: bool) -> dict[str, Tensor]:
    """p by algorithms that share no step with the elimination: q[..., n] each."""
    import torch

    n = A.shape[-1]
    ones = torch.ones(*A.shape[:-2], 1, n, dtype=A.dtype)
    last = torch.zeros(*A.shape[:-2], n, 1, dtype=A.dtype)
    last[..., -1, 0] = 1.0
    # Columns over their exit rates: states of very different rates then carry comparable weight.
    exit_rate = -A.diagonal(dim1=-2, dim2=-1)
    jumps = A / exit_rate[..., None, :]
    linear = torch.linalg.solve(torch.cat([jumps[..., :-1, :], ones], -2), last)[..., 0] / exit_rate
    null = torch.linalg.svd(A.mT if transposed else A).Vh[..., -1, :]
    gap = -torch.linalg.eigvals(A).real.sort(-1, descending=True).values[..., 1]
    start = torch.full((*A.shape[:-1], 1), 1.0 / n, dtype=A.dtype)
    horizon = (RELAXED / gap)[..., None, None]
    master = (torch.linalg.matrix_exp(horizon * A) @ start)[..., 0]
    return {
        "linear solve": linear / linear.sum(-1, keepdim=True),
        "null space (SVD)": null / null.sum(-1, keepdim=True),
        "master equation at late times": master,
        "ODE at frozen y (implicit Euler)": _implicit_euler(A, start, horizon),
    }


def _implicit_euler(A: Tensor, start: Tensor, horizon: Tensor) -> Tensor:
    """ẋ = A x stepped to 16 horizons by (I − hA) x₊ = x, h a quarter of a horizon: L-stable, conserves 1ᵀx."""
    import torch

    factors, pivots = torch.linalg.lu_factor(torch.eye(A.shape[-1], dtype=A.dtype) - 0.25 * horizon * A)
    x = start
    for _ in range(64):
        x = torch.linalg.lu_solve(factors, pivots, x)
    return (x / x.sum(-2, keepdim=True))[..., 0]


def _against_sympy(seed: int) -> tuple[float, int]:
    """(largest entrywise relative error over 8 n η, how many generators), against rational arithmetic."""
    import sympy
    import torch

    from theory import stationary_distribution

    rng = torch.Generator().manual_seed(seed)
    worst, count = 0.0, 0
    for n in (2, 3, 4, 5):
        for _ in range(5):
            rates: list[list[int]] = torch.randint(1, 1000, (n, n), generator=rng).tolist()
            for j in range(n):
                rates[j][j] = -sum(rates[i][j] for i in range(n) if i != j)
            exact = [float(value) for value in stationary_distribution(sympy.Matrix(rates))]
            p = stationary_distribution(torch.tensor(rates, dtype=torch.float64))
            error = float(((p - torch.tensor(exact, dtype=torch.float64)) / p).abs().max())
            worst, count = max(worst, error / (8 * n * torch.finfo(p.dtype).eps / 2)), count + 1
    return worst, count


def _against_jumps(seed: int) -> tuple[float, int]:
    """(joint χ² of the occupation over its quantile at 1 − 1e-6, how many paths): the one route that is random."""
    import torch
    from scipy import stats

    from theory import occupation_chi2, sample_jumps, spectral_gap
    from verify.claims._generators import random_generators

    worst, count = 0.0, 0
    for A in random_generators(seed, sizes=(2, 4, 8), count=12):
        for path, generator in enumerate(A):
            horizon = 1000.0 / float(spectral_gap(generator))
            found = sample_jumps(generator, 0, horizon, seed=seed + path, record=False)
            statistic, freedom = occupation_chi2(generator, found.occupation, horizon)
            worst = max(worst, float(statistic) / float(stats.chi2.isf(1e-6, freedom)))
            count += 1
    if not torch.isfinite(torch.tensor(worst)):
        return float("inf"), count
    return worst, count


CLAIM = ExactClaim(
    id="equilibrium_is_stationary",
    statement="Under the linear-generator assumption the equilibrium manifold is the stationary distribution of the "
    "master equation, φ(y) = p_st(y); every route to it gives the same vector.",
    source="the paper's linear-generator identity; Norris, Markov Chains (1997), thm 3.5.3",
    check=check,
    mutant=mutant,
    mutation="the null space is taken of Aᵀ: the row convention mixed up with the column convention",
)
