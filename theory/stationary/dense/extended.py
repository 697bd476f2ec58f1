"""The elimination on numbers m 2^e that carry an integer exponent of their own: no rate and no p_j is out of range.

Some ten times slower than plain doubles, and needed only where the jump chain's products leave their range: rates that
differ by more than some 1e±145 in a sparse chain, or p that passes through entries below 1e-290.
"""

from __future__ import annotations

import math

import numpy as np

from theory.compiled import summed
from theory.stationary.dense.kernels import root_state

NEVER = -(2**40)  # the exponent reported for a transient state


@summed
def _plus(m, e, a, f):
    """m 2^e + a 2^f for mantissas in [1/2, 1) or zero."""
    if a == 0:
        return m, e
    if m == 0:
        return a, f
    if f > e:
        m, e, a, f = a, f, m, e
    if f < e - 120:
        return m, e
    m += math.ldexp(a, f - e)
    return (0.5 * m, e + 1) if m >= 1 else (m, e)


@summed
def _times(m, e, a, f):
    m *= a
    return (2.0 * m, e + f - 1) if 0 < m < 0.5 else (m, e + f)


@summed
def _over(m, e, a, f):
    m /= a
    return (0.5 * m, e - f + 1) if m >= 1 else (m, e - f)


@summed
def solve_extended(A, p, exponent):
    """The elimination on numbers m 2^e with an integer e of their own. False where no state is reached by all others.

    exponent[j] is that of p_j, which may lie below the range of p itself; it is NEVER for a transient state.
    """
    n = A.shape[0]
    root = root_state(A, np.empty((2, n)))
    if root < 0:
        return False
    M, E = np.zeros((n, n)), np.zeros((n, n), np.int64)
    rate, rate_exponent = np.zeros(n), np.zeros(n, np.int64)
    order = np.arange(n)
    order[0], order[root] = root, 0
    for i in range(n):
        for j in range(n):
            if i != j:
                m, e = math.frexp(A[order[i], order[j]])
                M[i, j], E[i, j] = m, e
                rate[j], rate_exponent[j] = _plus(rate[j], rate_exponent[j], m, np.int64(e))
    for j in range(n):
        if rate[j] == 0:
            rate[j], rate_exponent[j] = 0.5, 1
        for i in range(n):
            M[i, j], E[i, j] = _over(M[i, j], E[i, j], rate[j], rate_exponent[j])
    S, T = np.zeros(n), np.zeros(n, np.int64)
    for k in range(n - 1, 0, -1):
        for i in range(k):
            S[k], T[k] = _plus(S[k], T[k], M[i, k], E[i, k])
        for i in range(k):
            if M[i, k] > 0:
                a, f = _over(M[i, k], E[i, k], S[k], T[k])
                for j in range(k):
                    if i != j and M[k, j] > 0:
                        m, e = _times(a, f, M[k, j], E[k, j])
                        M[i, j], E[i, j] = _plus(M[i, j], E[i, j], m, e)
    x, X = np.zeros(n), np.zeros(n, np.int64)
    x[0], X[0] = 0.5, 1
    for k in range(1, n):
        for j in range(k):
            if M[k, j] > 0 and x[j] > 0:
                m, e = _times(M[k, j], E[k, j], x[j], X[j])
                x[k], X[k] = _plus(x[k], X[k], m, e)
        x[k], X[k] = _over(x[k], X[k], S[k], T[k])
    total, top = 0.0, np.int64(0)
    for j in range(n):
        x[j], X[j] = _over(x[j], X[j], rate[j], rate_exponent[j])
        total, top = _plus(total, top, x[j], X[j])
    for j in range(n):
        m, e = _over(x[j], X[j], total, top)
        p[order[j]] = math.ldexp(m, max(e, -2000))
        exponent[order[j]] = e if m > 0 else NEVER
    return True
