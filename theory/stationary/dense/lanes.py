"""Small generators eliminated in step, along the lanes of the vector unit (`theory.stationary.dense.gth`).

For n up to some forty, a single matrix leaves a vector unit idle: its rows are too short. Here a few dozen matrices
are transposed into W[i, j, lane] and each operation is done for all of them at once. Only the plain case is handled:
state 0 reached from all others, no state absorbing or transient, nothing near the end of the double range. Every other
matrix keeps its status and goes to the general kernel.

Where rates are zero, a product that underflows could be the only term of its sum: then, as in `eliminate`, the smallest
factors of each step are watched.
"""

from __future__ import annotations

import numpy as np

from theory.compiled import summed
from theory.stationary.dense.kernels import HUGE, SOLVED, TINY


@summed
def solve_together(A, tolerance, p, status, lanes):
    """`lanes` matrices at a time, at most as many as there are; SOLVED where the case is plain.

    `lanes` is an argument because a constant trip count would have the loops unrolled instead of vectorised.
    """
    n = A.shape[-1]
    W = np.empty((n, n, lanes))
    inverse, S, x = np.empty((n, lanes)), np.empty((n, lanes)), np.empty((n, lanes))
    low, a, total = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    floor, least_row, least_column = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    for begin in range(0, A.shape[0], lanes):
        first = min(begin, A.shape[0] - lanes)
        for i in range(n):
            for j in range(n):
                for lane in range(lanes):
                    W[i, j, lane] = A[first + lane, i, j]
        for lane in range(lanes):
            low[lane] = 1.0
            floor[lane] = 0.0  # of what is watched: 0 until a rate is zero
        for j in range(n):
            for lane in range(lanes):
                total[lane] = 0.0
            for i in range(n):
                if i != j:
                    for lane in range(lanes):
                        total[lane] += W[i, j, lane]
            for lane in range(lanes):
                s, d = total[lane], W[j, j, lane]
                fine = (abs(s + d) < tolerance * (s - d)) & (s > TINY) & (s < HUGE)
                low[lane] = low[lane] if fine else 0.0
                inverse[j, lane] = 1.0 / s
            for i in range(n):
                if i != j:
                    for lane in range(lanes):
                        rate = W[i, j, lane]
                        w = rate * inverse[j, lane]
                        W[i, j, lane] = w
                        low[lane] = min(low[lane], 1.0 if rate == 0 else w)
                        floor[lane] = TINY if rate == 0 else floor[lane]
        for k in range(n - 1, 0, -1):
            for lane in range(lanes):
                total[lane] = 0.0
                least_row[lane] = least_column[lane] = 1.0
            for i in range(k):
                for lane in range(lanes):
                    total[lane] += W[i, k, lane]
                    w = W[k, i, lane]
                    least_row[lane] = min(least_row[lane], 1.0 if w == 0 else w)
            for lane in range(lanes):
                S[k, lane] = 1.0 / total[lane]
            for i in range(k):
                for lane in range(lanes):
                    w = W[i, k, lane] * S[k, lane]
                    a[lane] = w
                    least_column[lane] = min(least_column[lane], 1.0 if w == 0 else w)
                for j in range(k):
                    for lane in range(lanes):
                        W[i, j, lane] += a[lane] * W[k, j, lane]
            for lane in range(lanes):
                fine = (total[lane] > TINY) & (least_row[lane] * least_column[lane] >= floor[lane])
                low[lane] = low[lane] if fine else 0.0
        for lane in range(lanes):
            x[0, lane] = 1.0
            total[lane] = inverse[0, lane]
        for k in range(1, n):
            for lane in range(lanes):
                a[lane] = 0.0
            for j in range(k):
                for lane in range(lanes):
                    a[lane] += W[k, j, lane] * x[j, lane]
            for lane in range(lanes):
                w = a[lane] * S[k, lane]
                q = w * inverse[k, lane]
                fine = (w > TINY) & (w < HUGE) & (q > TINY) & (q < HUGE)
                low[lane] = low[lane] if fine else 0.0
                x[k, lane] = w
                total[lane] += q
        for lane in range(lanes):
            if low[lane] > TINY:
                status[first + lane] = SOLVED
                for j in range(n):
                    p[first + lane, j] = x[j, lane] * inverse[j, lane] / total[lane]
