"""The collocation of a captured system, compiled as a whole: one trajectory after the other, each to its end.

What `theory.flow.methods.collocation` does for a batch, an evaluation of A and g by torch for each Newton step, is
done here without leaving machine code.
"""

from __future__ import annotations

import numpy as np

from theory.captured.call import call
from theory.compiled import kernel
from theory.flow.collocation import advance as steps
from theory.flow.faces import hold


@kernel
def run(rows, state, tableau, control, addresses, box, every, budget):
    """Advance rows[R] until they end, at most `budget` Newton steps; returns what is left of it.

    addresses: of A, g, dA, dg; box: low, high, base, period; derivatives are taken anew after `every` Newton steps.
    """
    s, N = state.nodes.shape[1], state.nodes.shape[2]
    m = control.low.shape[0]
    n = N - m
    low, high, base, period = box
    U, A, g = np.empty((s, N)), np.empty((1, s, n, n)), np.empty((1, s, m))
    dA, dg = np.empty((m, n, n)), np.empty((m, N))
    one = np.empty(1, np.int64)
    for q in range(rows.shape[0]):
        r = rows[q]
        one[0] = r
        calls = 0
        while state.code[r] == steps.RUNNING and budget > 0:
            budget -= 1
            U[:] = state.nodes[r]
            for j in range(s):
                hold(U[j, n:], low, high, base, period)
            call(addresses[0], U.ctypes.data, A.ctypes.data, s)  # pyright: ignore[reportCallIssue]
            call(addresses[1], U.ctypes.data, g.ctypes.data, s)  # pyright: ignore[reportCallIssue]
            steps.advance(one, A, g, state, tableau, control)
            calls += 1
            if calls >= every and state.stale[r]:
                calls = 0
                U[0] = state.u[r]
                hold(U[0, n:], low, high, base, period)
                call(addresses[2], U.ctypes.data, dA.ctypes.data, 1)
                call(addresses[3], U.ctypes.data, dg.ctypes.data, 1)
                state.dA[r] = dA
                state.gx[r] = dg[:, :n]
                state.gy[r] = dg[:, n:]
    return budget
