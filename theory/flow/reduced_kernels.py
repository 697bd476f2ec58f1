"""The reduced flow of a captured system as one kernel: p_st by elimination, φ₁ from the factors of the elimination.

The elimination of I − W (`theory.stationary.dense.gth`) leaves I − W = (I − U) diag(S) (I − L), U_ik = W_ik / S_k for
i < k and L_kj = W_kj / S_k for j < k, with W the jump chain left when state k was taken out, S_0 = 0. As
A = (W − I) diag(s), s the exit rates, a solution of A z = v, v of sum zero, costs two substitutions. It is zero at the
state that is left at the end, from which rounding grows like the ratio of probabilities: a likely state must be the
last one, and an elimination that ended at an unlikely one is done again. Moved along p to the sum zero it is A^# v, and

    φ₁ = −A^# A^# (DA[g]) p.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from theory.captured.call import call
from theory.compiled import inner, kernel
from theory.flow import explicit_kernels as rk
from theory.flow.faces import hold
from theory.stationary.dense.kernels import SOLVED, eliminate, prepare, substitute, transpose_columns

_LIKELY = 0.25  # of the largest probability
_SENSELESS = 1e4  # of ‖ε φ₁‖₁: no probability vector is near, and whether φ₁ has digits is for torch to judge


class Room(NamedTuple):
    """Memory for one evaluation, and where everything lies."""

    u: np.ndarray  # [n + m], (x, y)
    A: np.ndarray  # [n, n]
    W: np.ndarray  # [2, n, n]: W and U of the elimination
    v: np.ndarray  # [6, n]: S, exit rates, p, x on the manifold, two of work
    dA: np.ndarray  # [m, n, n]
    g: np.ndarray  # [m]
    at: np.ndarray  # [m]
    where: np.ndarray  # addresses of the captured A, g, dA and of u, A, g, dA above
    likely: np.ndarray  # [1], a likely state: the last one to be eliminated


class Flow(NamedTuple):
    """What stays fixed along the trajectories, beside `rk.Control`."""

    eps: np.ndarray  # [B], 0 at order 0
    direction: float
    tolerance: float  # of column sums
    width: np.ndarray  # [m]
    fraction: float  # of the box that the first step may cross
    first_step: float  # 0: by that fraction
    nodes: np.ndarray  # for the faces
    weights: np.ndarray


def room(n: int, m: int, addresses: tuple[int, int, int]) -> Room:
    """Memory for n states and m slow variables; the addresses are those of A, g and dA."""
    e = np.empty
    u, A, dA, g, v = e(n + m), e((n, n)), e((m, n, n)), e(m), e((6, n))
    v[0] = 1.0
    where = np.array([*addresses, *(one.ctypes.data for one in (u, A, g, dA))], np.int64)
    return Room(u, A, e((2, n, n)), v, dA, g, e(m), where, np.zeros(1, np.int64))


@inner
def exchange(W, root):
    """States 0 and root change places."""
    n = W.shape[0]
    for j in range(n):
        W[0, j], W[root, j] = W[root, j], W[0, j]
    for i in range(n):
        W[i, 0], W[i, root] = W[i, root], W[i, 0]


@inner
def sum_zero(v, p, root, W, U, S, exits):
    """Overwrite v[n], of sum zero, by A^# v."""
    n = v.shape[0]
    v[0], v[root] = v[root], v[0]
    for k in range(n - 1, 0, -1):
        out = v[k]
        for i in range(k):
            v[i] += U[k, i] * out
    v[0] = 0.0
    for k in range(1, n):
        total = v[k]
        for j in range(k):
            total += W[k, j] * v[j]
        v[k] = total / S[k]
    v[0], v[root] = v[root], v[0]
    total = 0.0
    for i in range(n):
        v[i] = -v[i] / exits[i] if exits[i] > 0 else 0.0
        total += v[i]
    for i in range(n):
        v[i] -= total * p[i]


@inner
def drift_of_p(dA, g, p, v):
    """v[n] = −(DA[g]) p, brought to the sum zero."""
    n = p.shape[0]
    total = 0.0
    for i in range(n):
        acc = 0.0
        for k in range(g.shape[0]):
            moved = 0.0
            for j in range(n):
                moved += dA[k, i, j] * p[j]
            acc -= g[k] * moved
        v[i] = acc
        total += acc
    for i in range(n):
        v[i] -= total * p[i]


@inner
def manifold(eps, tolerance, box, room):
    """x = room.v[3] = p_st(y), with eps > 0 + ε φ₁(y), at y = room.at[m] held to its box; False where p_st is not that
    simple, or φ₁ beyond sense. x, y are then in room.u."""
    n, m = room.v.shape[1], room.at.shape[0]
    u, W, U, where = room.u, room.W[0], room.W[1], room.where
    S, exits, p, x = room.v[0], room.v[1], room.v[2], room.v[3]
    for k in range(m):
        u[n + k] = room.at[k]
    hold(u[n:], box.low, box.high, box.base, box.period)
    call(where[0], where[3], where[4], 1)
    root, settled = 0, False
    for _ in range(3):
        status, root, watch = prepare(room.A, tolerance, W, exits, room.v[4:])
        if status != SOLVED:
            return False
        reached, likely = root, room.likely[0]
        if eps > 0.0 and likely != root:
            exchange(W, root)
            exchange(W, likely)
            root = likely
        transpose_columns(W, 0, n, U)
        if not (eliminate(W, U, S, 0, n, watch) and substitute(W, S, exits, root, p, room.v[4:])):
            if root == reached:
                return False
            room.likely[0] = reached  # the likely state of another y need not be reached from all states here
            continue
        likely = root
        for i in range(n):
            if p[i] > p[likely]:
                likely = i
        settled = eps == 0.0 or p[root] >= _LIKELY * p[likely]
        if settled:
            break
        room.likely[0] = likely
    if not settled:
        return False
    for i in range(n):
        x[i] = u[i] = p[i]
    if eps > 0.0 and n > 1:
        call(where[1], where[3], where[5], 1)
        call(where[2], where[3], where[6], 1)
        drift_of_p(room.dA, room.g, p, x)
        for _ in range(2):
            sum_zero(x, p, root, W, U, S, exits)
        size = 0.0
        for i in range(n):
            size += abs(x[i])
            u[i] = x[i] = p[i] + eps * x[i]
        if not eps * size < _SENSELESS:
            return False
    return True


@kernel
def run(rows, state, tableau, control, box, room, flow, x, budget):
    """Integrate the running trajectories, at most `budget` steps in all.

    At order 1 also x[B, k, n], on the manifold at the outputs of those that end; NaN where y is. A trajectory ends as
    REFUSED where p_st is beyond the plain elimination. box: low, high, base, period of y, ∓inf for a phase.
    """
    m = state.y.shape[1]
    points, faces = np.empty((flow.nodes.shape[0], m)), np.empty((4, m))
    order, stages, rtol, atol = tableau.order, tableau.stages, control.rtol, control.atol
    for q in range(rows.shape[0]):
        r = rows[q]
        eps = flow.eps[r]
        real, whole, y, slopes = state.real[r], state.whole[r], state.y[r], state.slopes[r]
        end, F, output, doubt = state.end[r], state.dense[r], state.output[r], state.doubt[r]
        fine = True
        while fine and whole[rk.CODE] == rk.RUNNING and budget > 0:
            budget -= 1
            first, last, error = (0 if whole[rk.EVALUATED] == 0 else 1), stages, 0.0
            while first < last and fine:
                for i in range(first, last):
                    rk.stage_point(y, slopes, real[rk.STEP], i, tableau.a, room.at)
                    if i == stages - 1:
                        for k in range(m):
                            end[k] = room.at[k]
                    fine = manifold(eps, flow.tolerance, box, room)
                    if not fine:
                        break
                    call(room.where[1], room.where[3], room.where[5], 1)
                    whole[rk.EVALUATED] += 1
                    fastest = 1e-300
                    for k in range(m):
                        slopes[i, k] = flow.direction * room.g[k]
                        fastest = max(fastest, abs(slopes[i, k]) / flow.width[k])
                    if i == 0:
                        step = flow.first_step if flow.first_step > 0.0 else flow.fraction / fastest
                        real[rk.STEP] = min(min(control.max_step, control.t[-1]), step)
                first = last
                if last == stages and fine:
                    h = real[rk.STEP]
                    error = rk.judge(y, end, slopes, h, tableau.error, stages, rtol, atol)
                    passes = control.t[min(whole[rk.WRITTEN], control.t.shape[0] - 1)] < real[rk.TIME] + h
                    if error <= 1.0 and (passes or rk.near_face(y, slopes, h, control.low, control.high)):
                        last = tableau.a.shape[0]
            if not fine:
                break
            if not error <= 1.0:
                rk.retry(real, whole, error, order, doubt, output, control.t)
                continue
            rk.interpolation(y, end, slopes, real[rk.STEP], order, tableau.dense, F)
            found = (y, slopes, end, F, output, doubt)
            rk.accept(real, whole, *found, tableau, control, error, flow.nodes, flow.weights, points, faces)
        if whole[rk.CODE] != rk.RUNNING and eps > 0.0:
            for k in range(x.shape[1]):
                reached = True
                for c in range(m):
                    room.at[c] = output[k, c]
                    reached = reached and np.isfinite(room.at[c])
                if fine and reached:
                    fine = manifold(eps, flow.tolerance, box, room)
                for c in range(x.shape[2]):
                    x[r, k, c] = room.v[3, c] if reached else np.nan
        if not fine:
            whole[rk.CODE] = rk.REFUSED
