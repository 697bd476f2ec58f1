"""The Newton iteration of a step as a whole, compiled: one correction of all nodes, and how the corrections shrink."""

from __future__ import annotations

import numpy as np

from theory.compiled import inner
from theory.flow.collocation.newton import add_correction, linear_part
from theory.flow.collocation.state import NEWTON, RATE, SIZE, STALE, STEP


@inner
def coupling(dA, nodes, inv_eps, Bx):
    """Bx[s, m, n] = ∂_y(A x)/ε at the nodes."""
    m, n = dA.shape[0], dA.shape[1]
    for j in range(nodes.shape[0]):
        for k in range(m):
            for i in range(n):
                acc = 0.0
                for c in range(n):
                    acc += dA[k, i, c] * nodes[j, c]
                Bx[j, k, i] = acc * inv_eps


@inner
def correct(u, nodes, A, dg, LU, LZ, inv_eps, inv_h, tableau, newton_tol, most, room):
    """One Newton step on the nodes, from the residual in room.R0; returns its scaled size."""
    s, N = nodes.shape
    for j in range(s):
        for c in range(N):
            room.D[j, c] = 0.0
            room.R[j, c] = room.R0[j, c]
    previous = np.inf
    size = 0.0
    for again in range(most):
        if again > 0:
            linear_part(A, room.Bx, dg, room.R0, room.D, inv_eps, inv_h, tableau.a_inverse, room.R)
        added, size = add_correction(LU, LZ, room.R, tableau, room.scale, room.D, room.inc, room.w)
        if added <= max(0.3 * newton_tol, 0.01 * size) or added > 2.0 * previous:
            break
        previous = added
    mass = 0.0
    n = A.shape[1]
    for c in range(n):
        mass += u[c]
    for j in range(s):
        for c in range(N):
            nodes[j, c] += room.D[j, c]
    keep_mass(nodes, mass, n)
    return size


@inner
def keep_mass(values, mass, n):
    """Bring the sum of each x in values[s, N] to `mass`: it differs by rounding, which extrapolation magnifies."""
    for j in range(values.shape[0]):
        off = -mass
        for c in range(n):
            off += values[j, c]
        off /= n
        for c in range(n):
            values[j, c] -= off


@inner
def contraction(real, whole, n, size, D, scale):
    """By how much the sizes of Newton steps shrink, as far as it is known after this one, of increments D[s, N]."""
    whole[NEWTON] += 1
    if whole[NEWTON] > 1:
        rate = size / real[SIZE]
    else:
        moved = 0.0
        for j in range(D.shape[0]):
            for c in range(n, D.shape[1]):
                moved = max(moved, abs(D[j, c]) * scale[c])
        # a first step may be the last one when y has hardly moved: then only the memory of the rate is at stake
        rate = min(10.0 * real[RATE] * real[STEP], 0.9) if moved <= 1.0 else np.inf
    if whole[NEWTON] == 2:
        real[RATE] = rate / real[STEP]
    real[SIZE] = size
    whole[STALE] = whole[NEWTON] >= 3
    return rate
