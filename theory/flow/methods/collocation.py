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
from theory.flow.problem import Problem, Solution

WHERE = "cpu"

_NEWTON_TOLERANCE = 0.05
# The estimate, of order s + 1, exceeds the error of the dense output; with this factor the largest error of 256
# trajectories at 21 times was 0.6 to 4 times the tolerance (3 and 16 states, 1e-6 and 1e-9), with 0.1 up to 70 times.
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
    from theory.flow.collocation import advance as kernel

    clock = time.perf_counter()
    system, t = problem.system, problem.t.numpy()
    (b, n), m = problem.x0.shape, problem.y0.shape[1]
    radau = tableau(5 if problem.rtol >= 1e-6 else 7)
    s = len(radau.nodes)
    code = problem.captured
    state = _initial_state(kernel, problem, radau)
    control = kernel.Control(
        rtol=problem.rtol,
        atol=problem.atol,
        newton_tol=_NEWTON_TOLERANCE,
        error_factor=_ERROR_FACTOR,
        growth=_GROWTH,
        inner=_INNER_ITERATIONS,
        max_steps=problem.max_steps,
        max_step=problem.max_step,
        t=t - t[0],
        low=problem.box.low,
        high=problem.box.high,
    )
    rows = np.arange(b)
    share = max(1, _MOST_NUMBERS // (s * n * n))
    calls = 0
    timed_out = False
    if code is not None:
        from theory.flow.collocation.captured import run

        order = ("A", "g", "dA", "dg")
        addresses = np.array([code.address[name] for name in order], np.int64)
        budget = _BUDGET if problem.time_limit == math.inf else 1
        while len(rows) and not timed_out:
            run(rows, state, radau, control, addresses, problem.box, _CALLS_BETWEEN_DERIVATIVES, budget)
            rows = rows[state.code[rows] == kernel.RUNNING]
            budget = min(2 * budget, _BUDGET)
            timed_out = time.perf_counter() - clock > problem.time_limit
        rows = rows[:0]
    with torch.no_grad():
        while len(rows):
            for first in range(0, len(rows), share):
                some = rows[first : first + share]
                X, Y = np.empty((len(some), s, n)), np.empty((len(some), s, m))
                kernel.gather(some, state.nodes, X, Y)
                y = system.held(torch.from_numpy(Y))
                A, g = system.A(y), system.g(torch.from_numpy(X), y)
                kernel.advance(some, _array(A), _array(g), state, radau, control)
            rows = rows[state.code[rows] == kernel.RUNNING]
            calls += 1
            if calls >= _CALLS_BETWEEN_DERIVATIVES and len(rows) and state.stale[rows].any():
                calls = 0
                x, y = torch.from_numpy(state.u[rows, :n]), system.held(torch.from_numpy(state.u[rows, n:]))
                state.dA[rows], state.gx[rows], state.gy[rows] = (d.numpy() for d in derivatives(system, x, y))
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
    refused = np.flatnonzero(state.code == kernel.NO_GENERATOR)
    if len(refused):
        y = system.held(torch.from_numpy(state.u[refused[:1], n:]))
        system.check_at(y)
        raise NumericalError(f"A(y) of system {system.name!r} is not a generator near y = {y[0].tolist()}")
    if not timed_out and (state.code == kernel.RUNNING).any():
        raise NumericalError("the integration stopped before its trajectories did; please report this system")
    return Solution(
        values=torch.from_numpy(state.output),
        statuses=[ending[int(code)] for code in state.code],
        end=torch.from_numpy(np.where(state.code == kernel.FINISHED, t[-1], t[0] + state.time)),
        evaluations=int(state.counts[:, 2].sum()) + b,
        steps=int(state.counts[:, 0].sum()),
        refused=int(state.counts[:, 1].sum()),
    )


def _array(value: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.detach().numpy())


def _initial_state(kernel, problem: Problem, radau):
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
    return kernel.State(
        eps=eps.numpy().copy(),
        time=np.zeros(b),
        step=np.minimum(problem.max_step, np.full(b, problem.first_step) if problem.first_step else first),
        u=u,
        slope=slope,
        nodes=np.repeat(u[:, None], s, 1),
        points=np.zeros((b, s + 1, N)),
        dA=dA,
        gx=gx,
        gy=gy,
        LU=np.empty((b, N, N)),
        LR=np.empty((b, pairs, N, N)),
        LI=np.empty((b, pairs, N, N)),
        newton=np.zeros(b, np.int64),
        size=np.zeros(b),
        rate=np.full(b, np.inf),
        failures=np.zeros(b, np.int64),
        undefined=np.zeros(b, np.bool_),
        inside=np.zeros(b),
        code=np.zeros(b, np.int64),
        stale=np.zeros(b, np.bool_),
        written=np.ones(b, np.int64),
        output=output,
        counts=np.zeros((b, 3), np.int64),
    )
