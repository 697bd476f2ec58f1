"""Compiled kernels of `theory.stationary.dense.gth`: one generator is checked, scaled to its jump chain, eliminated and
put back.

W[:k, :k] is the chain that is left once states k, …, n−1 are out. What is known of it lives in two triangles, each with
contiguous rows: row k in W[k, :k], and column k, divided by its sum S_k, in U[k - begin, :k]. Importing this module
imports numba; a kernel compiles at its first call and is cached where the installation, or the user's cache folder, can
be written.
"""

from __future__ import annotations

import numpy as np

from theory.compiled import summed

SOLVED, REFUSED, NOT_UNIQUE, OUT_OF_RANGE = 0, 1, 2, 3
TINY, HUGE = 2.0**-960, 2.0**960  # between these no product that is lost can matter to what it is added to
_STRIP = 8  # states taken out between two updates of what is left


@summed
def root_state(A, work):
    """A state that all others reach (then A has one recurrent class), or -1. work[2, n] is room."""
    n = A.shape[0]
    seen, stack = work[0], work[1]
    root = 0
    for again in range(2):
        for j in range(n):
            seen[j] = 0.0
        for start in range(n):
            if seen[start] > 0.0 or (again == 1 and start > 0):
                continue
            if again == 0:
                root = start
            top = 0
            stack[0] = root
            seen[root] = 1.0
            while top >= 0:
                i = int(stack[top])
                top -= 1
                for j in range(n):
                    if A[i, j] > 0 and seen[j] == 0.0:
                        seen[j] = 1.0
                        top += 1
                        stack[top] = j
    for j in range(n):
        if seen[j] == 0.0:
            return -1
    return root


@summed
def prepare(A, tolerance, W, exit_rate, work):
    """Check one generator and write its jump chain to W: (how it stands, root, whether underflow must be watched).

    work[2, n] is room.
    """
    n = A.shape[0]
    for j in range(n):
        exit_rate[j] = 0.0
    for i in range(n):
        rates, row = A[i], W[i]
        for j in range(n):
            row[j] = rates[j]
        row[i] = 0.0
        for j in range(n):
            exit_rate[j] += row[j]
    ranged = True
    inverse = work[0]
    for j in range(n):
        s = exit_rate[j]
        if not abs(s + A[j, j]) <= tolerance * (s - A[j, j]) or s - A[j, j] == np.inf:
            return REFUSED, 0, True
        ranged &= s == 0 or (TINY < s < HUGE)
        inverse[j] = 1.0 / s if s > 0 else 1.0
    small = -n  # the diagonal
    for i in range(n):
        row = W[i]
        for j in range(n):
            row[j] *= inverse[j]
        for j in range(n):
            small += row[j] < TINY
    root = 0
    if small > 0:
        for i in range(n):
            for j in range(n):
                if i != j and A[i, j] < 0:
                    return REFUSED, 0, True
                # a rate that is lost, or has lost digits, beside the exit rate of its column
                ranged &= i == j or A[i, j] == 0 or W[i, j] >= TINY
        root = root_state(A, work)
        if root < 0:
            return NOT_UNIQUE, 0, True
        if root > 0:
            for j in range(n):
                W[0, j], W[root, j] = W[root, j], W[0, j]
            for i in range(n):
                W[i, 0], W[i, root] = W[i, root], W[i, 0]
    return (SOLVED if ranged else OUT_OF_RANGE), root, small > 0


@summed
def transpose_columns(W, begin, end, U):
    """U[k - begin, i] = W[i, k] for i < k, begin <= k < end."""
    for i in range(end):
        for k in range(max(begin, i + 1), end):
            U[k - begin, i] = W[i, k]


@summed
def _spread(W, U, begin, start):
    """Rows and columns begin, …, start-1 receive what jumps through the _STRIP = 8 states from `start` on."""
    k = start - begin
    for i in range(begin, start):
        a0, a1, a2, a3 = U[k, i], U[k + 1, i], U[k + 2, i], U[k + 3, i]
        a4, a5, a6, a7 = U[k + 4, i], U[k + 5, i], U[k + 6, i], U[k + 7, i]
        row = W[i]
        for j in range(i):
            row[j] += ((a0 * W[start, j] + a1 * W[start + 1, j]) + (a2 * W[start + 2, j] + a3 * W[start + 3, j])) + (
                (a4 * W[start + 4, j] + a5 * W[start + 5, j]) + (a6 * W[start + 6, j] + a7 * W[start + 7, j])
            )
        a0, a1, a2, a3 = W[start, i], W[start + 1, i], W[start + 2, i], W[start + 3, i]
        a4, a5, a6, a7 = W[start + 4, i], W[start + 5, i], W[start + 6, i], W[start + 7, i]
        column = U[i - begin]
        for j in range(i):
            column[j] += ((a0 * U[k, j] + a1 * U[k + 1, j]) + (a2 * U[k + 2, j] + a3 * U[k + 3, j])) + (
                (a4 * U[k + 4, j] + a5 * U[k + 5, j]) + (a6 * U[k + 6, j] + a7 * U[k + 7, j])
            )


@summed
def eliminate(W, U, S, begin, end, watch):
    """Take out states end-1, …, begin; W[:begin, :begin] is left as it was. False where a product may have underflowed.

    Rows k in W[k, :k]; columns, transposed so that both are contiguous, in U[k - begin, :k].
    """
    stop = end
    while stop > begin:
        start = max(begin, stop - _STRIP)
        for k in range(stop - 1, max(start, 1) - 1, -1):
            row, column = W[k], U[k - begin]
            for m in range(k + 1, stop):
                a, b = U[m - begin, k], W[m, k]
                for j in range(k):
                    row[j] += a * W[m, j]
                    column[j] += b * U[m - begin, j]
            total = 0.0
            for j in range(k):
                total += column[j]
            S[k] = total
            if not total > TINY:
                return False
            inverse = 1.0 / total
            for j in range(k):
                column[j] *= inverse
            if watch:
                low_row, low_column = 1.0, 1.0
                for j in range(k):
                    if 0 < row[j] < low_row:
                        low_row = row[j]
                    if 0 < column[j] < low_column:
                        low_column = column[j]
                if low_row * low_column < TINY:
                    return False
        if stop - start == _STRIP:
            _spread(W, U, begin, start)
        stop = start
    return True


@summed
def substitute(W, S, exit_rate, root, p, work):
    """Put the states back; False where an entry left the range in which no term can have been lost. work[2, n] is
    room."""
    n = S.shape[0]
    x = work[0]
    x[0] = 1.0
    for k in range(1, n):
        total = 0.0
        for j in range(k):
            total += W[k, j] * x[j]
        x[k] = total / S[k]
        if not (TINY < x[k] < HUGE):
            for j in range(k):
                if W[k, j] > 0 and x[j] > 0:
                    return False
            x[k] = 0.0
    x[0], x[root] = x[root], x[0]
    total = 0.0
    for j in range(n):
        s = exit_rate[j]
        p[j] = x[j] / s if s > 0 else x[j]
        if not (p[j] < HUGE) or (x[j] > 0 and p[j] < TINY):
            return False
        total += p[j]
    for j in range(n):
        p[j] /= total
    return True


@summed
def solve_each(A, tolerance, p, status):
    """One matrix after the other; elements already marked SOLVED are left alone."""
    n = A.shape[-1]
    W, U, S, exit_rate, work = np.empty((n, n)), np.empty((n, n)), np.ones(n), np.empty(n), np.empty((2, n))
    for b in range(A.shape[0]):
        if status[b] == SOLVED:
            continue
        status[b], root, watch = prepare(A[b], tolerance, W, exit_rate, work)
        if status[b] == SOLVED:
            transpose_columns(W, 0, n, U)
            if not (eliminate(W, U, S, 0, n, watch) and substitute(W, S, exit_rate, root, p[b], work)):
                status[b] = OUT_OF_RANGE
