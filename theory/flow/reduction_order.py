"""What the errors of one order say: ε* measured and predicted, the slope, whether the leading term decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.flow.reduction_errors import VARIABLES

LEAST = 1e-10  # a constant below this is rounding: nothing of that order
_ASYMPTOTIC = 0.2
_RESOLVED = 1e-6  # of an error: a thousand times the tolerance of the integrations


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderTrust:
    """One order of the reduced flow; every field holds "x" and "y".

    predicted, eps: ε* by theory and as measured, medians over starts; interval: the least and the largest over starts,
    at an end of the grid where one lies beyond.
    slope: of the error in ε, at the smallest ε at which it is resolved. next_over_leading: the next order over the
    leading one, each start at its own ε*, the median; pre_asymptotic: that it is above 0.2, so that the leading term
    alone does not decide. ratio: predicted over measured ε*, the median over the starts whose leading term decides.
    None with a `reason`.
    errors[k]: the largest error over starts at the ε of `Trust.grid`.
    """

    order: int
    predicted: dict[str, float | None]
    eps: dict[str, float | None]
    interval: dict[str, tuple[float, float] | None]
    slope: dict[str, float | None]
    next_over_leading: dict[str, float | None]
    pre_asymptotic: dict[str, bool | None]
    ratio: dict[str, float | None]
    errors: dict[str, list[float]]
    reason: dict[str, str | None]
    cost: float


def judged(
    order: int,
    tolerance: float,
    grid: list[float],
    errors: dict[str, Tensor],
    constants: dict[str, Tensor],
    next_order: dict[str, Tensor] | None,
    leading: dict[str, Tensor],
    cost: float,
) -> OrderTrust:
    """The errors[ε, start] of one order beside constants[start], the leading ones of theory."""
    fields: dict[str, dict[str, Any]] = {
        name: dict.fromkeys(VARIABLES)
        for name in ("predicted", "eps", "interval", "slope", "next", "pre", "ratio", "reason")
    }
    power = order + 1
    for v in VARIABLES:
        e = errors[v]
        crossings = [_crossing(grid, e[:, i].tolist(), tolerance) for i in range(e.shape[1])]
        middle = _median(sorted(crossings))
        if 0.0 < middle < math.inf:
            fields["eps"][v] = middle
            fields["interval"][v] = (max(min(crossings), grid[0]), min(max(crossings), grid[-1]))
        constant = float(constants[v].median())
        if constant <= LEAST:
            fields["reason"][v] = (
                f"the error of order {order} in {v} has no term of order {power} in ε: its constant is {constant:.1g}"
                + (" (φ₁ = 0)" if v == "x" and order == 0 else "")
            )
            continue
        each = (tolerance / constants[v].clamp_min(LEAST)) ** (1.0 / power)
        fields["predicted"][v] = _median(sorted(each.tolist()))
        fields["slope"][v] = _slope(grid, e, tolerance)
        if fields["eps"][v] is None:
            fields["reason"][v] = f"the error in {v} does not pass the tolerance within the ε that were tried"
            continue
        shares = [
            _share(grid, i, c, e, power, None if next_order is None else next_order[v], leading[v])
            for i, c in enumerate(crossings)
        ]
        share = _median(sorted(shares))
        fields["next"][v] = share if math.isfinite(share) else None
        fields["pre"][v] = not share < _ASYMPTOTIC
        decided = [i for i, one in enumerate(shares) if one < _ASYMPTOTIC]
        if decided:
            fields["ratio"][v] = _median(sorted(float(each[i]) / crossings[i] for i in decided))
    return OrderTrust(
        order=order,
        predicted=fields["predicted"],
        eps=fields["eps"],
        interval=fields["interval"],
        slope=fields["slope"],
        next_over_leading=fields["next"],
        pre_asymptotic=fields["pre"],
        ratio=fields["ratio"],
        errors={
            v: [
                float(row[torch.isfinite(row)].max()) if bool(torch.isfinite(row).any()) else math.nan
                for row in errors[v]
            ]
            for v in VARIABLES
        },
        reason=fields["reason"],
        cost=cost,
    )


def _share(
    grid: list[float],
    start: int,
    crossing: float,
    errors: Tensor,
    power: int,
    next_order: Tensor | None,
    leading: Tensor,
) -> float:
    """The next order over the leading one at the ε of the grid next to the crossing of one start; inf if unknown."""
    if not 0.0 < crossing < math.inf:
        return math.inf
    nearest = min(range(len(grid)), key=lambda k: abs(math.log(grid[k] / crossing)))
    if next_order is not None:
        share = float(next_order[nearest, start] / leading[nearest, start])
    else:
        # the next order grows like ε: half of it is gone at half of ε
        half = min(range(len(grid)), key=lambda k: abs(math.log(2.0 * grid[k] / grid[nearest])))
        ratio = grid[nearest] / grid[half]
        now, then = (float(errors[k, start]) / grid[k] ** power for k in (nearest, half))
        share = abs(now - then) / then * ratio / max(ratio - 1.0, 1e-9) if then > 0 else math.inf
    return share if math.isfinite(share) else math.inf


def _crossing(grid: list[float], errors: list[float], tolerance: float) -> float:
    """The largest ε up to which the error stays within the tolerance, between grid points by a power law.

    0 where it never does, inf where it always does; an error that is NaN is one that does not.
    """
    for k, error in enumerate(errors):
        if error <= tolerance:
            continue
        if k == 0:
            return 0.0
        if not math.isfinite(error):
            return grid[k - 1]
        before = max(errors[k - 1], 1e-300)
        part = math.log(tolerance / before) / math.log(error / before)
        return grid[k - 1] * (grid[k] / grid[k - 1]) ** part
    return math.inf


def _slope(grid: list[float], errors: Tensor, tolerance: float) -> float | None:
    """The slope of the error in ε between two ε that follow with one between, of the median start: the first two at
    which the error stands above that of the integrations."""
    resolved = min(_RESOLVED, 0.01 * tolerance)
    for k in range(len(grid) - 2):
        if not float(errors[k].nanmedian()) > resolved:
            continue
        ratio = (errors[k + 2] / errors[k]).log() / math.log(grid[k + 2] / grid[k])
        ratio = ratio[torch.isfinite(ratio)]
        return float(ratio.median()) if len(ratio) else None
    return None


def _median(values: list[float]) -> float:
    """Of sorted values; between two the geometric mean, 0 or inf where one of them is."""
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return min(low, high) if low in (0.0, math.inf) else math.sqrt(low * high)
