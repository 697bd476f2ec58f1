"""How far the reduced flows of order 0 and 1 are from the full model, for `theory.flow.reduction`."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem
from theory.flow.reduced import ReducedTrajectory, reduced_flow
from theory.flow.solve import simulate
from theory.starts import evaluate_start

VARIABLES = ("x", "y")
STEPS = 200  # a reduced flow that needs more across a quarter of the box is not slow: its φ₁ is beyond sense
NOISE = 1e-10  # what the integrations at 1e-11 leave
_RTOL, _ATOL = 1e-9, 1e-11
_CHANGE = 1e-5


def draw_starts(system: FastSlowSystem, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(x0[count, n] on the simplex, y0[count, m] in the inner half of the box)."""
    middle = 0.5 * (system.low + system.high)
    y0 = middle + 0.5 * (system.uniform(count, seed=seed) - middle)
    rng = torch.Generator().manual_seed(seed + 1)
    x0 = -torch.log1p(-torch.rand(count, system.n_states, generator=rng, dtype=torch.float64))
    return x0 / x0.sum(-1, keepdim=True), y0


def time_span(system: FastSlowSystem, x0: Tensor, y0: Tensor) -> float:
    """The time in which the fastest start would cross a quarter of the box."""
    _, g = evaluate_start(system, x0, y0)
    fastest = float((g.detach().abs() / (system.high - system.low)).amax())
    return 0.25 / fastest if fastest > 0 else 1.0


def fastest_rate(system: FastSlowSystem, y0: Tensor) -> float:
    """The largest exit rate, the unit of ε: ε over the time span beside 1 over it."""
    return float(system.A(y0).detach().diagonal(dim1=-2, dim2=-1).abs().amax())


def sizes(system: FastSlowSystem, dx: Tensor, dy: Tensor, late: Tensor) -> dict[str, Tensor]:
    """The largest error over the late times, of each start: TV in x, part of the box in y."""
    width = system.high - system.low
    if bool(system.periodic.any()):
        dy = torch.where(system.periodic, dy - width * torch.round(dy / width), dy)
    return {
        "x": 0.5 * dx.abs().sum(-1)[..., late].amax(-1),
        "y": (dy.abs() / width).amax(-1)[..., late].amax(-1),
    }


def small_step(
    system: FastSlowSystem, x0: Tensor, y0: Tensor, t: Tensor, zero: ReducedTrajectory, unit: float
) -> tuple[float, ReducedTrajectory]:
    """An ε at which order 1 differs from order 0, `zero`, by some 1e-5, linearly in ε, and order 1 there.

    At most 1e-5 of `unit`. A first try, at a millionth of that, says how large ε φ₁ is: 1e9 on a metastable chain.
    """

    def order_1(eps: float) -> ReducedTrajectory:
        return reduced_flow(system, y0, t, order=1, eps=eps, x0=x0, rtol=1e-11, atol=1e-13, max_steps=STEPS)

    first, most = 1e-11 * unit, 1e-5 * unit
    one = order_1(first)
    change = sizes(system, one.x - zero.x, one.y - zero.y, torch.ones_like(t, dtype=torch.bool))
    largest = float(torch.nan_to_num(torch.maximum(change["x"], change["y"])).amax())
    small = min(most, first * _CHANGE / max(largest, 1e-300))
    return small, order_1(small)


def second(system: FastSlowSystem, x0: Tensor, y0: Tensor, t: Tensor, late: Tensor, small: float) -> dict[str, Tensor]:
    """C₂ of each start: the error of order 1 at a small ε, over ε²."""
    full = simulate(system, x0, y0, t, small, rtol=1e-11, atol=1e-13, throw=False)
    one = reduced_flow(system, y0, t, order=1, eps=small, x0=x0, rtol=1e-11, atol=1e-13, max_steps=STEPS)
    off = sizes(system, full.x - one.x, full.y - one.y, late)
    return {v: torch.where(off[v] > 10 * NOISE, off[v], 0.0) / small**2 for v in VARIABLES}  # NaN is none


def measured(
    system: FastSlowSystem,
    x0: Tensor,
    y0: Tensor,
    t: Tensor,
    late: Tensor,
    grid: list[float],
    zero_x: Tensor,
    zero_y: Tensor,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Errors [ε, start] of order 0 and 1, and the difference between the two orders; `grid` ascends.

    Once order 1 has failed it is not tried at a larger ε, where p + ε φ₁ is farther from making sense: NaN there.
    """
    eps = torch.tensor(grid, dtype=torch.float64)[:, None]
    full = simulate(system, x0, y0, t, eps, rtol=_RTOL, atol=_ATOL, throw=False)
    rows: list[tuple[Tensor, Tensor]] = []
    for value in grid:
        try:
            one = reduced_flow(system, y0, t, order=1, eps=value, x0=x0, rtol=_RTOL, atol=_ATOL, max_steps=STEPS)
            rows.append((one.x, one.y))
        except (NumericalError, ValueError):  # the shift, or p + ε φ₁, left where the system makes sense
            break
    rows += [(torch.full_like(zero_x, torch.nan), torch.full_like(zero_y, torch.nan))] * (len(grid) - len(rows))
    one_x, one_y = (torch.stack(part) for part in zip(*rows, strict=True))
    return (
        sizes(system, full.x - zero_x, full.y - zero_y, late),
        sizes(system, full.x - one_x, full.y - one_y, late),
        sizes(system, one_x - zero_x, one_y - zero_y, late),
    )


def costs(system: FastSlowSystem, x0: Tensor, y0: Tensor, t: Tensor, eps: float) -> tuple[float, float]:
    """Processor time of the reduced flow of order 0 and 1, over that of the full model."""

    def seconds(call: Any) -> float:
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            try:
                call()
            except (NumericalError, ValueError):
                return math.nan
            best = min(best, time.process_time() - start)
        return best

    full = seconds(lambda: simulate(system, x0, y0, t, eps, throw=False))
    zero = seconds(lambda: reduced_flow(system, y0, t, rtol=1e-6, atol=1e-9))
    one = seconds(lambda: reduced_flow(system, y0, t, order=1, eps=eps, x0=x0, rtol=1e-6, atol=1e-9, max_steps=STEPS))
    return zero / full, one / full
