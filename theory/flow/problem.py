"""An initial-value problem of the full system, checked once, before any method sees it.

Everything is refused here that would make a method return a wrong answer without noticing: a start off the simplex, a
start outside the box of y, a time span without length, precision below float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from theory.arguments import check_float64, check_integer, check_simplex
from theory.errors import Status
from theory.fast_slow import FastSlowSystem

TIGHTEST_RTOL = 1e-13


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """B trajectories, flat: x0[B, n], y0[B, m], eps[B], all float64 on one device; t[k] float64 on the CPU."""

    system: FastSlowSystem
    x0: Tensor
    y0: Tensor
    eps: Tensor
    t: Tensor
    rtol: float
    atol: float
    max_steps: int
    time_limit: float


class Solution(NamedTuple):
    """What a method returns: values[B, k, n + m] with NaN where it did not arrive, and one status and end time each."""

    values: Tensor
    statuses: list[Status]
    end: Tensor
    evaluations: int
    steps: int
    refused: int


def pose(
    system: Any, x0: Any, y0: Any, t: Any, eps: Any, rtol: Any, atol: Any, max_steps: Any, time_limit: Any
) -> tuple[Problem, torch.Size]:
    """The checked problem and the batch shape of its trajectories; `ValueError` names the argument that is wrong."""
    if not isinstance(system, FastSlowSystem):
        raise ValueError(
            f"system must be a theory.FastSlowSystem, got {type(system).__name__}; theory.get_system(name) builds one"
        )
    x0, y0, eps = check_float64("x0", x0), check_float64("y0", y0), check_float64("eps", eps)
    if x0.device != y0.device:
        raise ValueError(f"x0 is on {x0.device} and y0 on {y0.device}; move one of them")
    eps = eps.to(x0.device)
    for name, value, size in (("x0", x0, system.n_states), ("y0", y0, system.n_slow)):
        if value.ndim == 0 or value.shape[-1] != size:
            raise ValueError(f"{name} must be [..., {size}] for system {system.name!r}, got {list(value.shape)}")
    try:
        batch = torch.broadcast_shapes(x0.shape[:-1], y0.shape[:-1], eps.shape)
    except RuntimeError:
        raise ValueError(
            f"the batch shapes of x0 {list(x0.shape[:-1])}, y0 {list(y0.shape[:-1])} and eps {list(eps.shape)} "
            "do not agree"
        ) from None
    x0 = x0.expand(*batch, -1).reshape(-1, system.n_states)
    y0 = y0.expand(*batch, -1).reshape(-1, system.n_slow)
    eps = eps.expand(batch).reshape(-1)
    if len(eps) == 0:
        raise ValueError(f"x0, y0 and eps hold no trajectory: their batch shape is {list(batch)}")
    _first_bad("eps", eps, ~(torch.isfinite(eps) & (eps > 0)), "must be positive and finite")
    check_simplex("x0", x0)
    _first_bad("y0", y0, ~torch.isfinite(y0).all(-1), "must be finite")
    box = f"must lie in the box of {system.name!r}, {system.low.tolist()} to {system.high.tolist()}"
    _first_bad("y0", y0, ~system.inside(y0), box)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 < value < 1:
            raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
    if rtol < TIGHTEST_RTOL:
        raise ValueError(f"rtol must be at least {TIGHTEST_RTOL}, float64 resolves no less; got {rtol!r}")
    max_steps = check_integer(max_steps, "max_steps", least=1)
    if not isinstance(time_limit, (int, float)) or not time_limit > 0:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    system.check_at(y0)
    system.g(x0, y0)
    problem = Problem(
        system=system,
        x0=x0.detach(),
        y0=y0.detach(),
        eps=eps.detach(),
        t=check_times(t),
        rtol=float(rtol),
        atol=float(atol),
        max_steps=max_steps,
        time_limit=float(time_limit),
    )
    return problem, batch


def check_times(t: Any) -> Tensor:
    """The output times t[k] in float64 on the CPU: at least two, finite and increasing; t[0] is the start."""
    times = check_float64("t", t).detach().cpu()
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"t must be a list of at least two times, the first of them the start; got shape {list(times.shape)}"
        )
    if not bool(torch.isfinite(times).all()):
        raise ValueError(f"t must be finite, got {times.tolist()}")
    if not bool((times.diff() > 0).all()):
        first = int((times.diff() <= 0).nonzero()[0])
        raise ValueError(
            f"t must increase, but t[{first}] = {float(times[first])!r} is followed by "
            f"t[{first + 1}] = {float(times[first + 1])!r}"
        )
    return times


def _first_bad(name: str, value: Tensor, bad: Tensor, rule: str) -> None:
    if bool(bad.any()):
        index = int(bad.nonzero()[0])
        where = f" (trajectory {index})" if len(bad) > 1 else ""
        raise ValueError(f"{name} {rule}; got {value[index].tolist()}{where}")
