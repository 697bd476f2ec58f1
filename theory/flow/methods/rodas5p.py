"""The Rosenbrock method Rodas5P for a whole batch in torch, each trajectory with its own steps. Any device.

Eight stages, order 5, stiffly accurate, L-stable, with a dense output of order 4 (Steinebach, *BIT Numer. Math.* 63
(2023) 27; the coefficients are in the transformed form of Hairer & Wanner II, sec. IV.7, and tested against the order
conditions). With W = I/(hγ) − J a stage solves

    W k_i = F(u + Σ_j a_ij k_j) + Σ_j c_ij k_j / h,

with one Jacobian and one factorisation a step; the last stage is the error estimate. No iteration, and so no host
decision inside a step: the step loop asks the device once per step which trajectories are still running.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from theory.errors import Status
from theory.flow import faces
from theory.flow.derivatives import derivatives, jacobian, right_hand_side
from theory.flow.problem import Problem, Solution
from theory.lu import lu_factor_ex

WHERE = "any"

_GAMMA = 0.21193756319429014
_A = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946),
)
_C = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)
_DENSE = (
    (
        25.948786856663858,
        -2.5579724845846235,
        10.433815404888879,
        -2.3679251022685204,
        0.524948541321073,
        1.1241088310450404,
        0.4272876194431874,
        -0.17202221070155493,
    ),
    (
        -9.91568850695171,
        -0.9689944594115154,
        3.0438037242978453,
        -24.495224566215796,
        20.176138334709044,
        15.98066361424651,
        -6.789040303419874,
        -6.710236069923372,
    ),
    (
        11.419903575922262,
        2.8879645146136994,
        72.92137995996029,
        80.12511834622643,
        -52.072871366152654,
        -59.78993625266729,
        -0.15582684282751913,
        4.883087185713722,
    ),
)
# the new step over the old one is _SAFETY error^(−1/5), kept between the other two
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 6.0


class _Step(NamedTuple):
    end: Tensor  # u at the end [B, N]
    stages: Tensor  # k [B, 8, N]


def integrate(problem: Problem) -> Solution:
    """The trajectories at the times problem.t."""
    clock = time.perf_counter()
    system, eps = problem.system, problem.eps
    device = eps.device
    (b, n), m = problem.x0.shape, problem.y0.shape[1]
    t = (problem.t - problem.t[0]).to(device)
    span = t[-1]
    u = torch.cat([problem.x0, problem.y0], -1)
    values = torch.full((b, len(t), n + m), torch.nan, dtype=u.dtype, device=device)
    values[:, 0] = u
    width = (system.high - system.low).to(u)
    fast, slow = problem.right_hand_side()
    rate = torch.maximum(fast.abs().amax(-1) / problem.x0.amax(-1), (slow.abs() / width).amax(-1))
    fraction = problem.rtol**0.2
    step = torch.minimum(fraction / rate.clamp_min(1e-300), span)
    if problem.first_step is not None:
        step = torch.full_like(step, problem.first_step)
    step = step.clamp_max(problem.max_step)
    seen_inside, doubt = torch.zeros_like(eps), faces.no_doubt(b)
    undefined = torch.zeros(b, dtype=torch.bool, device=device)
    now = torch.zeros_like(eps)
    taken = torch.zeros(b, dtype=torch.int64, device=device)
    failures = torch.zeros_like(taken)
    statuses: list[Status | None] = [None] * b
    rows = torch.arange(b, device=device)
    evaluations = refused = 0
    tolerance = 10 * (problem.atol + problem.rtol)
    while len(rows):
        h = torch.minimum(step[rows], span - now[rows])
        trial = _step(problem, u[rows], eps[rows], h)
        evaluations += 8 * len(rows)
        sizes = torch.cat([_size(u[rows], n, m), _size(trial.end, n, m)]).reshape(2, len(rows), 2).amax(0)
        scale = (problem.atol + problem.rtol * sizes).repeat_interleave(torch.tensor([n, m], device=device), dim=1)
        error = (trial.stages[:, 7].abs() / scale).amax(-1)
        finite = torch.isfinite(trial.end).all(-1) & torch.isfinite(error)
        good = finite & (error <= 1)
        passed = rows[good]
        dense = _Dense(u[passed], trial.end[good], trial.stages[good])
        until, gone, seen, doubted = _departures(problem, dense, passed, now[passed], h[good], seen_inside, doubt)
        kept = ~doubted
        good[good.clone()] = kept
        passed = rows[good]
        seen_inside[passed] = seen[kept]
        factor = torch.where(finite, (_SAFETY * error.clamp_min(1e-30) ** -0.2).clamp(_SHRINK, _GROW), _SHRINK)
        factor = torch.where(failures[rows] > 0, factor.clamp_max(1.0), factor)
        longest = torch.from_numpy(doubt[:, faces.LONGEST]).to(h)[rows]
        failures[rows] = torch.where(good, 0, failures[rows] + 1)
        refused += int((~good).sum())
        undefined[rows] = torch.where(good, False, undefined[rows] | ~finite)
        until, gone = until[kept], gone[kept]
        _write(values, t, passed, dense.of(kept), now[passed], h[good], until, gone)
        u[passed] = trial.end[good]
        now[passed] = until
        taken[passed] += 1
        step[rows] = torch.minimum((h * factor).clamp_max(problem.max_step), longest)
        x = u[rows, :n]
        late = torch.tensor(time.perf_counter() - clock > problem.time_limit, device=device)
        left = torch.zeros(len(rows), dtype=torch.bool, device=device)
        left[good] = gone
        stuck = ~good & ((step[rows] <= 1e-15 * now[rows]) | (step[rows] < 1e-290) | (failures[rows] > 40))
        for q in stuck.nonzero()[:, 0].tolist():
            row = int(rows[q])
            if faces.left_after_all(doubt[row], float(seen_inside[row]), float(now[row])):
                left[q], now[row] = True, seen_inside[row]
                values[row, (t > now[row] * (1 + 1e-15)) & (t > 0)] = torch.nan
        not_finite, too_small = stuck & undefined[rows], stuck & ~undefined[rows]
        ends = (
            (left, Status.LEFT_DOMAIN),
            (not_finite, Status.NOT_FINITE),
            (too_small, Status.STEP_TOO_SMALL),
            (((x.sum(-1) - 1).abs() > 1e-9) | (x.amin(-1) < -tolerance), Status.MASS_DRIFT),
            (now[rows] >= span * (1 - 4e-16), Status.SUCCESS),
            (taken[rows] >= problem.max_steps, Status.MAX_STEPS),
            (late.expand(len(rows)), Status.TIME_LIMIT),
        )
        running = torch.ones(len(rows), dtype=torch.bool, device=device)
        for condition, status in ends:
            for index in rows[condition & running].tolist():
                statuses[index] = status
            running = running & ~condition
        rows = rows[running]
    reached = torch.isfinite(values).all(-1)
    system.check_at(system.held(values[reached][:, n:]))  # the projections would hide a wrong column sum
    return Solution(
        values=values,
        statuses=[status for status in statuses if status is not None],
        end=problem.t[0] + now.cpu(),
        evaluations=evaluations,
        steps=int(taken.sum()),
        refused=refused,
    )


def _step(problem: Problem, u: Tensor, eps: Tensor, h: Tensor) -> _Step:
    system, n = problem.system, problem.x0.shape[1]
    x, y = u[:, :n], system.held(u[:, n:])
    J = jacobian(system.A(y).detach(), x, eps, derivatives(system, x, y))
    W = torch.diag_embed((1.0 / (_GAMMA * h))[:, None].expand_as(u)) - J
    factors, pivots, _ = lu_factor_ex(W)
    k: list[Tensor] = []
    base = u
    with torch.no_grad():
        for i in range(8):
            # the last three stages start from where the one before arrived
            at = (
                base + k[-1]
                if i > 5
                else u + sum((a * kj for a, kj in zip(_A[i], k, strict=True)), torch.zeros_like(u))
            )
            base = at
            right = torch.cat(right_hand_side(system, at[:, :n], system.held(at[:, n:]), eps), -1)
            for c, kj in zip(_C[i], k, strict=True):
                right = right + (c / h)[:, None] * kj
            solved = torch.linalg.lu_solve(factors, pivots, right[..., None])[..., 0]
            # 1ᵀA = 0 makes the fast part of every stage sum to zero; the solve does so up to rounding times h/ε
            fast = solved[:, :n] - solved[:, :n].mean(-1, keepdim=True)
            k.append(torch.cat([fast, solved[:, n:]], -1))
    return _Step(base + k[-1], torch.stack(k, 1))


def _size(u: Tensor, n: int, m: int) -> Tensor:
    return torch.stack([u[:, :n].abs().amax(-1), u[:, n:].abs().amax(-1)], -1)


class _Dense:
    """The dense output of steps from u[B, N] to end[B, N] with their stages [B, 8, N]."""

    def __init__(self, u: Tensor, end: Tensor, stages: Tensor) -> None:
        self.u, self.end, self.stages = u, end, stages
        weights = torch.tensor(_DENSE, dtype=u.dtype, device=u.device)
        self.dense = torch.einsum("dj,bjc->dbc", weights, stages)

    def of(self, which: Tensor) -> _Dense:
        """That of some of the steps."""
        return _Dense(self.u[which], self.end[which], self.stages[which])

    def __call__(self, which: Tensor, s: Tensor) -> Tensor:
        """(x, y) [R, N] of the steps which[R] at the parts s[R] of them."""
        s = s[:, None]
        inner = self.dense[0, which] + s * (self.dense[1, which] + s * self.dense[2, which])
        return (1 - s) * self.u[which] + s * (self.end[which] + (1 - s) * inner)


def _departures(
    problem: Problem, dense: _Dense, rows: Tensor, now: Tensor, h: Tensor, seen_inside: Tensor, doubt: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the steps of `rows`: the time that each reaches in its box, whether it leaves that there, when it was last
    seen inside, and whether that is to be doubted (`theory.flow.faces`)."""
    n = problem.x0.shape[1]
    until = now + h
    gone = torch.zeros(len(rows), dtype=torch.bool, device=h.device)
    doubted = torch.zeros_like(gone)
    seen = until.clone()
    nodes, weights = faces.nodes(4)
    near = _near_a_face(problem, dense.u, dense.end, dense.stages).cpu().numpy()
    row_of = rows.cpu().numpy()
    for q in np.flatnonzero(near | (doubt[row_of, faces.LONGEST] < np.inf)).tolist():
        row, part, last = int(row_of[q]), faces.NEVER, 1.0
        if near[q]:
            at = dense(torch.full((5,), q, device=h.device), torch.from_numpy(nodes).to(h))
            points = np.ascontiguousarray(at[:, n:].cpu().numpy())
            box = problem.box.low, problem.box.high
            part, last = faces.leaving(points, nodes, weights, *box, problem.rtol, problem.atol)
        doubted[q] = faces.doubtful(doubt[row], part, float(now[q]), float(h[q]))
        seen[q] = now[q] + last * h[q] if last >= 0.0 else seen_inside[row]
        if part != faces.NEVER:
            gone[q] = True
            until[q] = now[q] + part * h[q] if part >= 0.0 else seen_inside[row]
    return until, gone, seen, doubted


def _write(
    values: Tensor, t: Tensor, rows: Tensor, dense: _Dense, now: Tensor, h: Tensor, until: Tensor, gone: Tensor
) -> None:
    """Write the output times of the accepted steps of `rows`."""
    due = (t[None, :] > now[:, None]) & (t[None, :] <= until[:, None] * (1 + 1e-15))
    which, when = due.nonzero(as_tuple=True)
    values[rows[which], when] = dense(which, ((t[when] - now[which]) / h[which]).clamp_max(1.0))
    for q in gone.nonzero()[:, 0].tolist():  # what was written while y was beyond its face, within the tolerance
        values[rows[q], (t > until[q] * (1 + 1e-15)) & (t > 0)] = torch.nan


def _near_a_face(problem: Problem, u: Tensor, end: Tensor, stages: Tensor) -> Tensor:
    """Whether y may come near a face of the box within the step: bool[B]."""
    n = problem.x0.shape[1]
    low, high = (torch.from_numpy(one).to(u) for one in problem.box[:2])
    reach = 4.0 * stages[..., n:].abs().sum(1)
    most, least = torch.maximum(u, end)[:, n:] + reach, torch.minimum(u, end)[:, n:] - reach
    return ((most > high) | (least < low)).any(-1)
