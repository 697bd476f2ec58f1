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
    unseen, stack = work[0], work[1]
    root = 0
    for again in range(2):
        left = n  # in unseen[:left], what is not known to reach a start so far
        for j in range(n):
            unseen[j] = n - 1 - j
        while left > 0:
            # the first start that such a state reaches is reached by all as well, hence the last one: it is tried again
            start = root if again == 1 else int(unseen[left - 1])
            if again == 0:
                root = start
            for k in range(left):
                if unseen[k] == start:
                    left -= 1
                    unseen[k] = unseen[left]
                    break
            top = 0
            stack[0] = start
            while top >= 0 and left > 0:
                i = int(stack[top])
                top -= 1
                k = 0
                while k < left:
                    j = int(unseen[k])
                    if A[i, j] > 0:
                        left -= 1
                        unseen[k] = unseen[left]
                        top += 1
                        stack[top] = j
                    else:
                        k += 1
            if again == 1 or (left == 0 and root == 0):
                return root if left == 0 else -1
    return -1


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
        negative, lost = 0, 0  # a rate that is lost, or has lost digits, beside the exit rate of its column
        for i in range(n):
            rates, row = A[i], W[i]
            for j in range(n):
                negative += rates[j] < 0
                lost += (rates[j] != 0) & (row[j] < TINY)
            negative -= rates[i] < 0
            lost -= rates[i] != 0
        if negative > 0:
            return REFUSED, 0, True
        ranged &= lost == 0
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
def _add_rows(target, length, factors, i, rows, first, begin):
    """target[:length] += Σ_m factors[first + m, i] rows[begin + m, :length], m < _STRIP = 8. Of a sparse chain many
    factors are zero."""
    a0, a1, a2, a3 = factors[first, i], factors[first + 1, i], factors[first + 2, i], factors[first + 3, i]
    a4, a5, a6, a7 = factors[first + 4, i], factors[first + 5, i], factors[first + 6, i], factors[first + 7, i]
    if a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 == 0:
        return
    b = begin
    for j in range(length):
        target[j] += ((a0 * rows[b, j] + a1 * rows[b + 1, j]) + (a2 * rows[b + 2, j] + a3 * rows[b + 3, j])) + (
            (a4 * rows[b + 4, j] + a5 * rows[b + 5, j]) + (a6 * rows[b + 6, j] + a7 * rows[b + 7, j])
        )


@summed
def _spread(W, U, begin, start):
    """Rows and columns begin, …, start-1 receive what jumps through the _STRIP states from `start` on."""
    k = start - begin
    for i in range(begin, start):
        _add_rows(W[i], i, U, i, W, k, start)
        _add_rows(U[i - begin], i, W, i, U, start, k)


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
                if a > 0 or b > 0:
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
