"""An initial-value problem of the full system, checked once, before any method sees it.

Everything is refused here that would make a method return a wrong answer without noticing: a start off the simplex, a
start outside the box of y, a time span without length, precision below float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from theory.arguments import check_float64, check_integer, check_positive
from theory.captured import Captured, captured
from theory.errors import Status
from theory.fast_slow import FastSlowSystem
from theory.flow.derivatives import Derivatives, derivatives, fast_slope
from theory.starts import (
    check_derivatives,
    check_eps,
    check_inside,
    check_start,
    check_system,
    check_times,
    evaluate_start,
)

TIGHTEST_RTOL = 1e-13


class Box(NamedTuple):
    """The box of y for compiled kernels: low, high [m] (∓inf for a phase), and base and period [m] of phases (period 0:
    no phase)."""

    low: np.ndarray
    high: np.ndarray
    base: np.ndarray
    period: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """B trajectories, flat: x0[B, n], y0[B, m], eps[B], all float64 on one device; t[k] float64 on the CPU.

    A0, g0: A(y0) and g(x0, y0). captured: the system as machine code, None where it has none.
    """

    system: FastSlowSystem
    x0: Tensor
    y0: Tensor
    eps: Tensor
    t: Tensor
    rtol: float
    atol: float
    max_steps: int
    time_limit: float
    max_step: float
    first_step: float | None
    A0: Tensor
    g0: Tensor
    box: Box
    captured: Captured | None
    event: Callable[[Tensor, Tensor], Tensor] | None = None

    def right_hand_side(self) -> tuple[Tensor, Tensor]:
        """(A x / ε, g) at the start."""
        return fast_slope(self.A0, self.x0, self.eps), self.g0

    def derivatives(self) -> Derivatives:
        """∂A, ∂_x g, ∂_y g at the start, as arrays."""
        if self.captured is None:
            return Derivatives(*(d.detach().cpu().numpy() for d in derivatives(self.system, self.x0, self.y0)))
        return Derivatives(*self.captured.derivatives(self.x0, self.system.wrapped(self.y0)))


class Solution(NamedTuple):
    """What a method returns: values[B, k, n + m] with NaN where it did not arrive, and one status and end time each."""

    values: Tensor
    statuses: list[Status]
    end: Tensor
    evaluations: int
    steps: int
    refused: int
    event: Tensor | None = None  # (x, y)[B, n + m] at the event, NaN where there was none


def pose(
    system: Any,
    x0: Any,
    y0: Any,
    t: Any,
    eps: Any,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    time_limit: Any,
    max_step: Any = math.inf,
    first_step: Any = None,
    event: Any = None,
) -> tuple[Problem, torch.Size]:
    """The checked problem and the batch shape of its trajectories; `ValueError` names the argument that is wrong."""
    system = check_system(system)
    eps = check_float64("eps", eps)
    x0, y0 = check_start(system, x0, y0, eps=eps)
    eps = check_eps(eps, y0)
    batch = y0.shape[:-1]
    x0, y0 = x0.reshape(-1, system.n_states).detach(), y0.reshape(-1, system.n_slow).detach()
    eps = eps.expand(batch).reshape(-1).detach()
    check_inside(system, "y0", y0)
    rtol, atol = check_tolerances(rtol, atol)
    max_steps = check_integer(max_steps, "max_steps", least=1)
    if not isinstance(time_limit, (int, float)) or not time_limit > 0:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    max_step, first_step = check_steps(max_step, first_step)
    if event is not None and not callable(event):
        raise ValueError(
            f"event must be a function of (x, y), or None, got {event!r}; for example event=lambda x, y: y[..., 0] - 1"
        )
    times = check_times(t)
    with torch.no_grad():
        A0, g0 = evaluate_start(system, x0, y0)
    check_derivatives(system)
    code = captured(system) if x0.device.type == "cpu" else None
    if code is not None and not code.agrees(x0, system.wrapped(y0), A0, g0):
        code = None
    problem = Problem(
        system=system,
        x0=x0,
        y0=y0,
        eps=eps,
        t=times,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        time_limit=float(time_limit),
        max_step=max_step,
        first_step=first_step,
        A0=A0.detach(),
        g0=g0.detach(),
        box=box(system),
        captured=code,
        event=cast("Callable[[Tensor, Tensor], Tensor] | None", event),
    )
    return problem, batch


def check_tolerances(rtol: Any, atol: Any) -> tuple[float, float]:
    """(rtol, atol), each between 0 and 1, rtol not below what float64 resolves."""
    rtol, atol = check_positive(rtol, "rtol", below=1.0), check_positive(atol, "atol", below=1.0)
    if rtol < TIGHTEST_RTOL:
        raise ValueError(f"rtol must be at least {TIGHTEST_RTOL}, float64 resolves no less; got {rtol!r}")
    return rtol, atol


def check_steps(max_step: Any, first_step: Any) -> tuple[float, float | None]:
    """(max_step, first_step), in units of t; inf and None leave them to the method."""
    unlimited = isinstance(max_step, float) and max_step == math.inf
    largest = math.inf if unlimited else check_positive(max_step, "max_step")
    return largest, None if first_step is None else min(check_positive(first_step, "first_step"), largest)


def box(system: FastSlowSystem) -> Box:
    """The box of `system` for compiled kernels."""
    low, high, phases = (one.cpu().numpy() for one in (system.low, system.high, system.periodic))
    return Box(
        np.where(phases, -np.inf, low),
        np.where(phases, np.inf, high),
        np.ascontiguousarray(low),
        np.where(phases, high - low, 0.0),
    )
