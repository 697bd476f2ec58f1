"""The fast state of the ODE lags behind p_st by ε φ₁: the order and the constant, from simulated trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Profile, Structural, StructuralClaim
from verify.claims._systems import OnSystem, over_systems

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from theory import FastSlowSystem

SLOPE_TOLERANCE, RATIO_TOLERANCE = 0.01, 0.02  # what the O(ε²) term may add
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
    """The constant is predicted with g five per cent too large."""
    from theory import get_system

    found = _measure(get_system("driven_cycle"), profile.seed, lambda system, y: 1.05 * _phi_1(system, y))
    return over_systems("slope over ε of the gap to p_st, and its ratio to the predicted ½‖ε φ₁‖₁", found)


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
    before, ratio = (row["gap_tv"] / row["predicted_tv"] for row in usable[-2:])
    # What is left of the O(ε²) term is below its change over the last step in ε.
    doubt = FLOOR / usable[-1]["predicted_tv"] + abs(before - ratio)
    return [
        first,
        OnSystem(f"{system.name}, constant", 1.0, ratio, (ratio - doubt, ratio + doubt), "", RATIO_TOLERANCE, rows),
    ]


CLAIM = StructuralClaim(
    id="manifold_gap_is_first_order",
    statement="After its boundary layer the fast state of ε dx/dt = A(y) x stays within O(ε) of p_st(y), with the "
    "constant φ₁ = A^# Dp_st[g(p_st, y)].",
    source="Tikhonov (1952); Fenichel, J. Differential Equations 31 (1979) 53",
    check=check,
    mutant=mutant,
    mutation="the constant is predicted with g five per cent too large",
)
