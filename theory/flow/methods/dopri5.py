"""Dormand-Prince 5(4) by torchdiffeq, an explicit method: a cross-check at large ε, refused where the problem is stiff.

An explicit method is stable only while h times the fastest rate is below about 3.3 (Hairer & Wanner II, sec. IV.2), so
its cost grows like 1/ε however smooth the solution. It is refused here when stability alone would ask for more than
`_MOST_STEPS` steps.
"""

from __future__ import annotations

import torch

from theory.errors import Status
from theory.flow.derivatives import right_hand_side
from theory.flow.explicit import integrate_explicit
from theory.flow.problem import Problem, Solution

WHERE = "any"

_STABILITY = 3.3
_MOST_STEPS = 2_000


def integrate(problem: Problem) -> Solution:
    """The trajectories at the times problem.t, all with the same steps; `ValueError` where the problem is stiff."""
    system, eps = problem.system, problem.eps
    fastest = system.A(problem.y0).diagonal(dim1=-2, dim2=-1).abs().amax(-1).detach() / eps
    span = float(problem.t[-1] - problem.t[0])
    needed = float(fastest.max()) * span / _STABILITY
    if needed > _MOST_STEPS:
        worst = int(fastest.argmax())
        raise ValueError(
            f"method 'dopri5' is explicit and the problem is stiff: at eps = {float(eps[worst]):.3g} "
            f"(trajectory {worst}) stability takes about {needed:.3g} steps; take method='collocation' (or 'auto')"
        )
    n = system.n_states
    times = problem.t.to(eps.device)
    with torch.no_grad():
        path = integrate_explicit(
            # a trial step may reach beyond the box, where A need not be a generator
            lambda u: torch.cat(right_hand_side(system, u[:, :n], system.held(u[:, n:]), eps), -1),
            torch.cat([problem.x0, problem.y0], -1),
            times,
            inside=lambda u: system.inside(u[:, n:]),
            rtol=problem.rtol,
            atol=problem.atol,
            method="dopri5",
            max_steps=problem.max_steps,
        )
    values = path.values.movedim(0, 1).contiguous()
    b = len(eps)
    statuses, end = [], torch.full((b,), float(times[-1]), dtype=torch.float64)
    for i in range(b):
        good, status = _judge(problem, values[i], times < path.left[i])
        if good < len(times):
            values[i, good:] = torch.nan
            end[i] = path.end[i] if status is Status.LEFT_DOMAIN else times[good - 1]
        statuses.append(status)
    reached = torch.isfinite(values).all(-1)
    system.check_at(values[reached][:, n:])  # the right-hand side would hide a column sum that is not zero
    return Solution(values, statuses, end, path.evaluations * b, path.steps * b, path.refused * b)


def _judge(problem: Problem, u: torch.Tensor, stayed: torch.Tensor) -> tuple[int, Status]:
    n = problem.x0.shape[1]
    tolerance = 10 * (problem.atol + problem.rtol)
    checks = (
        (torch.isfinite(u).all(-1), Status.NOT_FINITE),
        (stayed, Status.LEFT_DOMAIN),
        (((u[:, :n].sum(-1) - 1).abs() <= 1e-9) & (u[:, :n] >= -tolerance).all(-1), Status.MASS_DRIFT),
    )
    first, how = len(u), Status.SUCCESS
    for good, status in checks:
        failing = (~good).nonzero()
        if len(failing) and int(failing[0]) < first:
            first, how = int(failing[0]), status
    return max(first, 1), how
