"""The elimination in fronts on numbers m 2^e that carry an exponent of their own: no rate and no p_j is out of range.

What leaves the range of float64 in an ordinary chain is not its rates but what elimination makes of them: p spans
10^800 on 500 states whose rates differ by a factor of 40, and so do the rates that censoring leaves between states far
apart. `theory.stationary.sparse.multifrontal` says when that happened; then, and only then, the work is done here,
some ten times slower and with no limit on the size.

A mantissa is brought to [1/2, 1) when its row or column becomes a pivot's. In between, a sum keeps the larger exponent
of its terms, so a mantissa stays within [1/4, number of terms]: nothing needs normalising in the innermost loop. A
term 2^-130 of the other is left out.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np

from theory.compiled import fused
from theory.stationary.sparse.elimination_tree import Fronts

NEGLIGIBLE = 130
_POWERS = 0.5 ** np.arange(NEGLIGIBLE + 1.0)


class Numbers(NamedTuple):
    """mantissa · 2^exponent, entry by entry; zero has the mantissa 0."""

    mantissa: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Numbers:
        """The float64 numbers `values`."""
        mantissa, exponent = np.frexp(values)
        return cls(mantissa, exponent.astype(np.int64))

    def rounded(self) -> np.ndarray:
        """As float64: 0 below its range, inf above."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.mantissa, np.clip(self.exponent, -2000, 2000).astype(np.int32))


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
        _POWERS,
    )
    return ExtendedFactors(plan, s, Numbers(*found[:2]), Numbers(*found[2:]))


def visits(factors: ExtendedFactors, start: Numbers, last: float) -> Numbers:
    """y[n, r] with y_k = (b_k + Σ_j A_kj y_j)/s_k in the original numbering, y of the last state given.

    b is `start`[n, r] >= 0 and what of it arrives through the states eliminated before. L is read where b is not zero.
    """
    plan = factors.plan
    order = plan.order
    b, e = start.mantissa[order].copy(), start.exponent[order].copy()
    _visits(plan.first, plan.start, plan.states, *_flat(factors), b, e, last, bool(b.any()), _POWERS)
    return _back(order, b, e)


def rewards(factors: ExtendedFactors, rate: Numbers) -> Numbers:
    """m[n, r] with m_k = (c_k + Σ_i m_i A_ik)/s_k in the original numbering, 0 in the last state; c[n, r] is `rate`."""
    plan = factors.plan
    order = plan.order
    c, e = rate.mantissa[order].copy(), rate.exponent[order].copy()
    _rewards(plan.first, plan.start, plan.states, *_flat(factors), c, e, _POWERS)
    return _back(order, c, e)


def _flat(factors: ExtendedFactors) -> tuple[np.ndarray, ...]:
    return (*factors.s, *factors.U, *factors.L)


def _back(order: np.ndarray, mantissa: np.ndarray, exponent: np.ndarray) -> Numbers:
    m, e = np.empty_like(mantissa), np.empty_like(exponent)
    m[order], e[order] = mantissa, exponent
    return Numbers(m, e)


@fused
@no_type_check
def _plus(m, e, a, f, powers):
    """m 2^e + a 2^f; the sum has the larger of the two exponents."""
    if a == 0.0:
        return m, e
    if m == 0.0:
        return a, f
    d = f - e
    if d <= 0:
        return (m + a * powers[-d], e) if d >= -NEGLIGIBLE else (m, e)
    return (a + m * powers[d], f) if d <= NEGLIGIBLE else (a, f)


@fused
@no_type_check
def _normal(m, e):
    a, f = math.frexp(m)
    return a, e + f


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
                    F[i, j], E[i, j] = _plus(F[i, j], E[i, j], stack_m[at], stack_e[at], powers)
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
            F[i, k], E[i, k] = _normal(F[i, k], E[i, k])
            F[k, i], E[k, i] = _normal(F[k, i], E[k, i])
            s, t = _plus(s, t, F[i, k], np.int64(E[i, k]), powers)
        s, t = _normal(s, t)
        s_m[k], s_e[k] = s, t
        for i in range(k + 1, m):
            if F[i, k] > 0.0:
                a, f = F[i, k] / s, E[i, k] - t
                F[i, k], E[i, k] = a, f
                for j in range(k + 1, m):
                    if F[k, j] > 0.0:
                        F[i, j], E[i, j] = _plus(F[i, j], E[i, j], a * F[k, j], f + E[k, j], powers)


@fused
@no_type_check
def _visits(first, start, states, s_m, s_e, U_m, U_e, L_m, L_e, b, e, last, forward, powers):
    n, r = b.shape
    head = 0
    if forward:
        for s in range(len(first) - 1):
            front = states[start[s] : start[s + 1]]
            m = len(front)
            for a in range(first[s + 1] - first[s]):
                k = front[a]
                for c in range(a + 1, m):
                    if L_m[head] > 0.0:
                        i = front[c]
                        for q in range(r):
                            if b[k, q] > 0.0:
                                b[i, q], e[i, q] = _plus(
                                    b[i, q], e[i, q], L_m[head] * b[k, q], e[k, q] + L_e[head], powers
                                )
                    head += 1
    b[n - 1, :], e[n - 1, :] = last, 0
    head = len(U_m)
    for s in range(len(first) - 2, -1, -1):
        front = states[start[s] : start[s + 1]]
        m = len(front)
        for a in range(first[s + 1] - first[s] - 1, -1, -1):
            k = front[a]
            head -= m - a - 1
            if k == n - 1:
                continue
            for q in range(r):
                y, t = b[k, q], e[k, q]
                for c in range(m - a - 1):
                    i = front[a + 1 + c]
                    y, t = _plus(y, t, U_m[head + c] * b[i, q], e[i, q] + U_e[head + c], powers)
                b[k, q], e[k, q] = _normal(y / s_m[k], t - s_e[k]) if y > 0.0 else (0.0, 0)


@fused
@no_type_check
def _rewards(first, start, states, s_m, s_e, U_m, U_e, L_m, L_e, c, e, powers):
    n, r = c.shape
    head = 0
    for s in range(len(first) - 1):
        front = states[start[s] : start[s + 1]]
        m = len(front)
        for a in range(first[s + 1] - first[s]):
            k = front[a]
            if k == n - 1:
                continue
            for q in range(r):
                if c[k, q] > 0.0:
                    c[k, q], e[k, q] = _normal(c[k, q] / s_m[k], e[k, q] - s_e[k])
            for b in range(a + 1, m):
                if U_m[head] > 0.0:
                    i = front[b]
                    for q in range(r):
                        if c[k, q] > 0.0:
                            c[i, q], e[i, q] = _plus(c[i, q], e[i, q], U_m[head] * c[k, q], e[k, q] + U_e[head], powers)
                head += 1
    c[n - 1, :], e[n - 1, :] = 0.0, 0
    head = len(U_m)
    for s in range(len(first) - 2, -1, -1):
        front = states[start[s] : start[s + 1]]
        m = len(front)
        for a in range(first[s + 1] - first[s] - 1, -1, -1):
            k = front[a]
            head -= m - a - 1
            for q in range(r):
                y, t = c[k, q], e[k, q]
                for b in range(m - a - 1):
                    i = front[a + 1 + b]
                    y, t = _plus(y, t, L_m[head + b] * c[i, q], e[i, q] + L_e[head + b], powers)
                c[k, q], e[k, q] = _normal(y, t) if y > 0.0 else (0.0, 0)
