"""Pairs from the stiff ODE itself: (y(T), x(T)) on trajectories of ε dx/dt = A(y) x, dy/dt = g(x, y), with ε = 1/P.

The boundary layer is integrated, not skipped; at time T it is e^{−Tλ/ε}, and x(T) lies on the slow manifold
h_ε = p_st + ε φ₁ + O(ε²). So the leading term is ε φ₁, of continuous time; there is no step h and no kernel here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory import FastSlowSystem, first_order, simulate, slow_manifold, stationary_distribution, total_variation
from verify.observe import Observation
from verify.observe.clock import crossing_rate, relaxation_rate, set_aside

CONTINUOUS = True
RTOL, ATOL = 1e-10, 1e-13
CROSSED = 0.25  # T is the time in which y crosses this part of its box
LAYER_GONE = 25.0  # T λ / ε: e^{-25} = 1e-11 of the start is left
SLOW_MARGIN = 20.0  # λ / ε over the rate at which y crosses its box: the O(ε²) term is then a few per cent


def observe(
    system: FastSlowSystem, period: int, *, step: float, kernel: str, count: int, seed: int, device: str = "cpu"
) -> Observation:
    """The end of `count` trajectories that start uniformly in the box, x at the simplex's centre; ε = 1/period.

    `step` and `kernel` belong to the token clock and are not used. `rounding` integrates once more at a hundred times
    the tolerance: the distance between the two is what the integrator may have added.
    """
    y0 = system.uniform(count, seed=seed, device=device)
    x0 = torch.full((count, system.n_states), 1.0 / system.n_states, dtype=y0.dtype, device=y0.device)
    crossing = crossing_rate(system, system.uniform(256, seed=0))
    if crossing == 0:
        raise ValueError(f"g(x, y) of system {system.name!r} vanishes over its whole box: y never moves")
    span = CROSSED / crossing

    def end_of_trajectories(rtol: float, atol: float) -> tuple[Tensor, Tensor, Tensor]:
        times = torch.tensor([0.0, span], dtype=torch.float64)
        run = simulate(system, x0, y0, times, 1.0 / period, rtol=rtol, atol=atol)
        stayed = torch.isfinite(run.y[:, -1]).all(-1) & system.inside(run.y[:, -1]) & (run.end >= span).to(y0.device)
        return run.x[:, -1], run.y[:, -1], stayed

    x, y, stayed = end_of_trajectories(RTOL, ATOL)
    notes = set_aside(stayed, period, f"before slow time {span:.3g}")
    y_seen = y[stayed]

    def continuous_term(theory: FastSlowSystem) -> Tensor:
        return first_order(theory, y_seen) / period

    def rounding(theory: FastSlowSystem) -> float:
        looser, _, both = end_of_trajectories(100 * RTOL, 100 * ATOL)
        return float(total_variation(looser, x)[stayed & both].mean())

    def next_order(theory: FastSlowSystem) -> float:
        # the manifold's own first order, not `first_order`: the two are held against each other
        p = stationary_distribution(theory.A(y_seen)).detach()
        first, second = (slow_manifold(theory, order)(y_seen, 1.0 / period).detach() for order in (1, 2))
        size = float((first - p).abs().sum())
        return float((second - first).abs().sum()) / size if size > 0 else 0.0

    def memory() -> tuple[str, float]:
        slowest = float(relaxation_rate(system, y_seen).detach().min())
        why_not = ""
        if span * slowest * period < LAYER_GONE or slowest * period < SLOW_MARGIN * crossing:
            why_not = (
                f"not relaxed: λ/ε = {slowest * period:.2g} at the slowest test point, where T λ/ε >= {LAYER_GONE:g} "
                f"(T = {span:.2g}) and λ/ε >= {SLOW_MARGIN * crossing:.2g} are needed"
            )
        return why_not, math.exp(-span * slowest * period)

    return Observation(
        y=y_seen,
        x=x[stayed],
        leading_term=continuous_term,
        continuous_term=continuous_term,
        rounding=rounding,
        memory=memory,
        notes=notes,
        has_step=False,
        next_order=next_order,
    )
