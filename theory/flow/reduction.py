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
from dataclasses import dataclass

import torch

from theory.arguments import check_integer, check_positive
from theory.errors import NumericalError
from theory.flow.reduced import reduced_flow
from theory.flow.reduction_errors import (
    NOISE,
    STEPS,
    VARIABLES,
    costs,
    draw_starts,
    fastest_rate,
    measured,
    second,
    sizes,
    small_step,
    time_span,
)
from theory.flow.reduction_order import LEAST, OrderTrust, judged
from theory.kinds import Integer, Number, Series, System
from theory.starts import check_system

_TIMES = 51
_LAYER = 0.25  # of the time span, which the layer is given
_GRID = 2.0**0.5
_BELOW, _ABOVE = 8.0, 4.0  # where the grid begins and ends, in parts of what is predicted
_BELOW_EACH = 2.0  # and below what is predicted of each start


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
    x0, y0 = draw_starts(system, starts, seed)
    span = time_span(system, x0, y0) if span is None else check_positive(span, "span")
    t = torch.linspace(0.0, span, _TIMES, dtype=torch.float64)
    late = t >= _LAYER * span
    zero = reduced_flow(system, y0, t, rtol=1e-11, atol=1e-13, max_steps=STEPS)
    rate = fastest_rate(system, y0)
    small, one = small_step(system, x0, y0, t, zero, rate * span)
    stayed = torch.isfinite(zero.y).flatten(1).all(-1) & torch.isfinite(one.y).flatten(1).all(-1)
    if not bool(stayed.any()):
        raise NumericalError(
            f"y leaves the box of system {system.name!r} from each of the {starts} starts within the time {span:.3g}: "
            "enlarge the box or give a shorter span"
        )
    x0, y0 = x0[stayed], y0[stayed]
    zero_x, zero_y = zero.x[stayed], zero.y[stayed]
    leading = sizes(system, one.x[stayed] - zero_x, one.y[stayed] - zero_y, late)
    constants = {v: torch.where(leading[v] > NOISE, leading[v], 0.0) / small for v in VARIABLES}
    scale = {v: float(constants[v].median()) for v in VARIABLES}
    known = [tolerance / c for c in scale.values() if c > LEAST]
    centre = min(known) if known else tolerance * rate * span
    each = [float((tolerance / constants[v].clamp_min(LEAST)).min()) for v in VARIABLES if scale[v] > LEAST]
    low = min([centre / _BELOW, *(one / _BELOW_EACH for one in each)])
    quadratic = second(system, x0, y0, t, late, 0.5 * centre / _BELOW)
    centres = [*known, *(math.sqrt(tolerance / c) for v in VARIABLES if (c := float(quadratic[v].median())) > LEAST)]
    high = _ABOVE * max(centres, default=centre)
    if eps is None:
        count = math.ceil(math.log(high / low) / math.log(_GRID)) + 1
        grid = [low * _GRID**k for k in range(min(count, 60))]
    else:
        grid = sorted({check_positive(value, "eps") for value in eps})
    zero_errors, one_errors, between = measured(system, x0, y0, t, late, grid, zero_x, zero_y)
    cost = costs(system, x0, y0, t, grid[len(grid) // 2])
    return Trust(
        system=system.name,
        tolerance=tolerance,
        span=span,
        starts=len(y0),
        grid=grid,
        orders=(
            judged(0, tolerance, grid, zero_errors, constants, one_errors, between, cost[0]),
            judged(1, tolerance, grid, one_errors, quadratic, None, between, cost[1]),
        ),
    )


def _least(values: dict[str, float | None]) -> float | None:
    known = [value for value in values.values() if value is not None]
    return min(known) if known else None
