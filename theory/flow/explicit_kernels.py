"""Explicit Runge-Kutta steps with dense output, compiled: each trajectory keeps its own time and step.

The tableau is an argument: Dormand and Prince's 5(4) (Hairer, Nørsett & Wanner, *Solving Ordinary Differential
Equations I*, sec. II.5; dense output of order 4) or 8(5,3) (there too, `DOP853`; dense output of order 7). The problem
is autonomous; time is counted from the first output on, along the direction of integration.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from theory.compiled import kernel
from theory.flow.faces import NEVER, leaving

RUNNING, FINISHED, MAX_STEPS, NOT_FINITE, STEP_TOO_SMALL, LEFT_DOMAIN, MASS_DRIFT, REFUSED = range(8)
_MOST_FAILURES = 40


class Tableau(NamedTuple):
    """s stages, FSAL: stage s is the slope at the end. Dense output of 8(5,3) takes three more."""

    order: int  # of the error estimate, plus one
    a: np.ndarray  # [S, S], S all stages
    stages: int  # s + 1, with the slope at the end
    error: np.ndarray  # [2, s + 1]; the second row zero for 5(4)
    dense: np.ndarray  # [d, S]


class State(NamedTuple):
    """One row per trajectory; d numbers each."""

    time: np.ndarray  # [B]
    step: np.ndarray  # [B]
    y: np.ndarray  # [B, d]
    slopes: np.ndarray  # [B, S, d]; slopes[:, 0] is that at y
    end: np.ndarray  # [B, d], where the step arrives
    dense: np.ndarray  # [B, 7, d]
    failures: np.ndarray  # [B]
    code: np.ndarray  # [B]
    written: np.ndarray  # [B]
    inside: np.ndarray  # [B], the last time seen inside the box, not only within the tolerance of it
    output: np.ndarray  # [B, k, d]
    counts: np.ndarray  # [B, 3]: accepted, refused, evaluations


class Control(NamedTuple):
    """What stays fixed; low and high are those of the last m of the d numbers."""

    rtol: float
    atol: float
    max_steps: int
    max_step: float
    t: np.ndarray
    low: np.ndarray
    high: np.ndarray


@cache
def tableau(name: str) -> Tableau:
    """The constants of "dopri5" or "dop853", as SciPy has them."""
    from scipy.integrate import DOP853, RK45

    if name == "dopri5":
        a = np.zeros((7, 7))
        a[:6, :5] = RK45.A
        a[6, :6] = RK45.B
        return Tableau(5, a, 7, np.stack([RK45.E, np.zeros(7)]), np.ascontiguousarray(RK45.P.T))
    a = np.zeros((16, 16))
    a[:12, :12] = DOP853.A
    a[12, :12] = DOP853.B
    a[13:, :] = np.asarray(DOP853.A_EXTRA)
    return Tableau(8, a, 13, np.stack([DOP853.E5, DOP853.E3]), np.ascontiguousarray(DOP853.D))


@kernel
def stage_point(state, r, i, a, out):
    """out[d] = y + h Σ_{j<i} a_ij k_j."""
    h = state.step[r]
    for c in range(out.shape[0]):
        acc = 0.0
        for j in range(i):
            acc += a[i, j] * state.slopes[r, j, c]
        out[c] = state.y[r, c] + h * acc


@kernel
def judge(state, r, tableau, control):
    """The scaled error of the step: inf where it is not finite."""
    d = state.y.shape[1]
    h = state.step[r]
    first, second = 0.0, 0.0
    for c in range(d):
        e5, e3 = 0.0, 0.0
        for j in range(tableau.stages):
            e5 += tableau.error[0, j] * state.slopes[r, j, c]
            e3 += tableau.error[1, j] * state.slopes[r, j, c]
        scale = control.atol + control.rtol * max(abs(state.y[r, c]), abs(state.end[r, c]))
        first += (e5 / scale) ** 2
        second += (e3 / scale) ** 2
        if not np.isfinite(state.end[r, c]):
            return np.inf
    if not np.isfinite(first):
        return np.inf
    if first == 0.0:
        return 0.0
    if second == 0.0:
        return h * np.sqrt(first / d)
    return h * first / np.sqrt((first + 0.01 * second) * d)


@kernel
def retry(state, r, error, order):
    """A smaller step; the trajectory ends where it would fall below rounding."""
    state.counts[r, 1] += 1
    state.failures[r] += 1
    finite = np.isfinite(error)
    state.step[r] *= max(0.1, 0.9 * error ** (-1.0 / order)) if finite else 0.1
    if state.step[r] <= 1e-15 * state.time[r] or state.step[r] < 1e-290 or state.failures[r] > _MOST_FAILURES:
        state.code[r] = STEP_TOO_SMALL if finite else NOT_FINITE


@kernel
def interpolation(state, r, tableau):
    """The coefficients of the dense output of the step, from all its slopes."""
    d = state.y.shape[1]
    h = state.step[r]
    F = state.dense[r]
    if tableau.order == 5:
        for k in range(tableau.dense.shape[0]):
            for c in range(d):
                acc = 0.0
                for j in range(tableau.stages):
                    acc += tableau.dense[k, j] * state.slopes[r, j, c]
                F[k, c] = h * acc
        return
    for c in range(d):
        change = state.end[r, c] - state.y[r, c]
        F[0, c] = change
        F[1, c] = h * state.slopes[r, 0, c] - change
        F[2, c] = 2.0 * change - h * (state.slopes[r, 12, c] + state.slopes[r, 0, c])
        for k in range(4):
            acc = 0.0
            for j in range(16):
                acc += tableau.dense[k, j] * state.slopes[r, j, c]
            F[3 + k, c] = h * acc


@kernel
def within(state, r, order, theta, out):
    """The dense output at the part theta of the step, into out[d]."""
    F = state.dense[r]
    for c in range(out.shape[0]):
        acc = 0.0
        if order == 5:
            for k in range(3, -1, -1):
                acc = (acc + F[k, c]) * theta
        else:
            for k in range(6, -1, -1):
                acc += F[k, c]
                acc *= theta if (6 - k) % 2 == 0 else 1.0 - theta
        out[c] = state.y[r, c] + acc


@kernel
def near_face(state, r, control):
    """Whether y may come near a face of its box within the step: then the dense output is needed."""
    d, m = state.y.shape[1], control.low.shape[0]
    for k in range(m):
        c = d - m + k
        steepest = 0.0
        for j in range(state.slopes.shape[1]):
            steepest = max(steepest, abs(state.slopes[r, j, c]))
        reach = 2.0 * state.step[r] * steepest
        if state.y[r, c] + reach > control.high[k] or state.y[r, c] - reach < control.low[k]:
            return True
    return False


@kernel
def needs_dense(state, r, control):
    """Whether the step passes an output time, or may pass a face."""
    k = state.written[r]
    passes = k < control.t.shape[0] and control.t[k] < state.time[r] + state.step[r]
    return passes or near_face(state, r, control)


@kernel
def leaves(state, r, tableau, control, nodes, weights):
    """As `leaving`, for this step."""
    if not near_face(state, r, control):
        return NEVER, 1.0
    d, m = state.y.shape[1], control.low.shape[0]
    value = np.empty(d)
    points = np.empty((nodes.shape[0], m))
    for j in range(nodes.shape[0]):
        within(state, r, tableau.order, nodes[j], value)
        points[j] = value[d - m :]
    return leaving(points, nodes, weights, control.low, control.high, control.rtol, control.atol)


@kernel
def accept(state, r, tableau, control, error, nodes, weights):
    """Write the outputs of the step, see whether y left the box, and choose the next step."""
    h, start = state.step[r], state.time[r]
    part, seen = leaves(state, r, tableau, control, nodes, weights)
    reach = start + h
    if part != NEVER:
        reach = start + part * h if part >= 0.0 else state.inside[r]
    k = state.written[r]
    while k < control.t.shape[0] and control.t[k] <= reach * (1.0 + 4e-16):
        within(state, r, tableau.order, min(1.0, (control.t[k] - start) / h), state.output[r, k])
        k += 1
    if seen >= 0.0:
        state.inside[r] = start + seen * h
    state.counts[r, 0] += 1
    if part != NEVER:
        while k > 1 and control.t[k - 1] > reach * (1.0 + 4e-16):
            k -= 1
            state.output[r, k] = np.nan
        state.written[r] = k
        state.code[r] = LEFT_DOMAIN
        state.inside[r] = reach
        return
    state.written[r] = k
    state.time[r] = start + h
    state.y[r] = state.end[r]
    state.slopes[r, 0] = state.slopes[r, tableau.stages - 1]
    left_over = control.t[-1] - state.time[r]
    if k >= control.t.shape[0] or left_over <= 0.0:
        state.code[r] = FINISHED
        return
    if state.counts[r, 0] >= control.max_steps:
        state.code[r] = MAX_STEPS
        return
    growth = min(8.0, 0.9 * max(error, 1e-10) ** (-1.0 / tableau.order))
    if state.failures[r] > 0:
        growth = min(growth, 1.0)
    state.failures[r] = 0
    new = min(h * growth, control.max_step)
    if new >= left_over:
        new = left_over
    elif 2.0 * new > left_over:
        new = 0.5 * left_over
    state.step[r] = new


@kernel
def stage_points(rows, state, i, a, out):
    """The points out[R, d] at which the slopes of stage i are needed."""
    for q in range(rows.shape[0]):
        stage_point(state, rows[q], i, a, out[q])


@kernel
def judge_all(rows, state, tableau, control, errors):
    """The scaled errors[R] of the steps; those above 1 are to be repeated."""
    for q in range(rows.shape[0]):
        errors[q] = judge(state, rows[q], tableau, control)
        if not errors[q] <= 1.0:
            retry(state, rows[q], errors[q], tableau.order)


@kernel
def needs_dense_all(rows, state, control, needed):
    """As `needs_dense`, into needed[R]."""
    for q in range(rows.shape[0]):
        needed[q] = needs_dense(state, rows[q], control)


@kernel
def accept_all(rows, state, tableau, control, errors, nodes, weights):
    """As `accept`, for the steps of rows[R] with errors[R]."""
    for q in range(rows.shape[0]):
        interpolation(state, rows[q], tableau)
        accept(state, rows[q], tableau, control, errors[q], nodes, weights)
