"""The fast state of the ODE lags behind p_st by ε φ₁: the order and the constant, from simulated trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verify.claim import Mutant, Profile, Structural, StructuralClaim
from verify.claims._systems import OnSystem, over_systems
from verify.statistics.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from theory import FastSlowSystem

SLOPE_TOLERANCE = 0.01  # what the O(ε²) term may add to a slope
RATIO_TOLERANCE, NEXT_ORDER, RESOLVED = 1e-3, 2.0, 0.05  # to the vector: this, and twice the ε² term of theory
LARGEST, RATIO, COUNT = 0.005, 4.0, 5  # ε: LARGEST of the scale where it ceases to be small, then quartered
POINTS = 4
RTOL, ATOL = 1e-10, 1e-13
FLOOR = 10 * RTOL  # the integrator's own error, in TV


def check(profile: Profile) -> Structural:
    """Slope of TV(x, p_st) over ε, and its ratio to the predicted ½‖ε φ₁‖₁, on every built-in system."""
    from theory import get_system, list_systems

    found = [one for name in list_systems() for one in _measure(get_system(name), profile.seed, _phi_1)]
    return over_systems("slope over ε of the gap to p_st, and its ratio to the predicted ½‖ε φ₁‖₁", found)


def mutant(profile: Profile) -> Structural:
    """The constant is predicted with g one per cent too large."""
    return _with(lambda phi_1: 1.01 * phi_1)(profile)


def _with(change: Callable[[Tensor], Tensor], name: str = "driven_cycle") -> Callable[[Profile], Structural]:
    """The check on one system, with φ₁ changed."""

    def run(profile: Profile) -> Structural:
        from theory import get_system

        found = _measure(get_system(name), profile.seed, lambda system, y: change(_phi_1(system, y)))
        return over_systems("slope over ε of the gap to p_st, and its ratio to the predicted ½‖ε φ₁‖₁", found)

    return run


def _one_state(phi_1: Tensor) -> Tensor:
    phi_1 = phi_1.clone()
    phi_1[..., 0] = 1.02 * phi_1[..., 0]
    return phi_1


def _phi_1(system: FastSlowSystem, y: Tensor) -> Tensor:
    from theory import first_order

    return first_order(system, y)


def _measure(system: FastSlowSystem, seed: int, phi_1: Callable[[FastSlowSystem, Tensor], Tensor]) -> list[OnSystem]:
    """Two measurements: the slope, and the constant at the smallest ε that the floor allows."""
    import torch

    from theory import simulate, stationary_distribution, total_variation
    from verify.claims._systems import slow_epsilon
    from verify.observe.clock import crossing_rate
    from verify.statistics.convergence import fit_slope, floor_limited

    eps = slow_epsilon(system) * LARGEST / RATIO ** torch.arange(COUNT, dtype=torch.float64)
    end = 0.2 / crossing_rate(system, system.uniform(256, seed=0))
    centre = 0.5 * (system.low + system.high)
    y0 = (centre + 0.6 * (system.uniform(POINTS, seed=seed) - centre)).expand(COUNT, POINTS, -1)
    x0 = torch.full((COUNT, POINTS, system.n_states), 1.0 / system.n_states, dtype=y0.dtype)
    times = torch.tensor([0.0, end], dtype=y0.dtype)
    path = simulate(system, x0, y0, times, eps[:, None].expand(COUNT, POINTS), rtol=RTOL, atol=ATOL)
    x, y = path.x[..., -1, :], path.y[..., -1, :]
    gap = total_variation(x, stationary_distribution(system.A(y))).mean(-1)
    predicted = (0.5 * eps[:, None] * phi_1(system, y).abs().sum(-1)).mean(-1)
    triples = list(zip(eps.tolist(), gap.tolist(), predicted.tolist(), strict=True))
    rows = [
        {"epsilon": e, "gap_tv": d, "predicted_tv": c, "floor_limited": floor_limited(d, FLOOR)} for e, d, c in triples
    ]
    usable = [row for row in rows if not row["floor_limited"]]
    gaps = [row["gap_tv"] for row in usable]
    slope = fit_slope([row["epsilon"] for row in usable], gaps, [FLOOR / value for value in gaps])
    if float(predicted.max()) < FLOOR:
        reason = "no O(ε) term to measure: p_st does not move with y"
        return [OnSystem(f"{system.name}, slope", 1.0, None, None, reason, SLOPE_TOLERANCE, rows)]
    first = OnSystem(f"{system.name}, slope", 1.0, slope.slope, slope.interval, slope.reason, SLOPE_TOLERANCE, rows)
    if slope.slope is None:
        return [first]
    at = len(usable) - 1  # rows go from the largest ε down, and the floor takes the last of them
    return [first, _constant(system, x[at], y[at], float(eps[at]), phi_1, rows)]


def _constant(
    system: FastSlowSystem,
    x: Tensor,
    y: Tensor,
    eps: float,
    phi_1: Callable[[FastSlowSystem, Tensor], Tensor],
    rows: list[dict[str, Any]],
) -> OnSystem:
    """x − p_st against ε φ₁ as vectors, at the smallest ε that the floor allows: the coefficient of one on the other,
    judged by ‖x − p_st − ε φ₁‖₁, which the ε² term of the slow manifold may fill and nothing else."""
    from theory import slow_manifold, stationary_distribution

    p = stationary_distribution(system.A(y))
    lag, predicted = x - p, eps * phi_1(system, y)
    size = float(predicted.abs().sum())
    residual = float((lag - predicted).abs().sum()) / size
    honest = slow_manifold(system, 2)(y, eps) - p
    next_order = float((honest - eps * _phi_1(system, y)).abs().sum()) / size
    limit = NEXT_ORDER * next_order + RATIO_TOLERANCE + 2.0 * FLOOR * len(y) / size
    coefficient = float((lag * predicted).sum() / predicted.square().sum())
    verdict = Verdict.VIOLATED if residual > limit else Verdict.HOLDS if limit < RESOLVED else Verdict.INCONCLUSIVE
    reason = f"‖x − p_st − ε φ₁‖ is {residual:.1e} of ‖ε φ₁‖ at ε = {eps:.1e}, where {limit:.1e} is allowed"
    interval = (coefficient - limit, coefficient + limit)
    return OnSystem(f"{system.name}, constant", 1.0, coefficient, interval, reason, 0.0, rows, judged=verdict)


CLAIM = StructuralClaim(
    id="manifold_gap_is_first_order",
    statement="After its boundary layer the fast state of ε dx/dt = A(y) x stays within O(ε) of p_st(y), with the "
    "constant φ₁ = A^# Dp_st[g(p_st, y)].",
    source="Tikhonov (1952); Fenichel, J. Differential Equations 31 (1979) 53",
    check=check,
    mutant=mutant,
    mutation="the constant is predicted with g one per cent too large",
    mutants=(
        Mutant("negative", "φ₁ has the other sign", _with(lambda phi_1: -phi_1)),
        Mutant("states_rolled", "the states of φ₁ are rolled", _with(lambda phi_1: phi_1.roll(1, -1))),
        Mutant("points_rolled", "the points of φ₁ are rolled", _with(lambda phi_1: phi_1.roll(1, -2))),
        Mutant("one_state", "one state of φ₁ is 2 % too large", _with(_one_state)),
        Mutant("too_small", "φ₁ is 1 % too small, on two states", _with(lambda phi_1: 0.99 * phi_1, "two_state")),
    ),
)
