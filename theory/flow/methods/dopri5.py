"""Dormand-Prince 5(4), an explicit method: a cross-check at large ε, refused where the problem is stiff.

An explicit method is stable only while h times the fastest rate is below about 3.3 (Hairer & Wanner II, sec. IV.2), so
its cost grows like 1/ε however smooth the solution. It is refused here when stability alone would ask for more than
`_MOST_STEPS` steps. Each trajectory has its own steps (`theory.flow.explicit_kernels`); A and g are evaluated by torch,
on any device.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from theory.errors import Status
from theory.flow.derivatives import right_hand_side
from theory.flow.problem import Problem, Solution

WHERE = "any"

_STABILITY = 3.3
_MOST_STEPS = 2_000


def integrate(problem: Problem) -> Solution:
    """The trajectories at the times problem.t; `ValueError` where the problem is stiff."""
    from theory.flow import explicit_kernels as rk
    from theory.flow import faces

    clock = time.perf_counter()
    _refuse_if_stiff(problem)
    system, eps = problem.system, problem.eps
    n, device = system.n_states, eps.device
    t = np.ascontiguousarray((problem.t - problem.t[0]).numpy())
    tableau = rk.tableau("dopri5")
    u = np.ascontiguousarray(torch.cat([problem.x0, problem.y0], -1).cpu().numpy())
    b = len(u)

    def field(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        here = torch.from_numpy(at).to(device)
        # a trial step may reach beyond the box, where A need not be a generator
        y = system.held(torch.nan_to_num(here[:, n:]))
        slope = torch.cat(right_hand_side(system, here[:, :n], y, eps[torch.from_numpy(rows).to(device)]), -1)
        return torch.where(torch.isfinite(here).all(-1, keepdim=True), slope, torch.nan).cpu().numpy()

    everyone = np.arange(b)
    state = rk.blank(u, tableau, len(t))
    with torch.no_grad():
        state.slopes[:, 0] = field(everyone, u)
    size = np.maximum(np.abs(u).max(1), 1e-3) / np.maximum(np.abs(state.slopes[:, 0]).max(1), 1e-300)
    step = 0.05 * size * problem.rtol**0.2 if problem.first_step is None else problem.first_step
    state.real[:, rk.STEP] = np.minimum(step, min(t[-1], problem.max_step))
    code, now = state.whole[:, rk.CODE], state.real[:, rk.TIME]
    control = rk.Control(
        problem.rtol, problem.atol, problem.max_steps, problem.max_step, t, problem.box.low, problem.box.high
    )
    nodes, weights = faces.nodes(4)
    rows, tolerance = everyone, 10 * (problem.atol + problem.rtol)
    with torch.no_grad():
        while len(rows):
            at = state.y[rows]
            for i in range(1, tableau.stages):
                slope = np.einsum("j,rjc->rc", tableau.a[i, :i], state.slopes[rows, :i])
                at = state.y[rows] + state.real[rows, rk.STEP, None] * slope
                state.slopes[rows, i] = field(rows, at)
            state.end[rows] = at
            state.whole[rows, rk.EVALUATED] += tableau.stages - 1
            rk.finish(rows, state, tableau, control, nodes, weights)
            x = state.y[rows, :n]
            drifted = (code[rows] == rk.RUNNING) & ((np.abs(x.sum(1) - 1) > 1e-9) | (x.min(1) < -tolerance))
            code[rows[drifted]] = rk.MASS_DRIFT
            rows = rows[code[rows] == rk.RUNNING]
            if time.perf_counter() - clock > problem.time_limit:
                break
    ending = {
        rk.RUNNING: Status.TIME_LIMIT,
        rk.FINISHED: Status.SUCCESS,
        rk.MAX_STEPS: Status.MAX_STEPS,
        rk.NOT_FINITE: Status.NOT_FINITE,
        rk.STEP_TOO_SMALL: Status.STEP_TOO_SMALL,
        rk.LEFT_DOMAIN: Status.LEFT_DOMAIN,
        rk.MASS_DRIFT: Status.MASS_DRIFT,
    }
    values = torch.from_numpy(state.output).to(device)
    reached = torch.isfinite(values).all(-1)
    system.check_at(system.held(values[reached][:, n:]))  # the right-hand side would hide a column sum that is not zero
    end = np.where(code == rk.FINISHED, t[-1], np.where(code == rk.LEFT_DOMAIN, state.real[:, rk.INSIDE], now))
    return Solution(
        values,
        [ending[int(one)] for one in code],
        problem.t[0] + torch.from_numpy(end),
        int(state.whole[:, rk.EVALUATED].sum()) + b,
        int(state.whole[:, rk.ACCEPTED].sum()),
        int(state.whole[:, rk.AGAIN].sum()),
    )


def _refuse_if_stiff(problem: Problem) -> None:
    fastest = problem.A0.diagonal(dim1=-2, dim2=-1).abs().amax(-1) / problem.eps
    span = float(problem.t[-1] - problem.t[0])
    needed = float(fastest.max()) * span / _STABILITY
    if needed > _MOST_STEPS:
        worst = int(fastest.argmax())
        raise ValueError(
            f"method 'dopri5' is explicit and the problem is stiff: at eps = {float(problem.eps[worst]):.3g} "
            f"(trajectory {worst}) stability takes about {needed:.3g} steps; take method='collocation' (or 'auto')"
        )
