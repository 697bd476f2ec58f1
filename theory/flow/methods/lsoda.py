"""SciPy's LSODA (Hindmarsh and Petzold) with the analytic Jacobian, one trajectory after the other. CPU.

Variable-order Adams and BDF with automatic switching (Petzold, *SIAM J. Sci. Stat. Comput.* 4, 1983, 136). LSODA
reports success with NaN in its result, so every value that it returns is looked at here.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch

from theory.errors import Status
from theory.flow import faces
from theory.flow.derivatives import derivatives, jacobian, right_hand_side
from theory.flow.problem import Problem, Solution

WHERE = "cpu"

_DEGREE = 12  # LSODA's highest order


def integrate(problem: Problem) -> Solution:
    """The trajectories at the times problem.t, in a loop over the batch."""
    clock = time.perf_counter()
    b, k = len(problem.eps), len(problem.t)
    values = torch.full((b, k, problem.x0.shape[1] + problem.y0.shape[1]), torch.nan, dtype=torch.float64)
    end = torch.empty(b, dtype=torch.float64)
    statuses, evaluations, steps = [], 0, 0
    for i in range(b):
        rows, status, end[i], evaluated, taken = _one(problem, i, clock)
        values[i, : len(rows)] = torch.from_numpy(rows)
        statuses.append(status)
        evaluations += evaluated
        steps += taken
    system, reached = problem.system, torch.isfinite(values).all(-1)
    system.check_at(system.held(values[reached][:, system.n_states :]))  # it would hide a wrong column sum
    return Solution(values, statuses, end, evaluations, steps, 0)


def _one(problem: Problem, i: int, clock: float) -> tuple[np.ndarray, Status, float, int, int]:
    from scipy.integrate import LSODA

    system, eps = problem.system, problem.eps[i : i + 1]
    n = system.n_states
    t = (problem.t - problem.t[0]).numpy()  # the problem is autonomous, and large times would cost digits

    finite = [True]

    def split(u: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        state = torch.from_numpy(np.array(u, dtype=np.float64))[None]
        return state[:, :n], state[:, n:]

    def rhs(_t: float, u: np.ndarray) -> np.ndarray:
        x, y = split(u)
        y = system.held(y)  # a trial step may reach beyond the box, where A need not be a generator
        with torch.no_grad():
            slope = torch.cat(right_hand_side(system, x, y, eps), -1)[0].numpy()
        finite[0] = bool(np.isfinite(slope).all())
        return slope

    def jac(_t: float, u: np.ndarray) -> np.ndarray:
        x, y = split(u)
        y = system.held(y)
        return jacobian(system.A(y).detach(), x, eps, derivatives(system, x, y))[0].numpy()

    start = torch.cat([problem.x0[i], problem.y0[i]]).numpy()
    rows, u = [start], start

    def begin(now: float, u: np.ndarray, longest: float, first: float | None) -> Any:
        limits = {"first_step": first, "max_step": min(longest, problem.max_step)}
        # Older SciPy (1.13) reads the number of its arguments off the function, where a decorator hides it
        bare = lambda t, u: jac(t, u)  # noqa: E731
        return LSODA(rhs, now, u, t[-1], rtol=problem.rtol, atol=problem.atol, jac=bare, **limits)

    solver, spent, doubt = begin(0.0, start, np.inf, problem.first_step), 0, faces.no_doubt(1)[0]
    box, tolerances = problem.box, (problem.rtol, problem.atol)
    nodes, weights = faces.nodes(_DEGREE)
    steps, status, reached, seen_inside = 0, Status.SUCCESS, 0.0, 0.0
    tolerance = 10 * (problem.atol + problem.rtol)
    while solver.status == "running" and len(rows) < len(t):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LSODA warns and carries on; what it returns is judged below
            solver.step()
        steps += 1
        before, u = u, np.array(solver.y)
        if not np.isfinite(u).all():
            status = Status.NOT_FINITE
        elif solver.status == "failed":
            status = Status.NOT_FINITE if not finite[0] else Status.STEP_TOO_SMALL
        elif abs(u[:n].sum() - 1) > 1e-9 or u[:n].min() < -tolerance:
            status = Status.MASS_DRIFT
        elif steps >= problem.max_steps:
            status = Status.MAX_STEPS
        elif time.perf_counter() - clock > problem.time_limit:
            status = Status.TIME_LIMIT
        if status in (Status.NOT_FINITE, Status.STEP_TOO_SMALL, Status.MASS_DRIFT):
            if status is not Status.MASS_DRIFT and faces.left_after_all(doubt, seen_inside, reached):
                status, reached = Status.LEFT_DOMAIN, seen_inside
                while len(rows) > 1 and t[len(rows) - 1] > reached:
                    rows.pop()
            break
        h = solver.t - reached
        dense = solver.dense_output()
        points = np.ascontiguousarray(dense(reached + h * nodes).T[:, n:])
        part, seen = faces.leaving(points, nodes, weights, box.low, box.high, *tolerances)
        doubted = reached < doubt[faces.CLAIM]
        if faces.doubtful(doubt, part, reached, h):  # a multistep method cannot repeat a step: it begins anew
            spent += solver.nfev + solver.njev
            u, solver = before, begin(reached, before, doubt[faces.LONGEST], None)
            if status is Status.SUCCESS:
                continue
            break
        until = solver.t
        if part != faces.NEVER:
            status, until = Status.LEFT_DOMAIN, reached + part * h if part >= 0.0 else seen_inside
        if seen >= 0.0:
            seen_inside = reached + seen * h
        while len(rows) < len(t) and t[len(rows)] <= until:
            rows.append(dense(t[len(rows)]))
        if status is Status.LEFT_DOMAIN:
            while len(rows) > 1 and t[len(rows) - 1] > until:
                rows.pop()
        reached = until
        if status is not Status.SUCCESS:
            break
        if doubted and reached >= doubt[faces.CLAIM] and solver.status == "running":
            spent += solver.nfev + solver.njev
            solver = begin(reached, u, np.inf, None)
    if len(rows) == len(t) and status in (Status.MAX_STEPS, Status.TIME_LIMIT):
        status = Status.SUCCESS  # the limit came with the end
    if status is Status.SUCCESS:
        reached = t[-1]
    return np.stack(rows), status, float(problem.t[0]) + float(reached), int(spent + solver.nfev + solver.njev), steps
