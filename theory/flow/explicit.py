"""Explicit Runge-Kutta integration by torchdiffeq, for what is not stiff, with its steps counted.

The largest error of a batch decides on the step, not its mean. The interpolants of torchdiffeq are of lower order
than its steps, so that steps end at the output times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from theory.errors import NumericalError


class Path(NamedTuple):
    """values[k, ...] at the times, and what they cost.

    left[...]: the time of the first step, or output, seen outside the domain, inf if none was; end[...]: that of the
    last one before it.
    """

    values: Tensor
    left: Tensor
    end: Tensor
    evaluations: int
    steps: int
    refused: int


class _Counted:
    """A vector field that counts its evaluations, and the steps through torchdiffeq's callbacks; and watches these."""

    def __init__(self, field: Callable[[Tensor], Tensor], inside: Callable[[Tensor], Tensor], start: Tensor) -> None:
        self.field, self.inside = field, inside
        self.evaluations = self.steps = self.refused = 0
        self.left = torch.full_like(start[..., 0].detach(), torch.inf)
        self.end = torch.full_like(self.left, torch.nan)

    def __call__(self, t: Tensor, u: Tensor) -> Tensor:
        self.evaluations += 1
        return self.field(u)

    def callback_accept_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.steps += 1
        self.look(t0, u0)

    def callback_reject_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.refused += 1

    def look(self, t: Tensor, u: Tensor) -> None:
        inside = self.inside(u.detach())
        self.left = torch.where(~inside & torch.isinf(self.left), t.detach(), self.left)
        self.end = torch.where(torch.isinf(self.left) | torch.isnan(self.end), t.detach(), self.end)


def integrate_explicit(
    field: Callable[[Tensor], Tensor],
    start: Tensor,
    times: Tensor,
    *,
    inside: Callable[[Tensor], Tensor],
    rtol: float,
    atol: float,
    method: str,
    max_steps: int = 100_000,
) -> Path:
    """u' = field(u) from start[..., d] at times[0]; differentiable. Raises `NumericalError` where torchdiffeq gives up.

    inside: u[..., d] -> bool[...], looked at after every step. Beyond it the field must go on somehow, and be finite.
    """
    from torchdiffeq import odeint

    counted = _Counted(field, inside, start)
    options = {"norm": lambda error: error.abs().max(), "step_t": times[1:], "max_num_steps": max_steps}
    try:
        values = odeint(counted, start, times, rtol=rtol, atol=atol, method=method, options=options)
    except AssertionError as error:  # its way to report step underflow and the step limit
        raise NumericalError(
            f"the explicit method {method} gave up: {error}; if the problem is stiff, take method='collocation'"
        ) from error
    values = cast(Tensor, values)
    counted.look(times[-1], values[-1])
    return Path(values, counted.left, counted.end, counted.evaluations, counted.steps, counted.refused)
