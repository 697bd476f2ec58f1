"""Explicit Runge-Kutta integration by torchdiffeq, for what is not stiff, with its steps counted.

The largest error of a batch decides on the step, not its mean. The interpolants of torchdiffeq are of lower order
than its steps, so that steps end at the output times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor

from theory.errors import NumericalError


class Path(NamedTuple):
    """values[k, ...] at the times, and what they cost."""

    values: Tensor
    evaluations: int
    steps: int
    refused: int


class _Counted:
    """A vector field that counts its evaluations, and the steps through torchdiffeq's callbacks."""

    def __init__(self, field: Callable[[Tensor], Tensor]) -> None:
        self.field = field
        self.evaluations = self.steps = self.refused = 0

    def __call__(self, t: Tensor, u: Tensor) -> Tensor:
        self.evaluations += 1
        return self.field(u)

    def callback_accept_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.steps += 1

    def callback_reject_step(self, t0: Tensor, u0: Tensor, dt: Tensor) -> None:
        self.refused += 1


def integrate_explicit(
    field: Callable[[Tensor], Tensor],
    start: Tensor,
    times: Tensor,
    *,
    rtol: float,
    atol: float,
    method: str,
    max_steps: int = 100_000,
) -> Path:
    """u' = field(u) from start[...] at times[0]; differentiable. Raises `NumericalError` where torchdiffeq gives up."""
    from torchdiffeq import odeint

    counted = _Counted(field)
    options = {"norm": lambda error: error.abs().max(), "step_t": times[1:], "max_num_steps": max_steps}
    try:
        values = odeint(counted, start, times, rtol=rtol, atol=atol, method=method, options=options)
    except AssertionError as error:  # its way to report step underflow and the step limit
        raise NumericalError(
            f"the explicit method {method} gave up: {error}; if the problem is stiff, take method='collocation'"
        ) from error
    return Path(cast(Tensor, values), counted.evaluations, counted.steps, counted.refused)
