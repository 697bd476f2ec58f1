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
_SLIVER = 0.1  # a last step of less than this, in parts of the one before, is no interval of its own
_DOUBTS, _SHORTER, _ENOUGH = 6, 16.0, 100_000


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


class _Steps(NamedTuple):
    """y and its slopes [K, ..., d] at the ends of K − 1 steps, knots[K] counted from the start."""

    knots: Tensor
    y: Tensor
    slopes: Tensor
    evaluations: int
    refused: int


class _Exits(NamedTuple):
    """Of each trajectory: whether it left its box by more than the tolerance; the last time before at which it was
    seen inside; the first time at which it was seen beyond."""

    left: Tensor
    end: Tensor
    beyond: Tensor


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
    gives up, or the field is not finite. `given`: the times as they are to be differentiated.

    Where y leaves its box that is doubted, for the reason in `theory.flow.faces`: the steps that it takes for it are
    integrated again in short ones, and where those stay in the box, all is done again with steps half as long."""
    direction = -1.0 if bool(times[1] < times[0]) else 1.0
    span = direction * (times - times[0])
    keywords: dict[str, Any] = {"system": system, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    evaluations = refused = 0
    longest, doubts = min(max_step, float(span[-1]) / _LEAST_STEPS), 0
    while True:
        steps = _steps(field, start, span[-1], direction, longest=longest, first_step=first_step, **keywords)
        evaluations, refused = evaluations + steps.evaluations, refused + steps.refused
        exits = _exits(system, steps, rtol, atol)
        if doubts == _DOUBTS or not bool(exits.left.any()):
            break
        again, length, cost = _again(field, steps, exits, direction, system=system, rtol=rtol, atol=atol)
        evaluations += cost
        if again is not None:
            exits = again
            break
        longest, doubts = 0.5 * length, doubts + 1
    left, end = exits.left, exits.end
    wanted = span if given is None else direction * (given.to(span) - given.detach().to(span)[0])
    values = _hermite(steps.knots, steps.y, steps.slopes, wanted)
    values = torch.cat([start[None], values[1:]])  # what was given, exactly
    seen = span.reshape(-1, *[1] * left.ndim) <= torch.where(left, end, math.inf)
    seen[0] = True
    low, high = system.low.to(values), system.high.to(values)
    phases = system.periodic.to(values.device)
    kept = values.detach()
    near = torch.where(phases, kept, kept.clamp(low, high))
    values = torch.cat([values[:1], (values + (near - kept))[1:]])  # an overshoot of a face, within the tolerances
    values = torch.where(seen[..., None], values, torch.nan)
    end = times[0] + direction * torch.where(left, end, span[-1])
    return Path(values.movedim(0, -2), left, end, evaluations, len(steps.knots) - 1, refused)


def _steps(
    field: Callable[[Tensor], Tensor],
    start: Tensor,
    span: Tensor,
    direction: float,
    *,
    system: FastSlowSystem,
    rtol: float,
    atol: float,
    longest: float,
    first_step: float | None,
    max_steps: int,
) -> _Steps:
    """The steps from start[..., m] over the time `span`, none longer than `longest`."""
    from torchdiffeq import odeint

    recorded = _Recorded(field, direction)
    options: dict[str, Any] = {
        "norm": lambda error: error.abs().max(),
        "max_num_steps": max_steps,
        "max_step": longest,
        "step_t": span[None],  # else the last value would be one of its own interpolants
    }
    if first_step is not None:
        options["first_step"] = min(first_step, longest)
    ends = torch.stack([torch.zeros_like(span), span])
    try:
        last = odeint(recorded, start, ends, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as error:  # its way to report step underflow and the step limit
        raise NumericalError(
            f"the reduced flow of system {system.name!r} is not finite or not resolved: {error}, near y = "
            f"{(recorded.y[-1] if recorded.y else start).detach().reshape(-1, start.shape[-1])[0].tolist()}; check A "
            "and g there, or raise max_steps"
        ) from error
    knots = torch.stack([*recorded.t[1:], span]) if len(recorded.t) > 1 else span[None]
    knots = torch.cat([torch.zeros_like(knots[:1]), knots])
    y = torch.stack([*recorded.y, torch.as_tensor(last)[-1]])
    # torchdiffeq's steps are functions of what it integrates: the knots keep their derivatives, as y does
    order = torch.argsort(knots.detach())
    keep = torch.cat([knots.new_ones(1, dtype=torch.bool), knots[order].diff() > 0])
    knots, y = knots[order][keep], y[order][keep]
    if len(knots) > 2 and bool(knots[-1] - knots[-2] < _SLIVER * (knots[-2] - knots[-3])):
        # what is left for the last step may be rounding, by which the polynomial would divide
        keep = torch.arange(len(knots), device=knots.device) != len(knots) - 2
        knots, y = knots[keep], y[keep]
    if not bool(torch.isfinite(y.detach()).all()):
        raise NumericalError(f"the reduced flow of system {system.name!r} is not finite: check g near the last good y")
    slopes = torch.stack([direction * field(one) for one in y])
    return _Steps(knots, y, slopes, recorded.evaluations + len(y), recorded.refused)


def _again(
    field: Callable[[Tensor], Tensor],
    steps: _Steps,
    exits: _Exits,
    direction: float,
    *,
    system: FastSlowSystem,
    rtol: float,
    atol: float,
) -> tuple[_Exits | None, float, int]:
    """The exits as steps `_SHORTER` times as short have them, None if some trajectory does not leave in those; the
    length of the longest of the steps that were done again; evaluations."""
    knots = steps.knots.detach()
    first = (torch.searchsorted(knots, exits.end.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
    last = torch.searchsorted(knots, exits.beyond.contiguous()).clamp(1, len(knots) - 1)
    end, length, cost = exits.end.clone(), 0.0, 0
    for a, b in _joined({(int(first[i]), int(last[i])) for i in map(tuple, exits.left.nonzero().tolist())}):
        here = exits.left & (first >= a) & (last <= b)
        own = float(knots[a : b + 1].diff().max())
        length = max(length, own)
        span, keywords = knots[b] - knots[a], {"system": system, "rtol": rtol, "atol": atol}
        with torch.no_grad():
            limits = {"longest": own / _SHORTER, "first_step": None, "max_steps": _ENOUGH}
            try:
                short = _steps(field, steps.y[a].detach(), span, direction, **keywords, **limits)
            except NumericalError:  # beyond the face there may be nothing
                continue
        cost += short.evaluations
        found = _exits(system, short, rtol, atol)
        if not bool(found.left[here].all()):
            return None, length, cost
        end[here] = knots[a] + found.end[here]
    return exits._replace(end=end), length, cost


def _joined(ranges: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of ranges of knots, those that touch as one."""
    found: list[tuple[int, int]] = []
    for a, b in sorted(ranges):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        else:
            found.append((a, b))
    return found


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


def _exits(system: FastSlowSystem, steps: _Steps, rtol: float, atol: float) -> _Exits:
    """Where the trajectories left their box."""
    knots, y, slopes = steps.knots.detach(), steps.y.detach(), steps.slopes.detach()
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
    beyond_at = end.clone()
    for index in left.nonzero().tolist():
        where = (slice(None), *index)
        first = int(outside[where].nonzero()[0])
        beyond_at[tuple(index)] = fine[first]
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
    return _Exits(left, end, beyond_at)
