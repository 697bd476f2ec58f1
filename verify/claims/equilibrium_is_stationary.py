"""The equilibrium of the frozen fast flow is the stationary distribution: eight routes to one vector."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from torch import Tensor

    Routes = Callable[[Tensor, dict[str, Tensor]], dict[str, Tensor]]

FACTOR = 64.0  # times n η κ(A): what backward-stable algorithms may lose
RELAXED = 40.0  # times ‖A^#‖₁ >= 1/gap: e^{−40} is below rounding
VISITS = 1000  # of the rarest state in a simulated path, so that its occupation is normal
FEW = 60  # generators of a mutant
DECADES = 80.0  # ln rates of the generators held against spanning trees lie within ± this


def check(profile: Profile) -> Exact:
    """The largest TV between any two routes, in units of the rounding that its conditioning allows; with
    `profile.rigorous` also how far each lies outside the proven enclosure of p_st."""
    return _agreement(profile.seed, rigorous=profile.rigorous)


def mutant(profile: Profile) -> Exact:
    """The null space is taken of Aᵀ, the row convention of the probability texts."""

    def transposed(A: Tensor, routes: dict[str, Tensor]) -> dict[str, Tensor]:
        return routes | {"null space (SVD)": _null_space(A.mT)}

    return _agreement(profile.seed, count=FEW, broken=transposed)


def _agreement(
    seed: int,
    *,
    count: int = 1000,
    rigorous: bool = False,
    broken: Routes = lambda A, routes: routes,
    elimination: Callable[[Tensor], Tensor] = lambda p: p,
) -> Exact:
    """broken: what a mutant makes of the other routes; elimination: what it makes of p by elimination."""
    import torch

    from theory import stationary_distribution, total_variation
    from verify.claims._generators import KINDS, condition, random_generators

    worst: dict[str, float] = {}
    seen = 0
    for A in random_generators(seed, count=count):
        n = A.shape[-1]
        p = elimination(stationary_distribution(A))
        allowed = FACTOR * n * torch.finfo(A.dtype).eps / 2 * (1.0 + condition(A))
        routes = broken(A, _routes(A))
        for name, q in routes.items():
            ratio = float((total_variation(p, q) / allowed).max())
            worst[name] = max(worst.get(name, 0.0), ratio if ratio == ratio else float("inf"))
        if rigorous:
            from verify.claims._enclosed import outside

            for name, ratio in outside(A, p, routes, allowed).items():
                worst[name] = max(worst.get(name, 0.0), ratio)
        seen += len(A)
    if rigorous:
        from verify.claims._enclosed import outside_on_systems

        worst |= outside_on_systems(seed, elimination)
    if count == 1000:
        worst["spanning trees, entry by entry"], trees = _against_trees(seed)
        worst["exact rational algebra (SymPy)"], symbolic = _against_sympy(seed)
        worst["occupation of simulated jumps"], sampled = _against_jumps(seed)
    else:  # a mutant of one route needs no more than that
        trees = symbolic = sampled = 0
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="largest TV between elimination and another route, over its rounding (jumps: over the χ² quantile)",
        measured=worst[largest],
        bound=1.0,
        reason=f"{seen} random generators ({', '.join(KINDS)}), {trees} with rates over 69 decades against spanning "
        f"trees, {symbolic} in exact algebra, {sampled} by simulation"
        f"{', each held against the enclosure' * rigorous}; worst: {largest}",
        details={
            "routes": [{"route": name, "ratio": ratio} for name, ratio in worst.items()],
            "generators": seen,
            "by spanning trees": trees,
            "in exact algebra": symbolic,
            "by simulation": sampled,
        },
    )


def _routes(A: Tensor, *, relaxed: float = RELAXED) -> dict[str, Tensor]:
    """p by algorithms that share no step with the elimination: q[..., n] each."""
    import torch

    from theory import group_inverse

    n = A.shape[-1]
    ones = torch.ones(*A.shape[:-2], 1, n, dtype=A.dtype)
    last = torch.zeros(*A.shape[:-2], n, 1, dtype=A.dtype)
    last[..., -1, 0] = 1.0
    # Columns over their exit rates: states of very different rates then carry comparable weight.
    exit_rate = -A.diagonal(dim1=-2, dim2=-1)
    jumps = A / exit_rate[..., None, :]
    linear = torch.linalg.solve(torch.cat([jumps[..., :-1, :], ones], -2), last)[..., 0] / exit_rate
    start = torch.full((*A.shape[:-1], 1), 1.0 / n, dtype=A.dtype)
    horizon = relaxed * group_inverse(A).abs().sum(-2).amax(-1)[..., None, None]
    master = (torch.linalg.matrix_exp(horizon * A) @ start)[..., 0]
    return {
        "linear solve": linear / linear.sum(-1, keepdim=True),
        "null space (SVD)": _null_space(A),
        "master equation at late times": master / master.sum(-1, keepdim=True),
        "ODE at frozen y (implicit Euler)": _implicit_euler(A, start, horizon),
    }


def _null_space(A: Tensor) -> Tensor:
    """The last right singular vector of A, with sum one."""
    import torch

    null = torch.linalg.svd(A).Vh[..., -1, :]
    return null / null.sum(-1, keepdim=True)


def _implicit_euler(A: Tensor, start: Tensor, horizon: Tensor) -> Tensor:
    """ẋ = A x stepped to 16 horizons by (I − hA) x₊ = x, h a quarter of a horizon: L-stable, conserves 1ᵀx."""
    import torch

    factors, pivots = torch.linalg.lu_factor(torch.eye(A.shape[-1], dtype=A.dtype) - 0.25 * horizon * A)
    x = start
    for _ in range(64):
        x = torch.linalg.lu_solve(factors, pivots, x)
    return (x / x.sum(-2, keepdim=True))[..., 0]


def _against_trees(seed: int) -> tuple[float, int]:
    """(largest entrywise relative error over 8 n η, how many generators), against p_r ∝ Σ_trees Π rates.

    The sum runs over all spanning trees directed to r (Kirchhoff; Hill, J. Theor. Biol. 10 (1966) 442). It has no
    subtraction: it is right in every entry, however metastable the chain.
    """
    import torch

    from theory import from_rates, stationary_distribution
    from verify.claims._generators import COUNT

    rng = torch.Generator().manual_seed(seed)
    worst, count = 0.0, 0
    for n in (2, 3, 4, 5):
        exponents = DECADES * (2.0 * torch.rand(COUNT // 4, n, n, generator=rng, dtype=torch.float64) - 1.0)
        rates = exponents.exp()
        weight = torch.stack([_tree_sum(rates, root) for root in range(n)], -1)
        exact = weight / weight.sum(-1, keepdim=True)
        error = float(((stationary_distribution(from_rates(rates)) - exact) / exact).abs().max())
        worst = max(worst, error / (8 * n * torch.finfo(rates.dtype).eps / 2) if error == error else float("inf"))
        count += len(rates)
    return worst, count


def _tree_sum(rates: Tensor, root: int) -> Tensor:
    """Σ over the spanning trees directed to `root` of the product of their rates; rates[..., n, n], j → i at [i, j]."""
    import torch

    n = rates.shape[-1]
    others = [j for j in range(n) if j != root]
    total = torch.zeros_like(rates[..., 0, 0])
    for heads in itertools.product(range(n), repeat=n - 1):
        parent = dict(zip(others, heads, strict=True))
        if all(_reaches(root, j, parent) for j in others):
            total = total + rates[..., list(heads), others].prod(-1)
    return total


def _reaches(root: int, state: int, parent: dict[int, int]) -> bool:
    for _ in parent:
        state = parent.get(state, root)
    return state == root


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

    from theory import occupation_chi2, sample_jumps, spectral_gap, stationary_distribution
    from verify.claims._generators import random_generators

    worst, count = 0.0, 0
    for A in random_generators(seed, sizes=(2, 4, 8), count=30, kinds=("dense", "sparse")):
        for path, generator in enumerate(A):
            rarest = float((-generator.diagonal() * stationary_distribution(generator)).min())
            horizon = max(1000.0 / float(spectral_gap(generator)), VISITS / rarest)
            found = sample_jumps(generator, 0, horizon, seed=seed + path, record=False)
            statistic, freedom = occupation_chi2(generator, found.occupation, horizon)
            worst = max(worst, float(statistic) / float(stats.chi2.isf(1e-6, freedom)))
            count += 1
    if not torch.isfinite(torch.tensor(worst)):
        return float("inf"), count
    return worst, count


def _one_rate_more(A: Tensor, routes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The linear solve takes one rate, 0 → 1, one per cent larger."""
    from theory import from_rates

    rates = A.clone()
    rates[..., 1, 0] *= 1.01
    return routes | {"linear solve": _routes(from_rates(rates.clamp_min(0.0)))["linear solve"]}


def _too_early(A: Tensor, routes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The master equation is stopped when one per cent of the slowest mode is left."""
    early = _routes(A, relaxed=4.6)
    return routes | {"master equation at late times": early["master equation at late times"]}


def _two_states_exchanged(A: Tensor, routes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The null space has its first two states exchanged."""
    q = routes["null space (SVD)"].clone()
    q[..., :2] = q[..., :2].flip(-1)
    return routes | {"null space (SVD)": q}


def _mass_lost(A: Tensor, routes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The ODE at frozen y has lost one per cent of its mass."""
    name = "ODE at frozen y (implicit Euler)"
    return routes | {name: 0.99 * routes[name]}


def _one_entry_more(p: Tensor) -> Tensor:
    """p by elimination with its largest entry one per cent larger."""
    import torch

    return torch.where(p == p.amax(-1, keepdim=True), 1.01 * p, p)


CLAIM = ExactClaim(
    id="equilibrium_is_stationary",
    statement="Under the linear-generator assumption the equilibrium manifold is the stationary distribution of the "
    "master equation, φ(y) = p_st(y); every route to it gives the same vector.",
    source="the paper's linear-generator identity; Norris, Markov Chains (1997), thm 3.5.3",
    check=check,
    mutant=mutant,
    mutation="the null space is taken of Aᵀ: the row convention mixed up with the column convention",
    mutants=tuple(
        Mutant(name, breaks, lambda profile, broken=broken: _agreement(profile.seed, count=FEW, broken=broken))
        for name, breaks, broken in (
            ("one_rate", "the linear solve takes one rate 1 % larger", _one_rate_more),
            ("too_early", "the master equation is stopped with 1 % of the slowest mode left", _too_early),
            ("states_exchanged", "the null space has two states exchanged", _two_states_exchanged),
            ("mass_lost", "the ODE has lost 1 % of its mass", _mass_lost),
        )
    )
    + (
        Mutant(
            "elimination",
            "the largest entry of the eliminated p is 1 % larger",
            lambda profile: _agreement(profile.seed, count=FEW, elimination=_one_entry_more),
        ),
    ),
)
