"""The elimination in fronts on numbers m 2^e that carry an exponent of their own: no rate and no p_j is out of range.

What leaves the range of float64 in an ordinary chain is not its rates but what elimination makes of them: p spans
10^800 on 500 states whose rates differ by a factor of 40, and so do the rates that censoring leaves between states far
apart. `theory.stationary.sparse.multifrontal` says when that happened; then, and only then, the work is done here,
some ten times slower and with no limit on the size.

A mantissa is brought to [1/2, 1) when its row or column becomes a pivot's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np

from theory.compiled import fused
from theory.stationary.sparse.elimination_tree import Fronts
from theory.stationary.sparse.extended_numbers import POWERS, Numbers, normal, plus


class ExtendedFactors(NamedTuple):
    """What elimination leaves: the exit rates s[n] in the order of the plan, rows U, and shares L if they were kept.

    Row k of U holds A_kj, and column k of L holds A_ik / s_k, over the states behind k in k's front.
    """

    plan: Fronts
    s: Numbers
    U: Numbers
    L: Numbers


def eliminate_extended(columns: Any, rows: Any, plan: Fronts, *, keep: bool) -> ExtendedFactors:
    """Eliminates all but the last state of the plan; off-diagonal rates `columns` (csc) = `rows` (csr) >= 0."""
    n = len(plan.order)
    s = Numbers(np.zeros(n), np.zeros(n, np.int64))
    found = _eliminate(
        (columns.indptr, columns.indices, columns.data),
        (rows.indptr, rows.indices, rows.data),
        tuple(plan),
        s.mantissa,
        s.exponent,
        keep,
        POWERS,
    )
    return ExtendedFactors(plan, s, Numbers(*found[:2]), Numbers(*found[2:]))


@fused
@no_type_check
def _eliminate(columns, rows, plan, s_m, s_e, keep, powers):
    order, position, first, start, states, parent, stack_size, _, entries = plan
    fronts, n = len(parent), len(order)
    stack_m, stack_e = np.empty(stack_size), np.empty(stack_size, np.int32)
    U_m, U_e = np.empty(entries), np.empty(entries, np.int32)
    kept = entries if keep else 0
    L_m, L_e = np.empty(kept), np.empty(kept, np.int32)
    local = np.empty(n, np.int32)
    remainder = np.empty(fronts, np.int64)
    child, sibling = np.full(fronts, -1, np.int32), np.full(fronts, -1, np.int32)
    top = head = 0
    for s in range(fronts):
        front = states[start[s] : start[s + 1]]
        m, pivots = len(front), first[s + 1] - first[s]
        for a in range(m):
            local[front[a]] = a
        F = stack_m[top : top + m * m].reshape((m, m))
        E = stack_e[top : top + m * m].reshape((m, m))
        F[:] = 0.0
        E[:] = 0
        _assemble(columns, rows, order, position, first[s], first[s + 1], local, F, E)
        base = top
        c = child[s]
        while c != -1:
            base = min(base, remainder[c])
            behind = states[start[c] + first[c + 1] - first[c] : start[c + 1]]
            r, at = len(behind), remainder[c]
            for a in range(r):
                i = local[behind[a]]
                for b in range(r):
                    j = local[behind[b]]
                    F[i, j], E[i, j] = plus(F[i, j], E[i, j], stack_m[at], stack_e[at], powers)
                    at += 1
            c = sibling[c]
        _state_by_state(F, E, pivots, s_m[first[s] : first[s + 1]], s_e[first[s] : first[s + 1]], powers)
        for a in range(pivots):
            for b in range(a + 1, m):
                U_m[head], U_e[head] = F[a, b], E[a, b]
                if keep:
                    L_m[head], L_e[head] = F[b, a], E[b, a]
                head += 1
        r = m - pivots
        for a in range(r):
            for b in range(r):
                stack_m[base + a * r + b] = F[pivots + a, pivots + b]
                stack_e[base + a * r + b] = E[pivots + a, pivots + b]
        remainder[s] = base
        top = base + r * r
        if parent[s] != -1:
            sibling[s] = child[parent[s]]
            child[parent[s]] = s
    return U_m, U_e, L_m, L_e


@fused
@no_type_check
def _assemble(columns, rows, order, position, begin, end, local, F, E):
    col_ptr, col_index, col_rate = columns
    row_ptr, row_index, row_rate = rows
    for k in range(begin, end):
        v, a = order[k], k - begin
        for e in range(col_ptr[v], col_ptr[v + 1]):
            i = position[col_index[e]]
            if i >= begin:
                F[local[i], a], E[local[i], a] = math.frexp(col_rate[e])
        for e in range(row_ptr[v], row_ptr[v + 1]):
            j = position[row_index[e]]
            if j >= end:
                F[a, local[j]], E[a, local[j]] = math.frexp(row_rate[e])


@fused
@no_type_check
def _state_by_state(F, E, pivots, s_m, s_e, powers):
    """The shares A_ik / s_k are left in column k, the rates A_kj in row k."""
    m = len(F)
    for k in range(pivots):
        s, t = 0.0, np.int64(0)
        for i in range(k + 1, m):
            F[i, k], E[i, k] = normal(F[i, k], E[i, k])
            F[k, i], E[k, i] = normal(F[k, i], E[k, i])
            s, t = plus(s, t, F[i, k], np.int64(E[i, k]), powers)
        s, t = normal(s, t)
        s_m[k], s_e[k] = s, t
        for i in range(k + 1, m):
            if F[i, k] > 0.0:
                a, f = F[i, k] / s, E[i, k] - t
                F[i, k], E[i, k] = a, f
                for j in range(k + 1, m):
                    if F[k, j] > 0.0:
                        F[i, j], E[i, j] = plus(F[i, j], E[i, j], a * F[k, j], f + E[k, j], powers)
