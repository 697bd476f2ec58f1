"""The reduced field of a captured system, compiled: p_st by elimination, φ₁ by two solves with one factorisation.

With the likeliest state r left out, −A has an M-matrix for its remaining rows and columns, diagonally dominant by
columns: its LU factors need no pivoting (Golub & Van Loan, *Matrix Computations*, 4th ed., sec. 4.1). z = A^# v of a
v of sum zero is the solution of A z = v with z_r = 0, moved along p to the sum zero. Then

    φ₁ = −A^# A^# (DA[g]) p.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from theory.captured.call import call
from theory.compiled import kernel
from theory.flow import explicit_kernels as rk
from theory.flow.collocation.lu import factor_real, solve_real
from theory.flow.faces import hold
from theory.stationary.dense.kernels import SOLVED, eliminate, prepare, substitute, transpose_columns


class Code(NamedTuple):
    """Addresses of a captured system, and the box on which it is evaluated."""

    A: int
    g: int
    dA: int
    low: np.ndarray  # [m], −inf for a phase
    high: np.ndarray
    base: np.ndarray  # [m], where a phase begins
    period: np.ndarray  # [m], 0 for what is no phase


class Room(NamedTuple):
    """Memory for one evaluation."""

    u: np.ndarray  # [n + m], (x, y)
    A: np.ndarray  # [n, n]
    W: np.ndarray
    U: np.ndarray
    S: np.ndarray  # [n]
    exits: np.ndarray  # [n]
    p: np.ndarray  # [n]
    dA: np.ndarray  # [m, n, n]
    M: np.ndarray  # [n − 1, n − 1]
    v: np.ndarray  # [n − 1]
    g: np.ndarray  # [m]


def room(n: int, m: int) -> Room:
    """Memory for n states and m slow variables."""
    e = np.empty
    return Room(
        e(n + m),
        e((n, n)),
        e((n, n)),
        e((n, n)),
        np.ones(n),
        e(n),
        e(n),
        e((m, n, n)),
        e((n - 1, n - 1)),
        e(n - 1),
        e(m),
    )


@kernel
def sum_zero(v, p, root, M, rest):
    """Overwrite v[n], of sum zero, by A^# v; M from `factor` below, rest[n − 1] is room."""
    n = v.shape[0]
    for i in range(n - 1):
        rest[i] = -v[i + (i >= root)]
    solve_real(M, rest)
    total = 0.0
    for i in range(n - 1):
        total += rest[i]
    for i in range(n):
        z = 0.0 if i == root else rest[i - (i > root)]
        v[i] = z - total * p[i]


@kernel
def manifold(y, eps, tolerance, code, room, x):
    """x[n] = p_st(y), and with eps > 0 + ε φ₁(y), at y[m] held to its box; False where p_st is not that simple."""
    n, m = x.shape[0], y.shape[0]
    u, p = room.u, room.p
    u[n:] = y
    hold(u[n:], code.low, code.high, code.base, code.period)
    call(code.A, u.ctypes.data, room.A.ctypes.data, 1)  # pyright: ignore[reportCallIssue]
    status, root, watch = prepare(room.A, tolerance, room.W, room.exits)
    if status != SOLVED:
        return False
    transpose_columns(room.W, 0, n, room.U)
    if not (eliminate(room.W, room.U, room.S, 0, n, watch) and substitute(room.W, room.S, room.exits, root, p)):
        return False
    x[:] = p
    if eps <= 0.0 or n == 1:
        return True
    u[:n] = p
    call(code.g, u.ctypes.data, room.g.ctypes.data, 1)
    call(code.dA, u.ctypes.data, room.dA.ctypes.data, 1)
    total = 0.0
    for i in range(n):
        acc = 0.0
        for k in range(m):
            inner = 0.0
            for j in range(n):
                inner += room.dA[k, i, j] * p[j]
            acc -= room.g[k] * inner
        x[i] = acc
        total += acc
    for i in range(n):
        x[i] -= total * p[i]
    likeliest = 0
    for i in range(1, n):
        if p[i] > p[likeliest]:
            likeliest = i
    for j in range(n - 1):
        for i in range(n - 1):
            room.M[j, i] = -room.A[i + (i >= likeliest), j + (j >= likeliest)]
    factor_real(room.M)
    sum_zero(x, p, likeliest, room.M, room.v)
    sum_zero(x, p, likeliest, room.M, room.v)
    for i in range(n):
        x[i] = p[i] + eps * x[i]
    return True


@kernel
def field(y, eps, direction, tolerance, code, room, x, out):
    """out[m] = ± g(x, y) with x on the manifold; False as `manifold`."""
    if not manifold(y, eps, tolerance, code, room, x):
        return False
    n = x.shape[0]
    room.u[:n] = x
    call(code.g, room.u.ctypes.data, out.ctypes.data, 1)  # pyright: ignore[reportCallIssue]
    for k in range(out.shape[0]):
        out[k] *= direction
    return True


@kernel
def run(rows, state, tableau, control, code, room, eps, direction, tolerance, nodes, weights, budget):
    """Integrate the running trajectories, at most `budget` steps in all; returns how many are left of it."""
    n, m = room.p.shape[0], state.y.shape[1]
    S = tableau.a.shape[0]
    at, x, slope = np.empty(m), np.empty(n), np.empty(m)
    for q in range(rows.shape[0]):
        r = rows[q]
        while state.code[r] == rk.RUNNING and budget > 0:
            budget -= 1
            fine = True
            for i in range(1, tableau.stages):
                rk.stage_point(state, r, i, tableau.a, at)
                if i == tableau.stages - 1:
                    state.end[r] = at
                fine = fine and field(at, eps[r], direction, tolerance, code, room, x, slope)
                state.slopes[r, i] = slope
            state.counts[r, 2] += tableau.stages - 1
            if not fine:
                state.code[r] = rk.REFUSED
                break
            error = rk.judge(state, r, tableau, control)
            if not error <= 1.0:
                rk.retry(state, r, error, tableau.order)
                continue
            if rk.needs_dense(state, r, control):
                for i in range(tableau.stages, S):
                    rk.stage_point(state, r, i, tableau.a, at)
                    fine = fine and field(at, eps[r], direction, tolerance, code, room, x, slope)
                    state.slopes[r, i] = slope
                    state.counts[r, 2] += 1
                if not fine:
                    state.code[r] = rk.REFUSED
                    break
            rk.interpolation(state, r, tableau)
            rk.accept(state, r, tableau, control, error, nodes, weights)
    return budget


@kernel
def manifolds(y, eps, tolerance, code, room, x):
    """x[B, k, n] on the manifold at y[B, k, m], NaN where y is; False where one of them is not that simple."""
    for r in range(y.shape[0]):
        for k in range(y.shape[1]):
            if np.isfinite(y[r, k]).all():
                if not manifold(y[r, k], eps[r], tolerance, code, room, x[r, k]):
                    return False
            else:
                x[r, k] = np.nan
    return True
