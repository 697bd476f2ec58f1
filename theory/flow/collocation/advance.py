"""The step control of the collocation method, compiled: each running trajectory keeps its own time, step and iteration.

One call takes A and g at the current nodes of every running trajectory and moves each of them on by one Newton step;
where that converges the step is judged, accepted or repeated, and the nodes of the next one are predicted. So every
evaluation of A and g serves the whole batch, whatever phase each trajectory is in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from theory.compiled import kernel
from theory.flow.collocation.lu import solve_real
from theory.flow.collocation.newton import add_correction, factor, generator_defect, linear_part, residual
from theory.flow.faces import NEVER, leaving, place

RUNNING, FINISHED, MAX_STEPS, NOT_FINITE, STEP_TOO_SMALL, LEFT_DOMAIN, MASS_DRIFT, NO_GENERATOR = range(8)
NO_LIMIT = 2**62


class State(NamedTuple):
    """Everything that changes: arrays with one row per trajectory; N = n + m, times relative to t[0]."""

    eps: np.ndarray  # [B]
    time: np.ndarray  # [B]
    step: np.ndarray  # [B]
    u: np.ndarray  # [B, N], (x, y) at the start of the step
    slope: np.ndarray  # [B, N], du/dt there
    nodes: np.ndarray  # [B, s, N], the current iterate
    points: np.ndarray  # [B, s + 1, N], the polynomial that predicts
    dA: np.ndarray  # [B, m, n, n]
    gx: np.ndarray  # [B, m, n]
    gy: np.ndarray  # [B, m, m]
    LU: np.ndarray  # [B, N, N]
    LR: np.ndarray  # [B, r, N, N]
    LI: np.ndarray  # [B, r, N, N]
    newton: np.ndarray  # [B], Newton steps taken on this step
    size: np.ndarray  # [B], scaled size of the last one
    rate: np.ndarray  # [B], size of the second Newton step over that of the first, per unit of h, when last seen
    failures: np.ndarray  # [B], steps refused since the last accepted one
    undefined: np.ndarray  # [B], whether one of them for a value that was not finite
    inside: np.ndarray  # [B], the last time seen inside the box, not only within the tolerance of it
    code: np.ndarray  # [B], one of the constants above
    stale: np.ndarray  # [B], whether the derivatives should be refreshed
    written: np.ndarray  # [B], output times passed
    output: np.ndarray  # [B, k, N]
    counts: np.ndarray  # [B, 3]: accepted, refused, evaluations


class Control(NamedTuple):
    """What stays fixed: tolerances, limits, output times (relative to the first) and the box of y, ∓inf for phases."""

    rtol: float
    atol: float
    newton_tol: float
    error_factor: float
    growth: float
    inner: int
    max_steps: int
    max_step: float
    t: np.ndarray
    low: np.ndarray
    high: np.ndarray


@kernel
def interpolate(points, c, barycentric, theta, value):
    """The polynomial through points[s + 1, N] at 0, c_1 … c_s, evaluated at theta into value[N]."""
    s = c.shape[0]
    value[:] = 0.0
    total = 0.0
    for k in range(s + 1):
        gap = theta - (c[k - 1] if k > 0 else 0.0)
        if gap == 0.0:
            value[:] = points[k]
            return
        weight = barycentric[k] / gap
        total += weight
        for i in range(value.shape[0]):
            value[i] += weight * points[k, i]
    for i in range(value.shape[0]):
        value[i] /= total


@kernel
def predict(state, r, tableau, offset, ratio):
    """Start the next attempt from the polynomial of the last one, at offset + c_j ratio in its own unit of time."""
    for j in range(tableau.nodes.shape[0]):
        interpolate(
            state.points[r], tableau.nodes, tableau.barycentric, offset + tableau.nodes[j] * ratio, state.nodes[r, j]
        )
    state.newton[r] = 0


@kernel
def keep_mass(values, mass, n):
    """Bring the sum of each x in values[s, N] to `mass`: it differs by rounding, which extrapolation magnifies."""
    for j in range(values.shape[0]):
        off = -mass
        for c in range(n):
            off += values[j, c]
        off /= n
        for c in range(n):
            values[j, c] -= off


@kernel
def retry(state, r, n, tableau, factor_, keep, most):
    """Repeat the step with a smaller h: predicted from the refused attempt if `keep`, else from the start value.

    After `most` refusals in a row the trajectory ends, or when the step falls below rounding.
    """
    state.counts[r, 1] += 1
    state.failures[r] += 1
    state.step[r] *= factor_
    if state.failures[r] > most or state.step[r] <= 1e-15 * state.time[r] or state.step[r] < 1e-290:
        state.code[r] = NOT_FINITE if state.undefined[r] else STEP_TOO_SMALL
    if keep:
        state.points[r, 0] = state.u[r]
        state.points[r, 1:] = state.nodes[r]
        predict(state, r, tableau, 0.0, factor_)
    else:
        for j in range(state.nodes.shape[1]):
            state.nodes[r, j] = state.u[r]
        state.newton[r] = 0


@kernel
def write_output(state, r, tableau, control, n):
    """Fill the output times of the accepted step; returns the part of it before y leaves the box, `NEVER` if it does
    not, and -1 if y was beyond the box all along."""
    s = tableau.nodes.shape[0]
    h, start = state.step[r], state.time[r]
    ends = np.zeros(s + 1)
    ends[1:] = tableau.nodes
    slow = state.points[r, :, n:]
    part, seen = leaving(slow, ends, tableau.barycentric, control.low, control.high, control.rtol, control.atol)
    reach = start + h
    if part != NEVER:
        reach = start + part * h if part >= 0.0 else state.inside[r]
    if seen >= 0.0:
        state.inside[r] = start + seen * h
    k = state.written[r]
    while k < control.t.shape[0] and control.t[k] <= reach * (1 + 4e-16):
        interpolate(state.points[r], tableau.nodes, tableau.barycentric, (control.t[k] - start) / h, state.output[r, k])
        k += 1
    if part != NEVER:
        while k > 1 and control.t[k - 1] > reach * (1 + 4e-16):
            k -= 1
            state.output[r, k] = np.nan
        state.inside[r] = reach
    state.written[r] = k
    return part


@kernel
def accept(state, r, A, tableau, control, error, tolerance_x):
    """Move trajectory r to the end of its step and predict the next one."""
    n = A.shape[1]
    s = tableau.nodes.shape[0]
    h = state.step[r]
    total, size = np.empty(n), np.empty(n)
    for j in range(s):
        if place(state.nodes[r, j, n:], control.low, control.high, control.rtol, control.atol) == 2:
            break  # the trajectory ends before this node
        if generator_defect(A[j], total, size):
            state.code[r] = NO_GENERATOR
            state.u[r] = state.nodes[r, j]
            return
    state.points[r, 0] = state.u[r]
    state.points[r, 1:] = state.nodes[r]
    part = write_output(state, r, tableau, control, n)
    mass = 0.0
    lowest = 0.0
    for c in range(n):
        mass += state.nodes[r, s - 1, c]
    for j in range(s):
        for c in range(n):
            lowest = min(lowest, state.nodes[r, j, c])
    for c in range(state.u.shape[1]):
        acc = 0.0
        for k in range(s):
            acc += tableau.a_inverse[s - 1, k] * (state.nodes[r, k, c] - state.u[r, c])
        state.slope[r, c] = acc / h
    state.u[r] = state.nodes[r, s - 1]
    state.time[r] += h
    state.counts[r, 0] += 1
    state.undefined[r] = False
    end = control.t[-1]
    left = end - state.time[r]
    if part != NEVER:
        state.code[r] = LEFT_DOMAIN
        state.time[r] = state.inside[r]
    elif abs(mass - 1.0) > 1e-9 or lowest < -10.0 * tolerance_x:
        state.code[r] = MASS_DRIFT
    elif state.written[r] >= control.t.shape[0] or left <= 0.0:
        state.code[r] = FINISHED
    elif state.counts[r, 0] >= control.max_steps:
        state.code[r] = MAX_STEPS
    if state.code[r] != RUNNING:
        return
    growth = min(control.growth, 0.9 * max(error, 1e-30) ** (-1.0 / (s + 1)))
    if state.failures[r] > 0 or state.newton[r] > 4:
        growth = min(growth, 1.0)
    state.failures[r] = 0
    new = min(h * growth, control.max_step)
    if new >= left:
        new = left
    elif 2.0 * new > left:
        new = 0.5 * left
    state.step[r] = new
    predict(state, r, tableau, 1.0, new / h)


@kernel
def advance(rows, A, g, state, tableau, control):
    """One Newton step for each trajectory in rows[R], with A[R, s, n, n] and g[R, s, m] at its nodes."""
    s, N = state.nodes.shape[1], state.nodes.shape[2]
    n = A.shape[-1]
    m = N - n
    R0, R, D, inc = np.empty((s, N)), np.empty((s, N)), np.empty((s, N)), np.empty((s, N))
    Bx = np.empty((s, m, n))
    wr, wi, scale = np.empty(N), np.empty(N), np.empty(N)
    a_inverse = tableau.a_inverse
    to_real, from_real = tableau.to_real, tableau.from_real
    to_complex, from_complex = tableau.to_complex, tableau.from_complex
    for q in range(rows.shape[0]):
        r = rows[q]
        u, U = state.u[r], state.nodes[r]
        inv_eps, inv_h = 1.0 / state.eps[r], 1.0 / state.step[r]
        state.counts[r, 2] += s
        for first, last in ((0, n), (n, N)):
            largest = 0.0
            for c in range(first, last):
                largest = max(largest, abs(u[c]))
            for c in range(first, last):
                scale[c] = 1.0 / (control.atol + control.rtol * largest)
        if not residual(A[q], g[q], U, u, inv_eps, inv_h, a_inverse, R0):
            state.undefined[r] = True
            retry(state, r, n, tableau, 0.1, False, 12)
            continue
        for j in range(s):
            for k in range(m):
                for i in range(n):
                    acc = 0.0
                    for c in range(n):
                        acc += state.dA[r, k, i, c] * U[j, c]
                    Bx[j, k, i] = acc * inv_eps
        LU, LR, LI = state.LU[r], state.LR[r], state.LI[r]
        if state.newton[r] == 0:
            factor(
                A[q, s // 2],
                Bx[s // 2],
                state.gx[r],
                state.gy[r],
                inv_eps,
                inv_h,
                tableau.real_eigenvalue,
                tableau.eigenvalues,
                LU,
                LR,
                LI,
            )
        D[:] = 0.0
        R[:] = R0
        previous = np.inf
        size = 0.0
        for inner in range(control.inner):
            added, size = add_correction(
                LU, LR, LI, R, to_real, from_real, to_complex, from_complex, scale, D, inc, wr, wi
            )
            if added <= max(0.3 * control.newton_tol, 0.01 * size) or added > 2.0 * previous:
                break
            previous = added
            if inner < control.inner - 1:
                linear_part(A[q], Bx, state.gx[r], state.gy[r], R0, D, inv_eps, inv_h, a_inverse, R)
        mass = 0.0
        for c in range(n):
            mass += u[c]
        for j in range(s):
            for c in range(N):
                U[j, c] += D[j, c]
        keep_mass(U, mass, n)
        if state.newton[r] > 0:
            rate = size / state.size[r]
        else:
            moved = 0.0
            for j in range(s):
                for c in range(n, N):
                    moved = max(moved, abs(D[j, c]) * scale[c])
            # a first step may be the last one when y has hardly moved: then only the memory of the rate is at stake
            rate = min(10.0 * state.rate[r] * state.step[r], 0.9) if moved <= 1.0 else np.inf
        state.newton[r] += 1
        if state.newton[r] == 2:
            state.rate[r] = rate * inv_h
        state.size[r] = size
        state.stale[r] = state.newton[r] >= 3
        if size <= control.newton_tol or (rate < 1.0 and size * rate <= control.newton_tol * (1.0 - rate)):
            wr[:] = state.slope[r]
            for k in range(s):
                weight = tableau.error_weights[k] * inv_h
                for c in range(N):
                    wr[c] += weight * (U[k, c] - u[c])
            solve_real(LU, wr)
            error = 0.0
            for c in range(N):
                error = max(error, abs(wr[c]) * scale[c])
            error *= control.error_factor
            if error <= 1.0:
                accept(state, r, A[q], tableau, control, error, 1.0 / scale[0])
            else:
                smaller = max(0.1, 0.9 * error ** (-1.0 / (s + 1)))
                retry(state, r, n, tableau, smaller, True, NO_LIMIT)
        elif (
            not np.isfinite(size)
            or state.newton[r] >= 8
            or (state.newton[r] > 2 and rate > 0.8)
            or (state.newton[r] > 1 and rate > 3.0)
        ):
            retry(state, r, n, tableau, 0.3, False, NO_LIMIT)


@kernel
def gather(rows, nodes, X, Y):
    """Copy the nodes of `rows` into X[R, s, n] and Y[R, s, m]."""
    n = X.shape[2]
    for q in range(rows.shape[0]):
        for j in range(nodes.shape[1]):
            for c in range(n):
                X[q, j, c] = nodes[rows[q], j, c]
            for c in range(Y.shape[2]):
                Y[q, j, c] = nodes[rows[q], j, n + c]
