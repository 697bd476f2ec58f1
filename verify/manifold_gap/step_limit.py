"""The continuous-time constant: the token clock's predicted gap must tend to ε φ₁ as its step h goes to zero.

The clock's constant knows F = K (I − K)^# and a difference of p_st; φ₁ = A^# Dp_st[g] a derivative of it. P × gap is a
power series in h about φ₁, so halving h again and again and eliminating one power after the other (Richardson) gives
the limit, with the change of the last elimination as its uncertainty. The two are compared as vectors.
"""

from __future__ import annotations

from itertools import pairwise

from theory import FastSlowSystem, first_order, predicted_gap, stationary_distribution
from verify.observe import Observation

HALVINGS = 5
FURTHER = 4  # beyond those shown: the series must have begun to converge


def step_limit(
    theory: FastSlowSystem, test: Observation | None, step: float, kernel: str
) -> tuple[list[dict[str, float]], tuple[float, float] | None]:
    """(ratio of the predicted gap to ε φ₁ at h, h/2, …, h/16; (distance of the limit from φ₁, its uncertainty), both
    relative, or None where there is no clock, no gap or no test point whose block before lies in the box)."""
    if test is None or not test.has_step:
        return [], None
    velocity = theory.g(stationary_distribution(theory.A(test.y)), test.y).detach()
    stays = theory.inside(test.y - step * velocity)
    y, velocity = test.y[stays], velocity[stays]
    if not len(y):
        return [], None
    phi_1 = first_order(theory, y).detach()
    size = float(phi_1.abs().sum(-1).mean())
    if size == 0:
        return [], None
    limits, ladder = [], []
    for h in (step / 2**k for k in range(HALVINGS + FURTHER)):
        clock = predicted_gap(theory, y - h * velocity, y, period=1, step=h, euler=kernel == "euler").detach()
        limits.append({"step": h, "ratio": float(clock.abs().sum(-1).mean()) / size})
        # one more row of Richardson's table: powers h, h², … eliminated in turn
        row = [clock]
        for power, before in enumerate(ladder, 1):
            row.append(row[-1] + (row[-1] - before) / (2**power - 1))
        ladder = row
    changes = [float((b - a).abs().sum(-1).mean()) / size for a, b in pairwise(ladder)]
    best = min(range(len(changes)), key=changes.__getitem__)
    off = float((ladder[best + 1] - phi_1).abs().sum(-1).mean()) / size
    return limits[:HALVINGS], (off, changes[best])
