"""Radau IIA collocation of order 9 or 13 for a whole batch, each trajectory with its own steps. CPU.

ε dx/dt = A(y) x, dy/dt = g(x, y) is collocated at s nodes per step (`theory.flow.collocation.radau`). A and g are
evaluated in torch at the nodes of all running trajectories at once; the Newton iteration, which uses that A(y) x is
linear in x, and the step control are compiled (`theory.flow.collocation.newton`, `theory.flow.collocation.advance`).
Between the nodes the collocation polynomial is the dense output; its error, not only that of the end value, is what the
step control holds below the tolerance. The boundary layer is resolved: the first steps are of the order of ε.

rtol and atol bound the error per step relative to the largest entry of x, and of y: atol + rtol·max|x|, atol +
rtol·max|y|.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from theory.errors import NumericalError, Status
from theory.flow.collocation.radau import tableau
from theory.flow.derivatives import derivatives
from theory.flow.events import Watch
from theory.flow.problem import Problem, Solution

WHERE = "cpu"

_NEWTON_TOLERANCE = 0.05
# Of the filtered estimate, beside that of the error between the nodes (`advance.between`). With both the largest error
# of 128 trajectories at 81 times, ε = 2^-4 … 2^-16, was 0.05 to 1.9 tolerances from 1e-4 to 3e-10 on five of the
# built-in systems (sodium_channel, which magnifies errors, up to 19), with the first alone up to 24.
_ERROR_FACTOR = 0.3
_GROWTH = 8.0
_INNER_ITERATIONS = 6
_CALLS_BETWEEN_DERIVATIVES = 8
# Entries of A evaluated in one call: A then stays in the cache until it is used. 16 states, 256 trajectories: 225 ms,
# against 231 ms with half as many, 289 ms with an eighth and 236 ms with all in one call.
_MOST_NUMBERS = 131_072
_BUDGET = 2_000  # Newton steps of captured systems between two looks at the clock, and at Ctrl-C


def integrate(problem: Problem) -> Solution:
    """The trajectories at the times problem.t."""
    from theory.flow.collocation import state as kernel
    from theory.flow.collocation.advance import advance

    clock = time.perf_counter()
    system, t = problem.system, problem.t.numpy()
    (b, n), m = problem.x0.shape, problem.y0.shape[1]
    radau = tableau(5 if problem.rtol >= 1e-6 else 7)
    s = len(radau.nodes)
    machine = problem.captured
    state = _initial_state(kernel, problem, radau)
    code, time_reached = state.whole[:, kernel.CODE], state.real[:, kernel.TIME]
    control = kernel.Control(
        rtol=problem.rtol,
        atol=problem.atol,
        newton_tol=_NEWTON_TOLERANCE,
        error_factor=_ERROR_FACTOR,
        growth=_GROWTH,
        inner=_INNER_ITERATIONS,
        max_steps=problem.max_steps,
        max_step=problem.max_step,
        pause=problem.event is not None,
        t=t - t[0],
        low=problem.box.low,
        high=problem.box.high,
    )
    watch = None if problem.event is None else Watch(system, problem.event, state.u)

    def still(rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that go on, once the event has been looked for."""
        if watch is not None:
            watch.look(state, kernel, radau)
            rows = rows[~watch.found[rows]]
        return rows[code[rows] == kernel.RUNNING]

    rows = np.arange(b)
    share = max(1, _MOST_NUMBERS // (s * n * n))
    calls = 0
    timed_out = False
    room = kernel.room(s, n, m)
    addresses, where = np.zeros(4, np.int64), np.zeros(5, np.int64)
    if machine is not None:
        addresses[:] = [machine.address[name] for name in ("A", "g", "dA", "dg")]
        A, g = np.empty((1, s, n, n)), np.empty((1, s, m))
        where[:] = [one.ctypes.data for one in (room.U, A, g, state.dA, state.dg)]
        budget = _BUDGET if problem.time_limit == math.inf else 1
        while len(rows) and not timed_out:
            more = (room, addresses, where, problem.box, _CALLS_BETWEEN_DERIVATIVES, budget)
            advance(rows, A, g, state, radau, control, *more)
            rows = still(rows)
            budget = min(2 * budget, _BUDGET)
            timed_out = time.perf_counter() - clock > problem.time_limit
        rows = rows[:0]
    with torch.no_grad():
        while len(rows):
            for first in range(0, len(rows), share):
                some = rows[first : first + share]
                u = torch.from_numpy(state.nodes[some])
                x, y = u[..., :n].contiguous(), system.held(u[..., n:].contiguous())
                A, g = _array(system.A(y)), _array(system.g(x, y))
                more = (room, addresses, where, problem.box, _CALLS_BETWEEN_DERIVATIVES, len(some))
                advance(some, A, g, state, radau, control, *more)
            rows = still(rows)
            calls += 1
            if calls >= _CALLS_BETWEEN_DERIVATIVES and len(rows) and state.whole[rows, kernel.STALE].any():
                calls = 0
                x, y = torch.from_numpy(state.u[rows, :n]), system.held(torch.from_numpy(state.u[rows, n:]))
                dA, gx, gy = derivatives(system, x, y)
                state.dA[rows], state.dg[rows] = dA.numpy(), torch.cat([gx, gy], -1).numpy()
            if time.perf_counter() - clock > problem.time_limit:
                timed_out = True
                break
    ending = {
        kernel.RUNNING: Status.TIME_LIMIT,
        kernel.FINISHED: Status.SUCCESS,
        kernel.MAX_STEPS: Status.MAX_STEPS,
        kernel.NOT_FINITE: Status.NOT_FINITE,
        kernel.STEP_TOO_SMALL: Status.STEP_TOO_SMALL,
        kernel.LEFT_DOMAIN: Status.LEFT_DOMAIN,
        kernel.MASS_DRIFT: Status.MASS_DRIFT,
    }
    refused = np.flatnonzero(code == kernel.NO_GENERATOR)
    if len(refused):
        y = system.held(torch.from_numpy(state.u[refused[:1], n:]))
        system.check_at(y)
        raise NumericalError(f"A(y) of system {system.name!r} is not a generator near y = {y[0].tolist()}")
    statuses = [ending[int(one)] for one in code]
    end = np.where(code == kernel.FINISHED, t[-1], t[0] + time_reached)
    event = None
    if watch is not None:
        event = torch.from_numpy(watch.state)
        for r in np.flatnonzero(watch.found):
            statuses[r] = Status.EVENT
            end[r] = t[0] + watch.time[r]
            state.output[r, control.t > watch.time[r]] = np.nan
    if not timed_out and any(one is Status.TIME_LIMIT for one in statuses):
        raise NumericalError("the integration stopped before its trajectories did; please report this system")
    return Solution(
        values=torch.from_numpy(state.output),
        statuses=statuses,
        end=torch.from_numpy(end),
        evaluations=int(state.whole[:, kernel.EVALUATED].sum()) + b,
        steps=int(state.whole[:, kernel.ACCEPTED].sum()),
        refused=int(state.whole[:, kernel.REFUSED].sum()),
        event=event,
    )


def _array(value: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.detach().numpy())


def _initial_state(kernel, problem: Problem, radau):
    from theory.flow.faces import no_doubt

    x, y, eps = problem.x0, problem.y0, problem.eps
    (b, n), m = x.shape, y.shape[1]
    s, N, pairs = len(radau.nodes), n + m, len(radau.eigenvalues)
    fast, slow = problem.right_hand_side()
    u = torch.cat([x, y], -1).numpy().copy()
    slope = torch.cat([fast, slow], -1).numpy().copy()
    # one step changes x and y by about this fraction: the step that an error of order s + 1 would allow, with room
    fraction = 0.3 * s * (problem.rtol / _ERROR_FACTOR) ** (1 / (s + 1))
    y_scale = (problem.system.high - problem.system.low).numpy()
    rate = np.maximum(np.abs(slope[:, :n]).max(1) / u[:, :n].max(1), np.abs(slope[:, n:] / y_scale).max(1))
    span = float(problem.t[-1] - problem.t[0])
    dA, gx, gy = problem.derivatives()
    first = np.minimum(span, fraction / np.maximum(rate, fraction / span))
    output = np.full((b, len(problem.t), N), np.nan)
    output[:, 0] = u
    real, whole = np.zeros((b, 6)), np.zeros((b, 9), np.int64)
    real[:, kernel.EPS], real[:, kernel.RATE], whole[:, kernel.WRITTEN] = eps.numpy(), np.inf, 1
    real[:, kernel.STEP] = np.minimum(problem.max_step, problem.first_step if problem.first_step else first)
    return kernel.State(
        real=real,
        whole=whole,
        u=u,
        slope=slope,
        nodes=np.repeat(u[:, None], s, 1),
        points=np.zeros((b, s + 1, N)),
        dA=np.ascontiguousarray(dA),
        dg=np.concatenate([gx, gy], -1),
        LU=np.empty((b, N, N)),
        LZ=np.empty((b, pairs, 2, N, N)),
        output=output,
        doubt=no_doubt(b),
    )
