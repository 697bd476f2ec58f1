"""At which ε may the reduced model be trusted? Predicted from theory, measured on the full model.

For starts spread over the box, the error of the reduced flow after the boundary layer is taken in x (the largest total
variation over the times) and in y (the largest |Δy_k| over the width of the box). ε* is the largest ε up to which it
stays within the tolerance τ.

Order 0: the leading error is ε C(t) with

    C = d/dε [reduced flow of order 1 at ε] at ε = 0,

that is φ₁ and Dp_st Y₁ in x, Y₁ in y, where Y₁ starts from the layer shift S(x₀, y₀) and solves the linearised slow
flow (`theory.flow.reduced`). Nothing is fitted: ε* = τ / max_t |C|. Order 1: its leading error is ε² C₂(t); C₂ is taken
from the full model at one ε far below, where it is all that is left, so that ε* = √(τ / max_t |C₂|) is an
extrapolation and not a prediction from φ₁ alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_integer, check_positive
from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem
from theory.flow.reduced import reduced_flow
from theory.flow.solve import simulate
from theory.kinds import Integer, Number, Series, System
from theory.starts import check_system, evaluate_start

VARIABLES = ("x", "y")
_TIMES = 51
_LAYER = 0.25  # of the time span, which the layer is given
_RTOL, _ATOL = 1e-9, 1e-11
_GRID = 2.0**0.5
_BELOW, _ABOVE = 8.0, 4.0
_LEAST = 1e-10  # a constant below this is rounding: nothing of that order
_NOISE = 1e-10  # what the integrations at 1e-11 leave
_ASYMPTOTIC = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderTrust:
    """One order of the reduced flow; every field holds "x" and "y".

    predicted, eps: ε* by theory and as measured, medians over starts; interval: the least and the largest over starts.
    slope: of the error in ε, at the smallest ε. next_over_leading: the next order over the leading one at ε*;
    pre_asymptotic: that it is above 0.2, so that the leading term alone does not decide. None with a `reason`.
    errors[k]: the largest error over starts at the ε of `Trust.grid`.
    """

    order: int
    predicted: dict[str, float | None]
    eps: dict[str, float | None]
    interval: dict[str, tuple[float, float] | None]
    slope: dict[str, float | None]
    next_over_leading: dict[str, float | None]
    pre_asymptotic: dict[str, bool | None]
    errors: dict[str, list[float]]
    reason: dict[str, str | None]
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Trust:
    """How far the reduced flows of order 0 and 1 may be trusted; `orders` holds the details.

    eps[order]: the largest ε within the tolerance in x and in y; predicted[order] and interval[order] likewise (None
    where there is none, the reason in `orders`); cost[order]: processor time over that of the full model.

    Examples:
        >>> import theory
        >>> found = theory.trust(theory.get_system("two_state"), 0.005, starts=4)
        >>> [one.order for one in found.orders], found.tolerance
        ([0, 1], 0.005)
    """

    system: str
    tolerance: float
    span: float
    starts: int
    grid: list[float]
    orders: tuple[OrderTrust, OrderTrust]

    @property
    def eps(self) -> tuple[float | None, ...]:
        """The largest ε within the tolerance, by order."""
        return tuple(_least(one.eps) for one in self.orders)

    @property
    def predicted(self) -> tuple[float | None, ...]:
        """The same by theory."""
        return tuple(_least(one.predicted) for one in self.orders)

    @property
    def interval(self) -> tuple[tuple[float, float] | None, ...]:
        """The least and the largest over starts, of the variable that decides."""
        found = []
        for one in self.orders:
            decides = [v for v in VARIABLES if one.eps[v] is not None and one.eps[v] == _least(one.eps)]
            found.append(one.interval[decides[0]] if decides else None)
        return tuple(found)

    @property
    def cost(self) -> tuple[float, ...]:
        """Processor time of the reduced flow over that of the full model, both at ε*."""
        return tuple(one.cost for one in self.orders)


def trust(
    system: System,
    tolerance: Number = 0.01,
    *,
    starts: Integer = 16,
    span: Number | None = None,
    seed: Integer = 0,
    eps: Series | None = None,
) -> Trust:
    """At which ε the reduced flows of order 0 and 1 stay within `tolerance` of the full model.

    `starts` points (x0, y0) are drawn, y0 in the inner half of the box and x0 on the simplex; the time `span` is by
    default that in which the fastest of them would cross a quarter of the box. `eps`: the values to measure at, by
    default half octaves around what is predicted. Starts whose y leaves the box within the span are left out.

    Raises `ValueError` for bad input and `NumericalError` where no start stays in the box.

    Examples:
        >>> import theory
        >>> found = theory.trust(theory.get_system("two_state"), 0.005, starts=4)
        >>> found.eps[0] < found.eps[1]  # order 1 may be trusted further
        True
    """
    system = check_system(system)
    tolerance = check_positive(tolerance, "tolerance", below=1.0)
    starts, seed = check_integer(starts, "starts", least=2), check_integer(seed, "seed")
    x0, y0 = _starts(system, starts, seed)
    span = _span(system, x0, y0) if span is None else check_positive(span, "span")
    t = torch.linspace(0.0, span, _TIMES, dtype=torch.float64)
    late = t >= _LAYER * span
    zero = reduced_flow(system, y0, t, rtol=1e-11, atol=1e-13)
    rate = _slowest_rate(system, y0)
    small = 1e-5 * rate * span
    one = reduced_flow(system, y0, t, order=1, eps=small, x0=x0, rtol=1e-11, atol=1e-13)
    stayed = torch.isfinite(zero.y).flatten(1).all(-1) & torch.isfinite(one.y).flatten(1).all(-1)
    if not bool(stayed.any()):
        raise NumericalError(
            f"y leaves the box of system {system.name!r} from each of the {starts} starts within the time {span:.3g}: "
            "enlarge the box or give a shorter span"
        )
    x0, y0 = x0[stayed], y0[stayed]
    zero_x, zero_y = zero.x[stayed], zero.y[stayed]
    leading = _sizes(system, one.x[stayed] - zero_x, one.y[stayed] - zero_y, late)
    constants = {v: torch.where(leading[v] > _NOISE, leading[v], 0.0) / small for v in VARIABLES}
    scale = {v: float(constants[v].median()) for v in VARIABLES}
    known = [tolerance / c for c in scale.values() if c > _LEAST]
    centre = min(known) if known else tolerance * rate * span
    low = centre / _BELOW
    second = _second(system, x0, y0, t, late, 0.5 * low)
    centres = [*known, *(math.sqrt(tolerance / c) for v in VARIABLES if (c := float(second[v].median())) > _LEAST)]
    high = _ABOVE * max(centres, default=centre)
    if eps is None:
        count = math.ceil(math.log(high / low) / math.log(_GRID)) + 1
        grid = [low * _GRID**k for k in range(min(count, 60))]
    else:
        grid = sorted({check_positive(value, "eps") for value in eps})
    zero_errors, one_errors, between = _measured(system, x0, y0, t, late, grid, zero_x, zero_y)
    cost = _costs(system, x0, y0, t, grid[len(grid) // 2])
    return Trust(
        system=system.name,
        tolerance=tolerance,
        span=span,
        starts=len(y0),
        grid=grid,
        orders=(
            _judged(0, tolerance, grid, zero_errors, constants, one_errors, between, cost[0]),
            _judged(1, tolerance, grid, one_errors, second, None, between, cost[1]),
        ),
    )


def _starts(system: FastSlowSystem, count: int, seed: int) -> tuple[Tensor, Tensor]:
    middle = 0.5 * (system.low + system.high)
    y0 = middle + 0.5 * (system.uniform(count, seed=seed) - middle)
    rng = torch.Generator().manual_seed(seed + 1)
    x0 = -torch.log1p(-torch.rand(count, system.n_states, generator=rng, dtype=torch.float64))
    return x0 / x0.sum(-1, keepdim=True), y0


def _span(system: FastSlowSystem, x0: Tensor, y0: Tensor) -> float:
    _, g = evaluate_start(system, x0, y0)
    fastest = float((g.detach().abs() / (system.high - system.low)).amax())
    return 0.25 / fastest if fastest > 0 else 1.0


def _slowest_rate(system: FastSlowSystem, y0: Tensor) -> float:
    """The largest exit rate, the unit of ε: ε over the time span beside 1 over it."""
    return float(system.A(y0).detach().diagonal(dim1=-2, dim2=-1).abs().amax())


def _sizes(system: FastSlowSystem, dx: Tensor, dy: Tensor, late: Tensor) -> dict[str, Tensor]:
    """The largest error over the late times, of each start: TV in x, part of the box in y."""
    width = system.high - system.low
    if bool(system.periodic.any()):
        dy = torch.where(system.periodic, dy - width * torch.round(dy / width), dy)
    return {
        "x": 0.5 * dx.abs().sum(-1)[..., late].amax(-1),
        "y": (dy.abs() / width).amax(-1)[..., late].amax(-1),
    }


def _second(system: FastSlowSystem, x0: Tensor, y0: Tensor, t: Tensor, late: Tensor, small: float) -> dict[str, Tensor]:
    """C₂ of each start: the error of order 1 at a small ε, over ε²."""
    full = simulate(system, x0, y0, t, small, rtol=1e-11, atol=1e-13, throw=False)
    one = reduced_flow(system, y0, t, order=1, eps=small, x0=x0, rtol=1e-11, atol=1e-13)
    sizes = _sizes(system, full.x - one.x, full.y - one.y, late)
    return {v: torch.where(sizes[v] > 10 * _NOISE, sizes[v], 0.0) / small**2 for v in VARIABLES}  # NaN is none


def _measured(
    system: FastSlowSystem,
    x0: Tensor,
    y0: Tensor,
    t: Tensor,
    late: Tensor,
    grid: list[float],
    zero_x: Tensor,
    zero_y: Tensor,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Errors [ε, start] of order 0 and 1, and the difference between the two orders."""
    eps = torch.tensor(grid, dtype=torch.float64)[:, None]
    full = simulate(system, x0, y0, t, eps, rtol=_RTOL, atol=_ATOL, throw=False)
    rows = []
    for value in grid:
        try:
            one = reduced_flow(system, y0, t, order=1, eps=value, x0=x0, rtol=_RTOL, atol=_ATOL)
            rows.append((one.x, one.y))
        except (NumericalError, ValueError):  # the shift, or p + ε φ₁, left where the system makes sense
            rows.append((torch.full_like(zero_x, torch.nan), torch.full_like(zero_y, torch.nan)))
    one_x, one_y = (torch.stack(part) for part in zip(*rows, strict=True))
    return (
        _sizes(system, full.x - zero_x, full.y - zero_y, late),
        _sizes(system, full.x - one_x, full.y - one_y, late),
        _sizes(system, one_x - zero_x, one_y - zero_y, late),
    )


def _costs(system: FastSlowSystem, x0: Tensor, y0: Tensor, t: Tensor, eps: float) -> tuple[float, float]:
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
    one = seconds(lambda: reduced_flow(system, y0, t, order=1, eps=eps, x0=x0, rtol=1e-6, atol=1e-9))
    return zero / full, one / full


def _judged(
    order: int,
    tolerance: float,
    grid: list[float],
    errors: dict[str, Tensor],
    constants: dict[str, Tensor],
    next_order: dict[str, Tensor] | None,
    leading: dict[str, Tensor],
    cost: float,
) -> OrderTrust:
    fields: dict[str, dict[str, Any]] = {
        name: dict.fromkeys(VARIABLES) for name in ("predicted", "eps", "interval", "slope", "next", "pre", "reason")
    }
    power = order + 1
    for v in VARIABLES:
        e = errors[v]
        crossings = [_crossing(grid, e[:, i].tolist(), tolerance) for i in range(e.shape[1])]
        inside = sorted(c for c in crossings if c is not None)
        if len(inside) * 2 > len(crossings):
            fields["eps"][v] = _median(inside)
            fields["interval"][v] = (inside[0], inside[-1])
        constant = float(constants[v].median())
        if constant <= _LEAST:
            fields["reason"][v] = (
                f"the error of order {order} in {v} has no term of order {power} in ε: its constant is {constant:.1g}"
                + (" (φ₁ = 0)" if v == "x" and order == 0 else "")
            )
            continue
        each = (tolerance / constants[v].clamp_min(_LEAST)) ** (1.0 / power)
        fields["predicted"][v] = float(each.median())
        fields["slope"][v] = _slope(grid, e)
        if fields["eps"][v] is None:
            fields["reason"][v] = f"the error in {v} does not pass the tolerance within the ε that were tried"
            continue
        nearest = min(range(len(grid)), key=lambda k: abs(math.log(grid[k] / fields["eps"][v])))
        if next_order is not None:
            share = float((next_order[v][nearest] / leading[v][nearest]).nanmedian())
        else:
            # the next order grows like ε: half of it is gone at half of ε
            half = min(range(len(grid)), key=lambda k: abs(math.log(2.0 * grid[k] / grid[nearest])))
            ratio = grid[nearest] / grid[half]
            now, then = e[nearest] / grid[nearest] ** power, e[half] / grid[half] ** power
            share = float(((now - then).abs() / then).nanmedian()) * ratio / max(ratio - 1.0, 1e-9)
        fields["next"][v] = share
        fields["pre"][v] = not share < _ASYMPTOTIC
    return OrderTrust(
        order=order,
        predicted=fields["predicted"],
        eps=fields["eps"],
        interval=fields["interval"],
        slope=fields["slope"],
        next_over_leading=fields["next"],
        pre_asymptotic=fields["pre"],
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


def _crossing(grid: list[float], errors: list[float], tolerance: float) -> float | None:
    """The ε at which the error first passes the tolerance, between grid points by a power law; None if it does not."""
    for k, error in enumerate(errors):
        if error <= tolerance:
            continue
        if k == 0 or not math.isfinite(error):
            return None
        before = max(errors[k - 1], 1e-300)
        part = math.log(tolerance / before) / math.log(error / before)
        return grid[k - 1] * (grid[k] / grid[k - 1]) ** part
    return None


def _slope(grid: list[float], errors: Tensor) -> float | None:
    """The slope of the error in ε between the first and the third ε, of the median start."""
    if len(grid) < 3:
        return None
    ratio = (errors[2] / errors[0]).log() / math.log(grid[2] / grid[0])
    ratio = ratio[torch.isfinite(ratio)]
    return float(ratio.median()) if len(ratio) else None


def _median(values: list[float]) -> float:
    return (
        values[len(values) // 2]
        if len(values) % 2
        else math.sqrt(values[len(values) // 2 - 1] * values[len(values) // 2])
    )


def _least(values: dict[str, float | None]) -> float | None:
    known = [value for value in values.values() if value is not None]
    return min(known) if known else None
