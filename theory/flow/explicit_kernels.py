"""Explicit Runge-Kutta steps with dense output, compiled: each trajectory keeps its own time and step.

The tableau is an argument: Dormand and Prince's 5(4) (Hairer, Nørsett & Wanner, *Solving Ordinary Differential
Equations I*, sec. II.5; dense output of order 4) or 8(5,3) (there too, `DOP853`; dense output of order 7). The problem
is autonomous; time is counted from the first output on, along the direction of integration.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from theory.compiled import inner, kernel
from theory.flow.faces import LONGEST, NEVER, departure, doubtful, left_after_all, no_doubt, withdraw

RUNNING, FINISHED, MAX_STEPS, NOT_FINITE, STEP_TOO_SMALL, LEFT_DOMAIN, MASS_DRIFT, REFUSED = range(8)
_MOST_FAILURES = 40


class Tableau(NamedTuple):
    """s stages, FSAL: stage s is the slope at the end. Dense output of 8(5,3) takes three more."""

    order: int  # of the error estimate, plus one
    a: np.ndarray  # [S, S], S all stages
    stages: int  # s + 1, with the slope at the end
    error: np.ndarray  # [2, s + 1]; the second row zero for 5(4)
    dense: np.ndarray  # [d, S]


# real: time and step; the last time seen inside the box, not only within the tolerance of it
TIME, STEP, INSIDE = range(3)
# whole: how it stands (above); refusals since the last accepted step; output times passed; counts
CODE, FAILURES, WRITTEN, ACCEPTED, AGAIN, EVALUATED = range(6)


class State(NamedTuple):
    """One row per trajectory; d numbers each."""

    real: np.ndarray  # [B, 3]
    whole: np.ndarray  # [B, 6]
    y: np.ndarray  # [B, d]
    slopes: np.ndarray  # [B, S, d]; slopes[:, 0] is that at y
    end: np.ndarray  # [B, d], where the step arrives
    dense: np.ndarray  # [B, 7, d]
    output: np.ndarray  # [B, k, d]
    doubt: np.ndarray  # [B, 3], of `theory.flow.faces`


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


def blank(y: np.ndarray, tableau: Tableau, k: int) -> State:
    """The state of trajectories that start at y[B, d], before their first slope and step; k output times."""
    b, d = y.shape
    whole, output = np.zeros((b, 6), np.int64), np.full((b, k, d), np.nan)
    whole[:, WRITTEN] = 1
    output[:, 0] = y
    slopes = np.zeros((b, len(tableau.a), d))
    real, dense = np.zeros((b, 3)), np.zeros((b, 7, d))
    return State(real, whole, y.copy(), slopes, np.zeros((b, d)), dense, output, no_doubt(b))


@inner
def stage_point(y, slopes, h, i, a, out):
    """out[d] = y + h Σ_{j<i} a_ij k_j."""
    for c in range(out.shape[0]):
        acc = 0.0
        for j in range(i):
            acc += a[i, j] * slopes[j, c]
        out[c] = y[c] + h * acc


@inner
def judge(y, end, slopes, h, weights, stages, rtol, atol):
    """The scaled error of the step: inf where it is not finite."""
    d = y.shape[0]
    first, second = 0.0, 0.0
    for c in range(d):
        e5, e3 = 0.0, 0.0
        for j in range(stages):
            e5 += weights[0, j] * slopes[j, c]
            e3 += weights[1, j] * slopes[j, c]
        scale = atol + rtol * max(abs(y[c]), abs(end[c]))
        first += (e5 / scale) ** 2
        second += (e3 / scale) ** 2
        if not np.isfinite(end[c]):
            return np.inf
    if not np.isfinite(first):
        return np.inf
    if first == 0.0:
        return 0.0
    if second == 0.0:
        return h * np.sqrt(first / d)
    return h * first / np.sqrt((first + 0.01 * second) * d)


@inner
def retry(real, whole, error, order, doubt, output, t):
    """A smaller step; the trajectory ends where it would fall below rounding."""
    whole[AGAIN] += 1
    whole[FAILURES] += 1
    finite = np.isfinite(error)
    real[STEP] *= max(0.1, 0.9 * error ** (-1.0 / order)) if finite else 0.1
    if real[STEP] <= 1e-15 * real[TIME] or real[STEP] < 1e-290 or whole[FAILURES] > _MOST_FAILURES:
        whole[CODE] = STEP_TOO_SMALL if finite else NOT_FINITE
        if left_after_all(doubt, real[INSIDE], real[TIME]):
            whole[CODE] = LEFT_DOMAIN
            whole[WRITTEN] = withdraw(output, t, whole[WRITTEN], real[INSIDE])


@inner
def interpolation(y, end, slopes, h, order, table, F):
    """The coefficients F[7, d] of the dense output of the step, from all its slopes."""
    d = y.shape[0]
    if order == 5:
        for k in range(table.shape[0]):
            for c in range(d):
                acc = 0.0
                for j in range(7):
                    acc += table[k, j] * slopes[j, c]
                F[k, c] = h * acc
        return
    for c in range(d):
        change = end[c] - y[c]
        F[0, c] = change
        F[1, c] = h * slopes[0, c] - change
        F[2, c] = 2.0 * change - h * (slopes[12, c] + slopes[0, c])
        for k in range(4):
            acc = 0.0
            for j in range(16):
                acc += table[k, j] * slopes[j, c]
            F[3 + k, c] = h * acc


@inner
def within(y, F, order, theta, out):
    """The dense output at the part theta of the step, into out[d]."""
    for c in range(out.shape[0]):
        acc = 0.0
        if order == 5:
            for k in range(3, -1, -1):
                acc = (acc + F[k, c]) * theta
        else:
            for k in range(6, -1, -1):
                acc += F[k, c]
                acc *= theta if (6 - k) % 2 == 0 else 1.0 - theta
        out[c] = y[c] + acc


@inner
def near_face(y, slopes, h, low, high):
    """Whether y may come near a face of its box within the step: then the dense output is needed."""
    d, m = y.shape[0], low.shape[0]
    for k in range(m):
        c = d - m + k
        steepest = 0.0
        for j in range(slopes.shape[0]):
            steepest = max(steepest, abs(slopes[j, c]))
        reach = 2.0 * h * steepest
        if y[c] + reach > high[k] or y[c] - reach < low[k]:
            return True
    return False


@inner
def write(real, whole, y, F, output, t, order, part, seen):
    """Fill the output times of the step, of which y is in the box up to `part` (as `departure` has it)."""
    h, start = real[STEP], real[TIME]
    reach = start + h
    if part != NEVER:
        reach = start + part * h if part >= 0.0 else real[INSIDE]
    k = whole[WRITTEN]
    while k < t.shape[0] and t[k] <= reach * (1.0 + 4e-16):
        within(y, F, order, min(1.0, (t[k] - start) / h), output[k])
        k += 1
    whole[WRITTEN] = k
    if seen >= 0.0:
        real[INSIDE] = start + seen * h
    if part != NEVER:
        real[INSIDE] = reach
        whole[WRITTEN] = withdraw(output, t, whole[WRITTEN], real[INSIDE])


@inner
def move_on(real, whole, y, slopes, end, last, error, order, control, longest):
    """Move y to the end of the step and choose the next one; slopes[last] is that at the end."""
    for c in range(y.shape[0]):
        y[c] = end[c]
        slopes[0, c] = slopes[last, c]
    h = real[STEP]
    real[TIME] += h
    left_over = control.t[-1] - real[TIME]
    if whole[WRITTEN] >= control.t.shape[0] or left_over <= 0.0:
        whole[CODE] = FINISHED
        return
    if whole[ACCEPTED] >= control.max_steps:
        whole[CODE] = MAX_STEPS
        return
    growth = min(8.0, 0.9 * max(error, 1e-10) ** (-1.0 / order))
    if whole[FAILURES] > 0:
        growth = min(growth, 1.0)
    whole[FAILURES] = 0
    new = min(min(h * growth, control.max_step), longest)
    if new >= left_over:
        new = left_over
    elif 2.0 * new > left_over:
        new = 0.5 * left_over
    real[STEP] = new


@inner
def accept(real, whole, y, slopes, end, F, output, doubt, tableau, control, error, nodes, weights, points, faces):
    """See whether y left the box, write the outputs of the step and choose the next one; or repeat it, where that it
    left is to be doubted.

    points[K, d] and faces[4, m] are room.
    """
    d, m, order = y.shape[0], control.low.shape[0], tableau.order
    part, seen = NEVER, 1.0
    if near_face(y, slopes, real[STEP], control.low, control.high):
        for j in range(nodes.shape[0]):
            within(y, F, order, nodes[j], points[j])
        low, high, rtol, atol = control.low, control.high, control.rtol, control.atol
        part, seen = departure(points, d - m, nodes, weights, low, high, rtol, atol, faces)
    if doubtful(doubt, part, real[TIME], real[STEP]):
        whole[AGAIN] += 1
        whole[FAILURES] += 1
        real[STEP] = doubt[LONGEST]
        return
    whole[ACCEPTED] += 1
    write(real, whole, y, F, output, control.t, order, part, seen)
    if part != NEVER:
        whole[CODE] = LEFT_DOMAIN
    else:
        move_on(real, whole, y, slopes, end, tableau.stages - 1, error, order, control, doubt[LONGEST])


@kernel
def finish(rows, state, tableau, control, nodes, weights):
    """Judge the steps of rows[R], whose slopes and ends are known: repeat them smaller, or accept them."""
    points, faces = np.empty((nodes.shape[0], state.y.shape[1])), np.empty((4, control.low.shape[0]))
    for q in range(rows.shape[0]):
        r = rows[q]
        real, whole, y, slopes = state.real[r], state.whole[r], state.y[r], state.slopes[r]
        end, F, output, doubt, h = state.end[r], state.dense[r], state.output[r], state.doubt[r], real[STEP]
        error = judge(y, end, slopes, h, tableau.error, tableau.stages, control.rtol, control.atol)
        if error <= 1.0:
            interpolation(y, end, slopes, h, tableau.order, tableau.dense, F)
            found = (y, slopes, end, F, output, doubt)
            accept(real, whole, *found, tableau, control, error, nodes, weights, points, faces)
        else:
            retry(real, whole, error, tableau.order, doubt, output, control.t)
