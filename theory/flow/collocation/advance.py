"""The step control of the collocation method, compiled: each running trajectory keeps its own time, step and iteration.

One call takes A and g at the current nodes of every running trajectory and moves each of them on by one Newton step;
where that converges the step is judged, accepted or repeated, and the nodes of the next one are predicted. So every
evaluation of A and g serves the whole batch, whatever phase each trajectory is in. A captured system is evaluated here
instead, without leaving machine code: one trajectory after the other, each to its end.

The parts of the kernel take plain arrays, those of one trajectory: a tuple of many arrays as an argument costs seconds
of compilation in each of them. The numbers of a trajectory stand in real[6] and whole[9], named below.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from theory.captured.call import call
from theory.compiled import inner, kernel
from theory.flow.collocation.lu import solve_real
from theory.flow.collocation.newton import add_correction, factor, generator_defect, linear_part, residual
from theory.flow.faces import LONGEST, NEVER, departure, doubtful, hold, left_after_all, place, polynomial, withdraw

RUNNING, FINISHED, MAX_STEPS, NOT_FINITE, STEP_TOO_SMALL, LEFT_DOMAIN, MASS_DRIFT, NO_GENERATOR = range(8)
NO_LIMIT = 2**62

# real: ε; time and step; the scaled size of the last Newton step; the size of the second Newton step over that of the
# first, per unit of h, when last seen; the last time seen inside the box, not only within the tolerance of it
EPS, TIME, STEP, SIZE, RATE, INSIDE = range(6)
# whole: how it stands (above); Newton steps taken on this step; steps refused since the last accepted one; whether one
# of them for a value that was not finite; whether the derivatives should be refreshed; output times passed; counts
CODE, NEWTON, FAILURES, UNDEFINED, STALE, WRITTEN, ACCEPTED, REFUSED, EVALUATED = range(9)


class State(NamedTuple):
    """Everything that changes: one row per trajectory; N = n + m, times relative to t[0]."""

    real: np.ndarray  # [B, 6]
    whole: np.ndarray  # [B, 9]
    u: np.ndarray  # [B, N], (x, y) at the start of the step
    slope: np.ndarray  # [B, N], du/dt there
    nodes: np.ndarray  # [B, s, N], the current iterate
    points: np.ndarray  # [B, s + 1, N], the polynomial that predicts
    dA: np.ndarray  # [B, m, n, n]
    dg: np.ndarray  # [B, m, N], (∂_x g, ∂_y g)
    LU: np.ndarray  # [B, N, N]
    LZ: np.ndarray  # [B, r, 2, N, N], real and imaginary parts
    output: np.ndarray  # [B, k, N]
    doubt: np.ndarray  # [B, 3], of `theory.flow.faces`


class Room(NamedTuple):
    """Memory for one Newton step."""

    U: np.ndarray  # [s, N]
    R0: np.ndarray  # [s, N]
    R: np.ndarray  # [s, N]
    D: np.ndarray  # [s, N]
    inc: np.ndarray  # [s, N]
    Bx: np.ndarray  # [s, m, n]
    w: np.ndarray  # [2, N]
    scale: np.ndarray  # [N], one over the tolerance
    faces: np.ndarray  # [4, m]


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
    pause: bool  # after every accepted step
    t: np.ndarray
    low: np.ndarray
    high: np.ndarray


def room(s: int, n: int, m: int) -> Room:
    """Memory for steps with s nodes."""
    e, N = np.empty, n + m
    nodes = (s, N)
    return Room(e(nodes), e(nodes), e(nodes), e(nodes), e(nodes), e((s, m, n)), e((2, N)), e(N), e((4, m)))


@inner
def predict(whole, nodes, points, ends, barycentric, offset, ratio):
    """Start the next attempt from the polynomial of the last one, at offset + c_j ratio in its own unit of time."""
    for j in range(nodes.shape[0]):
        polynomial(points, 0, ends, barycentric, offset + ends[j + 1] * ratio, nodes[j])
    whole[NEWTON] = 0


@inner
def keep_polynomial(u, nodes, points):
    """points from the start of the step and the nodes."""
    for c in range(u.shape[0]):
        points[0, c] = u[c]
        for j in range(nodes.shape[0]):
            points[j + 1, c] = nodes[j, c]


@inner
def keep_mass(values, mass, n):
    """Bring the sum of each x in values[s, N] to `mass`: it differs by rounding, which extrapolation magnifies."""
    for j in range(values.shape[0]):
        off = -mass
        for c in range(n):
            off += values[j, c]
        off /= n
        for c in range(n):
            values[j, c] -= off


@inner
def retry(real, whole, u, nodes, points, ends, barycentric, factor_, keep, most):
    """Repeat the step with a smaller h: predicted from the refused attempt if `keep`, else from the start value.

    After `most` refusals in a row the trajectory ends, or when the step falls below rounding.
    """
    whole[REFUSED] += 1
    whole[FAILURES] += 1
    real[STEP] *= factor_
    if whole[FAILURES] > most or real[STEP] <= 1e-15 * real[TIME] or real[STEP] < 1e-290:
        whole[CODE] = NOT_FINITE if whole[UNDEFINED] else STEP_TOO_SMALL
    if keep:
        keep_polynomial(u, nodes, points)
        predict(whole, nodes, points, ends, barycentric, 0.0, factor_)
        return
    for j in range(nodes.shape[0]):
        for c in range(u.shape[0]):
            nodes[j, c] = u[c]
    whole[NEWTON] = 0


@inner
def write_output(real, whole, points, output, t, ends, barycentric, part, seen):
    """Fill the output times of the accepted step, of which y is in the box up to `part` (as `departure` has it)."""
    h, start = real[STEP], real[TIME]
    reach = start + h
    if part != NEVER:
        reach = start + part * h if part >= 0.0 else real[INSIDE]
    if seen >= 0.0:
        real[INSIDE] = start + seen * h
    k = whole[WRITTEN]
    while k < t.shape[0] and t[k] <= reach * (1 + 4e-16):
        polynomial(points, 0, ends, barycentric, (t[k] - start) / h, output[k])
        k += 1
    whole[WRITTEN] = k
    if part != NEVER:
        real[INSIDE] = reach
        whole[WRITTEN] = withdraw(output, t, whole[WRITTEN], real[INSIDE])


@inner
def sound(u, nodes, A, low, high, rtol, atol, w):
    """Whether A is a generator at the nodes, up to where y leaves the box; u is the node where it is not. w[2, N] is
    room."""
    n = A.shape[1]
    for j in range(A.shape[0]):
        if place(nodes[j, n:], low, high, rtol, atol) == 2:
            return True  # the trajectory ends before this node
        if generator_defect(A[j], w[0], w[1]):
            for c in range(u.shape[0]):
                u[c] = nodes[j, c]
            return False
    return True


@inner
def arrive(u, slope, nodes, a_inverse, h, n):
    """Move u and the slope to the end of the step; returns the mass there and the lowest x on the way."""
    s = nodes.shape[0]
    mass = 0.0
    lowest = 0.0
    for c in range(n):
        mass += nodes[s - 1, c]
    for j in range(s):
        for c in range(n):
            lowest = min(lowest, nodes[j, c])
    for c in range(u.shape[0]):
        acc = 0.0
        for k in range(s):
            acc += a_inverse[s - 1, k] * (nodes[k, c] - u[c])
        slope[c] = acc / h
    for c in range(u.shape[0]):
        u[c] = nodes[s - 1, c]
    return mass, lowest


@inner
def ending(real, whole, part, drifted, control):
    """How the trajectory stands after an accepted step."""
    if part != NEVER:
        real[TIME] = real[INSIDE]
        return LEFT_DOMAIN
    if drifted:
        return MASS_DRIFT
    if whole[WRITTEN] >= control.t.shape[0] or control.t[-1] <= real[TIME]:
        return FINISHED
    return MAX_STEPS if whole[ACCEPTED] >= control.max_steps else RUNNING


@inner
def longer(real, whole, s, error, control, longest):
    """The next step over the last one, by the error of that; none is left over that is shorter than half of it."""
    h, left = real[STEP], control.t[-1] - real[TIME]
    growth = min(control.growth, 0.9 * max(error, 1e-30) ** (-1.0 / (s + 1)))
    if whole[FAILURES] > 0 or whole[NEWTON] > 4:
        growth = min(growth, 1.0)
    whole[FAILURES] = 0
    new = min(min(h * growth, control.max_step), longest)
    if new >= left:
        new = left
    elif 2.0 * new > left:
        new = 0.5 * left
    real[STEP] = new
    return new / h


@inner
def judge(u, slope, nodes, LU, error_weights, inv_h, scale, estimate):
    """The error of the step in parts of the tolerance, as the estimate has it."""
    N = u.shape[0]
    for c in range(N):
        estimate[c] = slope[c]
    for k in range(nodes.shape[0]):
        weight = error_weights[k] * inv_h
        for c in range(N):
            estimate[c] += weight * (nodes[k, c] - u[c])
    solve_real(LU, estimate)
    error = 0.0
    for c in range(N):
        error = max(error, abs(estimate[c]) * scale[c])
    return error


@inner
def between(u, nodes, last, scale):
    """The error of the polynomial between the nodes in parts of the tolerance: its next Chebyshev coefficient, were the
    last three to go on as they fall. Two of them, so that one that vanishes by chance hides nothing.
    """
    sizes = (0.0, 0.0, 0.0)
    for c in range(u.shape[0]):
        a, b, d = 0.0, 0.0, 0.0
        for k in range(nodes.shape[0]):
            moved = nodes[k, c] - u[c]
            a += last[0, k + 1] * moved
            b += last[1, k + 1] * moved
            d += last[2, k + 1] * moved
        sizes = (
            max(sizes[0], abs(a) * scale[c]),
            max(sizes[1], abs(b) * scale[c]),
            max(sizes[2], abs(d) * scale[c]),
        )
    fall = min(1.0, max(sizes[0] / max(sizes[1], 1e-300), sizes[1] / max(sizes[2], 1e-300)))
    return max(fall * sizes[0], fall * fall * sizes[1])


@inner
def coupling(dA, nodes, inv_eps, Bx):
    """Bx[s, m, n] = ∂_y(A x)/ε at the nodes."""
    m, n = dA.shape[0], dA.shape[1]
    for j in range(nodes.shape[0]):
        for k in range(m):
            for i in range(n):
                acc = 0.0
                for c in range(n):
                    acc += dA[k, i, c] * nodes[j, c]
                Bx[j, k, i] = acc * inv_eps


@inner
def correct(u, nodes, A, dg, LU, LZ, inv_eps, inv_h, tableau, newton_tol, most, room):
    """One Newton step on the nodes, from the residual in room.R0; returns its scaled size."""
    s, N = nodes.shape
    for j in range(s):
        for c in range(N):
            room.D[j, c] = 0.0
            room.R[j, c] = room.R0[j, c]
    previous = np.inf
    size = 0.0
    for again in range(most):
        if again > 0:
            linear_part(A, room.Bx, dg, room.R0, room.D, inv_eps, inv_h, tableau.a_inverse, room.R)
        added, size = add_correction(LU, LZ, room.R, tableau, room.scale, room.D, room.inc, room.w)
        if added <= max(0.3 * newton_tol, 0.01 * size) or added > 2.0 * previous:
            break
        previous = added
    mass = 0.0
    n = A.shape[1]
    for c in range(n):
        mass += u[c]
    for j in range(s):
        for c in range(N):
            nodes[j, c] += room.D[j, c]
    keep_mass(nodes, mass, n)
    return size


@inner
def contraction(real, whole, n, size, D, scale):
    """By how much the sizes of Newton steps shrink, as far as it is known after this one, of increments D[s, N]."""
    whole[NEWTON] += 1
    if whole[NEWTON] > 1:
        rate = size / real[SIZE]
    else:
        moved = 0.0
        for j in range(D.shape[0]):
            for c in range(n, D.shape[1]):
                moved = max(moved, abs(D[j, c]) * scale[c])
        # a first step may be the last one when y has hardly moved: then only the memory of the rate is at stake
        rate = min(10.0 * real[RATE] * real[STEP], 0.9) if moved <= 1.0 else np.inf
    if whole[NEWTON] == 2:
        real[RATE] = rate / real[STEP]
    real[SIZE] = size
    whole[STALE] = whole[NEWTON] >= 3
    return rate


@inner
def set_scale(u, n, rtol, atol, scale):
    """scale[N]: one over atol + rtol times the largest of x, and of y."""
    for first, last in ((0, n), (n, u.shape[0])):
        largest = 0.0
        for c in range(first, last):
            largest = max(largest, abs(u[c]))
        for c in range(first, last):
            scale[c] = 1.0 / (atol + rtol * largest)


@kernel
def advance(rows, A, g, state, tableau, control, room, addresses, where, box, every, budget):
    """One Newton step for each trajectory in rows[R], with A[R, s, n, n] and g[R, s, m] at its nodes.

    With the addresses of a captured system's A, g, dA, dg (else zeros) each trajectory goes on to its end instead,
    A[1, …] and g[1, …] being room, and its derivatives are taken anew after `every` Newton steps. At most `budget`
    Newton steps in all. where: the addresses of room.U, A, g, state.dA, state.dg; box: low, high, base, period.
    """
    s, n, m = A.shape[1], A.shape[2], g.shape[2]
    N = n + m
    rtol, atol, low, high = control.rtol, control.atol, control.low, control.high
    ends, barycentric = tableau.ends, tableau.barycentric
    scale, w = room.scale, room.w
    alone = addresses[0] != 0
    for q in range(rows.shape[0]):
        r = rows[q]
        real, whole, u, slope = state.real[r], state.whole[r], state.u[r], state.slope[r]
        nodes, points, dA, dg, LU, LZ = (
            state.nodes[r],
            state.points[r],
            state.dA[r],
            state.dg[r],
            state.LU[r],
            state.LZ[r],
        )
        row = 0 if alone else q
        rates, drift = A[row], g[row]
        calls = 0
        accepted = whole[ACCEPTED]
        while whole[CODE] == RUNNING and budget > 0:
            budget -= 1
            if alone:
                for j in range(s):
                    for c in range(N):
                        room.U[j, c] = nodes[j, c]
                    hold(room.U[j, n:], box.low, box.high, box.base, box.period)
                call(addresses[0], where[0], where[1], s)
                call(addresses[1], where[0], where[2], s)
            whole[EVALUATED] += s
            inv_eps, inv_h = 1.0 / real[EPS], 1.0 / real[STEP]
            set_scale(u, n, rtol, atol, scale)
            shrink, keep, most = 0.0, False, NO_LIMIT
            if not residual(rates, drift, nodes, u, inv_eps, inv_h, tableau.a_inverse, room.R0):
                whole[UNDEFINED] = 1
                shrink, most = 0.1, 12
            else:
                coupling(dA, nodes, inv_eps, room.Bx)
                if whole[NEWTON] == 0:
                    mu, pairs = tableau.real_eigenvalue, tableau.eigenvalues
                    factor(rates[s // 2], room.Bx[s // 2], dg, inv_eps, inv_h, mu, pairs, LU, LZ)
                tol = control.newton_tol
                size = correct(u, nodes, rates, dg, LU, LZ, inv_eps, inv_h, tableau, tol, control.inner, room)
                rate = contraction(real, whole, n, size, room.D, scale)
                newton = whole[NEWTON]
                if size <= tol or (rate < 1.0 and size * rate <= tol * (1.0 - rate)):
                    error = judge(u, slope, nodes, LU, tableau.error_weights, inv_h, scale, w[0]) * control.error_factor
                    if error <= 1.0:  # not where it is NaN, which a compiled max drops
                        error = max(error, between(u, nodes, tableau.last, scale))
                    if not error <= 1.0:
                        shrink, keep = max(0.1, 0.9 * error ** (-1.0 / (s + 1))), True
                    elif not sound(u, nodes, rates, low, high, rtol, atol, w):
                        whole[CODE] = NO_GENERATOR
                    else:
                        keep_polynomial(u, nodes, points)
                        part, seen = departure(points, n, ends, barycentric, low, high, rtol, atol, room.faces)
                        if doubtful(state.doubt[r], part, real[TIME], real[STEP]):
                            shrink, keep = 0.5, False  # not from a polynomial that swings
                        else:
                            output = state.output[r]
                            write_output(real, whole, points, output, control.t, ends, barycentric, part, seen)
                            mass, lowest = arrive(u, slope, nodes, tableau.a_inverse, real[STEP], n)
                            drifted = abs(mass - 1.0) > 1e-9 or lowest < -10.0 / scale[0]
                            real[TIME] += real[STEP]
                            whole[ACCEPTED] += 1
                            whole[UNDEFINED] = 0
                            whole[CODE] = ending(real, whole, part, drifted, control)
                            if whole[CODE] == RUNNING:
                                ratio = longer(real, whole, s, error, control, state.doubt[r, LONGEST])
                                predict(whole, nodes, points, ends, barycentric, 1.0, ratio)
                elif not np.isfinite(size) or newton >= 8 or (newton > 2 and rate > 0.8) or (newton > 1 and rate > 3.0):
                    shrink = 0.3
            if shrink > 0.0:
                retry(real, whole, u, nodes, points, ends, barycentric, shrink, keep, most)
                if whole[CODE] != RUNNING and left_after_all(state.doubt[r], real[INSIDE], real[TIME]):
                    whole[CODE] = LEFT_DOMAIN
                    real[TIME] = real[INSIDE]
                    whole[WRITTEN] = withdraw(state.output[r], control.t, whole[WRITTEN], real[INSIDE])
            if not alone or (control.pause and whole[ACCEPTED] > accepted):
                break
            calls += 1
            if calls >= every and whole[STALE]:
                calls = 0
                for c in range(N):
                    room.U[0, c] = u[c]
                hold(room.U[0, n:], box.low, box.high, box.base, box.period)
                call(addresses[2], where[0], where[3] + 8 * r * m * n * n, 1)
                call(addresses[3], where[0], where[4] + 8 * r * m * N, 1)
