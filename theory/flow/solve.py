"""Trajectories of the full fast-slow system ε dx/dt = A(y) x, dy/dt = g(x, y), batched over starts and ε.

For ε > 0 the problem is stiff with two time scales: a boundary layer of width ε in which x relaxes towards p_st(y),
then the slow flow (Hairer & Wanner, *Solving Ordinary Differential Equations II*, sec. VI.3). Both are resolved, at a
cost that hardly depends on ε. Probability is conserved, 1ᵀx = 1, because 1ᵀA = 0; it is monitored, and never restored
by dividing.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
import time

import numpy as np
import torch

from theory.captured import forget
from theory.errors import SimulationError, Status
from theory.flow import methods
from theory.flow.problem import Problem, Solution, pose
from theory.flow.trajectory import Stats, Trajectory
from theory.kinds import Dense, Event, Integer, Numbers, System

_NO_FAILURE = (Status.SUCCESS, Status.LEFT_DOMAIN, Status.EVENT)
_COMPARED = 32  # points at which a captured system is compared with its functions


def list_methods() -> list[str]:
    """The names that `simulate` takes as `method` besides "auto", read from the files in `theory.flow.methods`.

    Examples:
        >>> import theory
        >>> theory.list_methods()
        ['collocation', 'dopri5', 'lsoda', 'rodas5p']
    """
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__) if not module.name.startswith("_"))


def simulate(
    system: System,
    x0: Dense,
    y0: Dense,
    t: Dense,
    eps: Numbers,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    method: str = "auto",
    throw: bool = True,
    max_steps: Integer = 100_000,
    time_limit: float = math.inf,
    max_step: float = math.inf,
    first_step: float | None = None,
    event: Event | None = None,
) -> Trajectory:
    """Trajectories from (x0[..., n], y0[..., m]) at t[0], given at the times t[k], for eps[...]; the batches broadcast.

    Each trajectory takes its own steps. `method="auto"` takes "collocation" on the CPU and "rodas5p" elsewhere; see
    `list_methods`. `max_steps` bounds the accepted steps of each trajectory, `time_limit` the seconds of the whole
    call; no step is longer than `max_step`, the first one is `first_step` if that is given (both in units of t). A y
    that leaves the system's box, by more than ten times atol + rtol max|y|, ends its trajectory with
    Status.LEFT_DOMAIN; any other early end raises `SimulationError`, which carries the partial result, unless
    throw=False.

    `event(x[..., n], y[..., m]) -> [...]` ends a trajectory, with Status.EVENT, where it first passes through zero: the
    time is `end`, found on the polynomial of the step (nine points of each are looked at; max_step makes them shorter),
    the state there x_event, y_event. A start at zero is no event. It needs method "collocation", hence the CPU.

    What is returned is a valid start: an undershoot of x below zero and an overshoot of y beyond a face, both within
    the tolerances, are taken back, and the mass of x is 1 to rounding. Systems whose functions can be captured
    (`theory.captured`) run as machine code; what they return is compared with the functions themselves.

    Not differentiable: inputs are detached (`reduced_flow` is). float64 throughout. Raises `ValueError` for bad input,
    `GeneratorError` where A(y) is not a generator at a y in the box that was visited, `FastSlowSystemError` where A or
    g return something of the wrong shape.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> found = theory.simulate(system, [1.0, 0.0], y0, [0.0, 0.5, 1.0], 1e-3)
        >>> p = theory.stationary_distribution(system.A(found.y[-1]))
        >>> found.x.shape, bool(theory.total_variation(found.x[-1], p) < 1e-2)
        (torch.Size([3, 2]), True)
        >>> half = theory.simulate(system, [1.0, 0.0], y0, [0.0, 1.0], 0.1, event=lambda x, y: x[..., 0] - 0.5)
        >>> half.status is theory.Status.EVENT, abs(float(half.x_event[0]) - 0.5) < 1e-12
        (True, True)
    """
    start = time.perf_counter()
    problem, batch = pose(system, x0, y0, t, eps, rtol, atol, max_steps, time_limit, max_step, first_step, event)
    name = _choose(method, problem)
    integrate = importlib.import_module(f"{methods.__name__}.{name}").integrate
    solution = integrate(problem)
    if problem.captured is not None and not _is_as_captured(problem, solution):
        forget(system)
        problem = dataclasses.replace(problem, captured=None)
        solution = integrate(problem)
    solution = _valid_starts(problem, solution)
    stats = Stats(solution.evaluations, solution.steps, solution.refused, time.perf_counter() - start, name)
    n = system.n_states
    k = len(problem.t)
    bad = [status for status in solution.statuses if status is not Status.SUCCESS]
    statuses = np.empty(len(solution.statuses), dtype=object)
    statuses[:] = solution.statuses
    result = Trajectory(
        t=problem.t.to(problem.x0.device),
        x=solution.values[..., :n].reshape(*batch, k, n),
        y=solution.values[..., n:].reshape(*batch, k, -1),
        eps=problem.eps.reshape(batch),
        end=solution.end.reshape(batch),
        status=bad[0] if bad else Status.SUCCESS,
        statuses=statuses.reshape(tuple(batch)),
        stats=stats,
        x_event=None if solution.event is None else solution.event[:, :n].reshape(*batch, n),
        y_event=None if solution.event is None else solution.event[:, n:].reshape(*batch, -1),
    )
    if throw:
        _raise_if_failed(result, solution.statuses, solution.end.tolist(), name)
    return result


def _is_as_captured(problem: Problem, solution: Solution) -> bool:
    """Whether A and g are at the points reached, some of them, what the machine code says."""
    n = problem.system.n_states
    reached = solution.values[torch.isfinite(solution.values).all(-1)]
    u = reached[:: max(1, len(reached) // _COMPARED)][: _COMPARED + 1]
    x, y = u[:, :n].contiguous(), problem.system.held(u[:, n:])
    code = problem.captured
    with torch.no_grad():
        return code is None or code.agrees(x, y, problem.system.A(y), problem.system.g(x, y))


def _valid_starts(problem: Problem, solution: Solution) -> Solution:
    """x on the simplex and y in the box, from which they may differ by the tolerances and by rounding."""
    n = problem.system.n_states
    x, y = solution.values[..., :n], solution.values[..., n:]
    if bool((x < 0).any()):
        positive = x.clamp_min(0.0)  # NaN stays
        x = positive / positive.sum(-1, keepdim=True)
    off = x.sum(-1, keepdim=True) - 1
    if bool((off.abs() > 1e-15 * n).any()):
        x = (x - off * x).clamp_min(0.0)
    low, high = (torch.from_numpy(one).to(y) for one in problem.box[:2])  # infinite for a phase
    y = y.clamp(low, high)
    return solution._replace(values=torch.cat([x, y], -1))


def _choose(method: str, problem: Problem) -> str:
    on_cpu = problem.x0.device.type == "cpu"
    if problem.event is not None and not (on_cpu and method in ("auto", "collocation")):
        raise ValueError(
            f"an event is found by method 'collocation' on the CPU, and here method is {method!r} on "
            f"{problem.x0.device}; leave method out, with x0 and y0 on the CPU"
        )
    if method == "auto":
        return "collocation" if on_cpu else "rodas5p"
    if method not in list_methods():
        raise ValueError(f"unknown method {method!r}; there are auto, {', '.join(list_methods())}")
    if not on_cpu and importlib.import_module(f"{methods.__name__}.{method}").WHERE == "cpu":
        raise ValueError(f"method {method!r} runs on the CPU only and x0 is on {problem.x0.device}; take 'rodas5p'")
    return method


def _raise_if_failed(result: Trajectory, statuses: list[Status], end: list[float], method: str) -> None:
    for index, status in enumerate(statuses):
        if status in _NO_FAILURE:
            continue
        count = sum(other not in _NO_FAILURE for other in statuses)
        which = "the trajectory" if len(statuses) == 1 else f"{count} of {len(statuses)} trajectories, first {index}:"
        raise SimulationError(
            f"{which} stopped at t = {end[index]:.6g} ({status.name}, method {method}): {status.value}; "
            "throw=False returns the partial result",
            result,
        )
