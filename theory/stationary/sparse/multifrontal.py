"""Elimination without subtraction on a sparse graph: GTH in the multifrontal form.

Taking state k out of a chain leaves the chain that is watched outside k (the censored chain), whose rates are

    A_ij + A_ik A_kj / s_k,    s_k = Σ_{i ≠ k} A_ik,    i ≠ j not yet eliminated.

Only sums, products and quotients of rates >= 0 occur, so every rate keeps its relative precision whatever the scale of
the others (Grassmann, Taksar and Heyman, *Oper. Res.* 33, 1985; O'Cinneide, *Numer. Math.* 65, 1993). Backwards,
p_k = (Σ_j A_kj p_j) / s_k over the states j that were eliminated after k. The diagonal is never used.

The work is done in dense fronts (Duff and Reid, *ACM Trans. Math. Softw.* 9, 1983; Liu, *SIAM Rev.* 34, 1992). A front
holds the rates between its pivots and their later neighbours; what the elimination of its pivots leaves among the later
neighbours is added to the parent's front. Remainders are stacked: in postorder those of a front's children lie on top.
Large fronts go by panels of pivots, so that nearly all work is matrix products, which here add and never cancel.
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np

from theory.compiled import fused
from theory.stationary.sparse.elimination_tree import Fronts

PANEL, TILE = 32, 128  # a panel of U over one tile is 32 kB, a first-level cache
DIRECT = 40  # a front of so few states is eliminated state by state
HUGE = 2.0**300
TINY, LOW = 2.0**-960, 2.0**-300  # products below TINY, or exit rates below LOW, may hide what was lost


class Factors(NamedTuple):
    """What elimination leaves: exit rates s[n] in the order of the plan, rows U, and shares L.

    Row k of U holds A_kj, and column k of L holds A_ik / s_k, over the states behind k in k's front. `lost` says that a
    product of them may have left the range of float64.
    """

    plan: Fronts
    s: np.ndarray
    U: np.ndarray
    L: np.ndarray
    lost: bool


def factorise(columns: Any, rows: Any, plan: Fronts) -> Factors:
    """Eliminates all but the last state of the plan and keeps both factors; arguments as `eliminate`."""
    s = np.zeros(len(plan.order))
    U, L, lost = _eliminate(
        (columns.indptr, columns.indices, columns.data),
        (rows.indptr, rows.indices, rows.data),
        tuple(plan),
        s,
        True,
    )
    return Factors(plan, s, U, L, bool(lost) or bool((s[:-1] < LOW).any()))


def eliminate(columns: Any, rows: Any, plan: Fronts) -> tuple[np.ndarray, np.ndarray]:
    """(x[n], s[n]) of the irreducible chain with the off-diagonal rates `columns` (csc) = `rows` (csr), by the plan.

    x > 0 spans the null space of the generator, with largest entry 1 up to a factor 2^300 (x_i < 2^-1074 of it is 0);
    s_k is the rate out of k when it is eliminated, 0 for the last state. A rate lost to underflow shows in s_k x_k.
    """
    exit_rate = np.zeros(len(plan.order))
    U, _, _ = _eliminate(
        (columns.indptr, columns.indices, columns.data),
        (rows.indptr, rows.indices, rows.data),
        tuple(plan),
        exit_rate,
        False,
    )
    in_order = _back_substitute(plan.first, plan.start, plan.states, exit_rate, U)
    x, s = np.empty_like(in_order), np.empty_like(exit_rate)
    x[plan.order], s[plan.order] = in_order, exit_rate
    return x, s


@fused
@no_type_check
def _eliminate(columns, rows, plan, exit_rate, keep):
    """The rates into each state from the later ones, U, and if kept the shares that leave it, L, front by front.

    Fills exit_rate[k] = s_k. The third result says whether a product of kept factors may have underflowed.
    """
    order, position, first, start, states, parent, stack_size, largest, entries = plan
    fronts, n = len(parent), len(order)
    stack = np.empty(stack_size)
    U = np.empty(entries)
    L = np.empty(entries if keep else 0)
    lost = False
    panel = np.empty((largest, PANEL))
    tile = np.empty((PANEL, TILE))
    local = np.empty(n, np.int32)
    remainder = np.empty(fronts, np.int64)  # where it lies in the stack
    child = np.full(fronts, -1, np.int32)
    sibling = np.full(fronts, -1, np.int32)
    top = head = 0
    for s in range(fronts):
        front = states[start[s] : start[s + 1]]
        m, pivots = len(front), first[s + 1] - first[s]
        for a in range(m):
            local[front[a]] = a
        F = stack[top : top + m * m].reshape((m, m))
        _assemble(columns, rows, order, position, first[s], first[s + 1], local, F)
        base = top
        c = child[s]
        while c != -1:
            base = min(base, remainder[c])
            _add_remainder(stack, remainder[c], states[start[c] + first[c + 1] - first[c] : start[c + 1]], local, F)
            c = sibling[c]
        if m <= DIRECT or pivots < 4:
            _state_by_state(F, pivots, exit_rate[first[s] : first[s + 1]])
        else:
            _by_panels(F, pivots, exit_rate[first[s] : first[s + 1]], panel, tile, keep)
        if keep:
            lost |= _keep_shares(F, pivots, L, head)
        for a in range(pivots):
            for b in range(a + 1, m):
                U[head] = F[a, b]
                head += 1
        r = m - pivots
        for a in range(r):
            for b in range(r):
                stack[base + a * r + b] = F[pivots + a, pivots + b]
        remainder[s] = base
        top = base + r * r
        if parent[s] != -1:
            sibling[s] = child[parent[s]]
            child[parent[s]] = s
    return U, L, lost


@fused
@no_type_check
def _assemble(columns, rows, order, position, begin, end, local, F):
    col_ptr, col_index, col_rate = columns
    row_ptr, row_index, row_rate = rows
    F[:] = 0.0
    for k in range(begin, end):
        v, a = order[k], k - begin
        for e in range(col_ptr[v], col_ptr[v + 1]):
            i = position[col_index[e]]
            if i >= begin:
                F[local[i], a] = col_rate[e]
        for e in range(row_ptr[v], row_ptr[v + 1]):
            j = position[row_index[e]]
            if j >= end:
                F[a, local[j]] = row_rate[e]


@fused
@no_type_check
def _add_remainder(stack, at, kept, local, F):
    r = len(kept)
    for a in range(r):
        row = F[local[kept[a]]]
        for b in range(r):
            row[local[kept[b]]] += stack[at + a * r + b]


@fused
@no_type_check
def _state_by_state(F, pivots, exit_rate):
    m = len(F)
    for k in range(pivots):
        s = 0.0
        for i in range(k + 1, m):
            s += F[i, k]
        exit_rate[k] = s
        for i in range(k + 1, m):
            if F[i, k] > 0.0:
                share = F[i, k] / s
                for j in range(k + 1, m):
                    F[i, j] += share * F[k, j]
                F[i, k] = share


@fused
@no_type_check
def _keep_shares(F, pivots, L, head):
    """Copies columns of shares out of F; True where the smallest share times the smallest rate is below TINY."""
    m, lost = len(F), False
    for a in range(pivots):
        low, low_rate = 1.0, 1.0
        for b in range(a + 1, m):
            share, rate = F[b, a], F[a, b]
            L[head] = share
            head += 1
            if 0.0 < share < low:
                low = share
            if 0.0 < rate < low_rate:
                low_rate = rate
        lost |= low * low_rate < TINY
    return lost


@fused
@no_type_check
def _by_panels(F, pivots, exit_rate, L, tile, keep):
    """L[i, k - k0] becomes A_ik / s_k, the share of k's jumps that go to i; put back into column k if it is kept."""
    m = len(F)
    for k0 in range(0, pivots, PANEL):
        k1 = min(k0 + PANEL, pivots)
        b = k1 - k0
        width = (b + 7) // 8 * 8
        for i in range(k0, m):
            L[i, :b] = F[i, k0:k1]
            L[i, b:width] = 0.0
        for k in range(b):
            s = 0.0
            for i in range(k0 + k + 1, m):
                s += L[i, k]
            exit_rate[k0 + k] = s
            for i in range(k0 + k + 1, m):
                share = L[i, k] / s if s > 0.0 else 0.0
                L[i, k] = share
                for j in range(k + 1, b):
                    L[i, j] += share * L[k0 + k, j]
            pivot_row = F[k0 + k, k1:]
            for i in range(k + 1, b):
                share, row = L[k0 + i, k], F[k0 + i, k1:]
                for j in range(m - k1):
                    row[j] += share * pivot_row[j]
        for k in range(b):
            for j in range(k + 1, b):
                F[k0 + k, k0 + j] = L[k0 + k, j]
        if keep:
            for i in range(k0 + 1, m):
                for k in range(min(b, i - k0)):
                    F[i, k0 + k] = L[i, k]
        _add_product(F, k0, k1, L, width, tile)


@fused
@no_type_check
def _add_product(F, k0, k1, L, width, tile):
    """F[k1:, k1:] += L[k1:, :k1 - k0] @ F[k0:k1, k1:].

    Not a BLAS call: on these sizes its threads cost more than they bring, and their number changes the last bits.
    """
    m, b = len(F), k1 - k0
    for j0 in range(k1, m, TILE):
        w = min(TILE, m - j0)
        for k in range(b):
            tile[k, :w] = F[k0 + k, j0 : j0 + w]
        tile[b:width, :w] = 0.0
        for i in range(k1, m):
            row, a = F[i, j0 : j0 + w], L[i]
            for g in range(0, width, 8):
                u0, u1, u2, u3 = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
                u4, u5, u6, u7 = tile[g + 4], tile[g + 5], tile[g + 6], tile[g + 7]
                a0, a1, a2, a3 = a[g], a[g + 1], a[g + 2], a[g + 3]
                a4, a5, a6, a7 = a[g + 4], a[g + 5], a[g + 6], a[g + 7]
                for j in range(w):
                    row[j] += ((a0 * u0[j] + a1 * u1[j]) + (a2 * u2[j] + a3 * u3[j])) + (
                        (a4 * u4[j] + a5 * u5[j]) + (a6 * u6[j] + a7 * u7[j])
                    )


@fused
@no_type_check
def _back_substitute(first, start, states, exit_rate, U):
    """x in the order of elimination; all of it is scaled down whenever an entry would pass HUGE."""
    n, head = len(exit_rate), len(U)
    x = np.zeros(n)
    x[n - 1] = 1.0
    gathered = np.empty(np.max(start[1:] - start[:-1]))
    for s in range(len(first) - 2, -1, -1):
        begin, pivots = first[s], first[s + 1] - first[s]
        front = states[start[s] : start[s + 1]]
        m = len(front)
        for a in range(m):
            gathered[a] = x[front[a]]
        for a in range(pivots - 1, -1, -1):
            head -= m - a - 1
            if begin + a == n - 1:
                continue
            inflow = 0.0
            for b in range(m - a - 1):
                inflow += U[head + b] * gathered[a + 1 + b]
            while inflow > HUGE * exit_rate[begin + a] and exit_rate[begin + a] > 0.0:
                x /= HUGE
                gathered /= HUGE
                inflow /= HUGE
            x[begin + a] = inflow / exit_rate[begin + a] if exit_rate[begin + a] > 0.0 else 0.0
            gathered[a] = x[begin + a]
    return x
