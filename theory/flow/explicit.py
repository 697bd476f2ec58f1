"""Differentiable explicit integration by torchdiffeq: its own steps, and interpolation between them.

The largest error of a batch decides on the step, not its mean. torchdiffeq's own interpolants are of lower order than
its steps, so values between the ends of steps come from the polynomial of degree 7 through the values and slopes at
four of them (Hermite; its error is of order 8 in the step, that of the Dormand-Prince steps of order 5). It is a smooth
function of what the steps computed, and of t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem

_KNOTS = 4
MARGIN = 10.0  # as in `theory.flow.faces`
_LEAST_STEPS = 4


class Path(NamedTuple):
    """values[..., k, d] at the times, NaN from where y left its box, and what they cost.

    left[...]: whether it did; end[...]: the last time seen inside, the last of the times otherwise.
    """

    values: Tensor
    left: Tensor
    end: Tensor
    evaluations: int
    steps: int
    refused: int


class _Recorded:
    """A vector field that counts its evaluations, and keeps the ends of steps through torchdiffeq's callbacks."""

    def __init__(self, field: Callable[[Tensor], Tensor], direction: float) -> None:
        self.field, self.direction = field, direction
        self.evaluations = self.refused = 0
        self.t: list[Tensor] = []
        self.y: list[Tensor] = []

    def __call__(self, t: Tensor, u: Tensor) -> Tensor:
        self.evaluations += 1
        return self.direction * self.field(u)

    def callback_accept_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.t.append(t0)
        self.y.append(u0)

    def callback_reject_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.refused += 1


def integrate_explicit(
    field: Callable[[Tensor], Tensor],
    start: Tensor,
    times: Tensor,
    given: Tensor | None = None,
    *,
    system: FastSlowSystem,
    rtol: float,
    atol: float,
    max_step: float = math.inf,
    first_step: float | None = None,
    max_steps: int = 100_000,
) -> Path:
    """y' = field(y) from start[..., m] at times[0], increasing or decreasing. Raises `NumericalError` where torchdiffeq
    gives up, or the field is not finite. `given`: the times as they are to be differentiated."""
    from torchdiffeq import odeint

    direction = -1.0 if bool(times[1] < times[0]) else 1.0
    span = direction * (times - times[0])
    recorded = _Recorded(field, direction)
    longest = min(max_step, float(span[-1]) / _LEAST_STEPS)
    options: dict[str, Any] = {
        "norm": lambda error: error.abs().max(),
        "max_num_steps": max_steps,
        "max_step": longest,
        "step_t": span[-1:],  # else the last value would be one of its own interpolants
    }
    if first_step is not None:
        options["first_step"] = min(first_step, longest)
    ends = torch.stack([torch.zeros_like(span[-1]), span[-1]])
    try:
        last = odeint(recorded, start, ends, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as error:  # its way to report step underflow and the step limit
        raise NumericalError(
            f"the reduced flow of system {system.name!r} is not finite or not resolved: {error}, near y = "
            f"{(recorded.y[-1] if recorded.y else start).detach().reshape(-1, start.shape[-1])[0].tolist()}; check A "
            "and g there, or raise max_steps"
        ) from error
    knots = torch.stack([*recorded.t[1:], span[-1]]) if len(recorded.t) > 1 else span[-1:]
    knots = torch.cat([torch.zeros_like(knots[:1]), knots])
    y = torch.stack([*recorded.y, torch.as_tensor(last)[-1]])
    # torchdiffeq's steps are functions of what it integrates: the knots keep their derivatives, as y does
    order = torch.argsort(knots.detach())
    keep = torch.cat([knots.new_ones(1, dtype=torch.bool), knots[order].diff() > 0])
    knots, y = knots[order][keep], y[order][keep]
    if not bool(torch.isfinite(y.detach()).all()):
        raise NumericalError(f"the reduced flow of system {system.name!r} is not finite: check g near the last good y")
    slopes = torch.stack([direction * field(one) for one in y])
    wanted = span if given is None else direction * (given.to(span) - given.detach().to(span)[0])
    values = _hermite(knots, y, slopes, wanted)
    values = torch.cat([start[None], values[1:]])  # what was given, exactly
    left, end = _exits(system, knots.detach(), y.detach(), slopes.detach(), rtol, atol)
    seen = span.reshape(-1, *[1] * left.ndim) <= torch.where(left, end, math.inf)
    seen[0] = True
    low, high = system.low.to(y), system.high.to(y)
    phases = system.periodic.to(y.device)
    kept = values.detach()
    near = torch.where(phases, kept, kept.clamp(low, high))
    values = torch.cat([values[:1], (values + (near - kept))[1:]])  # an overshoot of a face, within the tolerances
    values = torch.where(seen[..., None], values, torch.nan)
    end = times[0] + direction * torch.where(left, end, span[-1])
    return Path(values.movedim(0, -2), left, end, recorded.evaluations + len(y), len(knots) - 1, recorded.refused)


def _hermite(knots: Tensor, y: Tensor, slopes: Tensor, at: Tensor) -> Tensor:
    """The values [k, ...] at `at`[k] of the polynomials through values and slopes at the knots around them."""
    count = min(_KNOTS, len(knots))
    interval = torch.searchsorted(knots.detach(), at.detach().contiguous(), right=True) - 1
    first = (interval - (count // 2 - 1)).clamp(0, len(knots) - count)
    index = first[:, None] + torch.arange(count, device=knots.device)
    t = knots[index]
    gaps = t[:, :, None] - t[:, None, :]
    off = ~torch.eye(count, dtype=torch.bool, device=t.device)
    ratio = torch.where(off, (at[:, None, None] - t[:, None, :]) / torch.where(off, gaps, 1.0), 1.0)
    lagrange = ratio.prod(-1)  # ℓ_j(at) [k, count]
    rate = torch.where(off, 1.0 / torch.where(off, gaps, 1.0), 0.0).sum(-1)  # ℓ_j'(t_j)
    distance = at[:, None] - t
    of_value = (1.0 - 2.0 * distance * rate) * lagrange.square()
    of_slope = distance * lagrange.square()
    shape = (*of_value.shape, *[1] * (y.ndim - 1))
    return (of_value.reshape(shape) * y[index] + of_slope.reshape(shape) * slopes[index]).sum(1)


def _exits(
    system: FastSlowSystem,
    knots: Tensor,
    y: Tensor,
    slopes: Tensor,
    rtol: float,
    atol: float,
) -> tuple[Tensor, Tensor]:
    """(whether y left its box by more than the tolerance, the last time before at which it was in the box)."""
    parts = torch.arange(8, dtype=knots.dtype, device=knots.device) / 8
    fine = torch.cat([(knots[:-1, None] + knots.diff()[:, None] * parts).reshape(-1), knots[-1:]])
    seen = _hermite(knots, y, slopes, fine)

    def beyond(u: Tensor) -> Tensor:
        low, high = system.low.to(u), system.high.to(u)
        phases = system.periodic.to(u.device)
        largest = torch.where(phases, 0.0, u.abs()).amax(-1, keepdim=True)
        out = torch.maximum(u - high, low - u) > 1e-12 * (high - low) + MARGIN * (atol + rtol * largest)
        return (out & ~phases).any(-1)

    outside = beyond(seen)
    left = outside.any(0)
    end = torch.full(left.shape, float(knots[-1]), dtype=knots.dtype, device=knots.device)
    for index in left.nonzero().tolist():
        where = (slice(None), *index)
        first = int(outside[where].nonzero()[0])
        good = system.inside(seen[where])[:first].nonzero()
        if len(good) == 0:
            end[tuple(index)] = 0.0
            continue
        low, high = float(fine[int(good[-1])]), float(fine[first])
        for _ in range(60):
            middle = 0.5 * (low + high)
            at = torch.tensor([middle], dtype=knots.dtype, device=knots.device)
            within = bool(system.inside(_hermite(knots, y[where], slopes[where], at)[0]))
            low, high = (middle, high) if within else (low, middle)
        end[tuple(index)] = low
    return left, end
