"""The error of a step of the collocation method in parts of the tolerance: at its end, and between its nodes."""

from __future__ import annotations

from theory.compiled import inner
from theory.flow.collocation.lu import solve_real


@inner
def set_scale(u, n, rtol, atol, scale):
    """scale[N]: one over atol + rtol times the largest of x, and of y."""
    for first, last in ((0, n), (n, u.shape[0])):
        largest = 0.0
        for c in range(first, last):
            largest = max(largest, abs(u[c]))
        for c in range(first, last):
            scale[c] = 1.0 / (atol + rtol * largest)


@inner
def judge(u, slope, nodes, LU, error_weights, inv_h, scale, estimate):
    """The error of the step in parts of the tolerance, as the estimate has it."""
    N = u.shape[0]
    for c in range(N):
        estimate[c] = slope[c]
    for k in range(nodes.shape[0]):
        weight = error_weights[k] * inv_h
        for c in range(N):
            estimate[c] += weight * (nodes[k, c] - u[c])
    solve_real(LU, estimate)
    error = 0.0
    for c in range(N):
        error = max(error, abs(estimate[c]) * scale[c])
    return error


@inner
def between(u, nodes, last, scale):
    """The error of the polynomial between the nodes in parts of the tolerance: its next Chebyshev coefficient, were the
    last three to go on as they fall. Two of them, so that one that vanishes by chance hides nothing.
    """
    sizes = (0.0, 0.0, 0.0)
    for c in range(u.shape[0]):
        a, b, d = 0.0, 0.0, 0.0
        for k in range(nodes.shape[0]):
            moved = nodes[k, c] - u[c]
            a += last[0, k + 1] * moved
            b += last[1, k + 1] * moved
            d += last[2, k + 1] * moved
        sizes = (
            max(sizes[0], abs(a) * scale[c]),
            max(sizes[1], abs(b) * scale[c]),
            max(sizes[2], abs(d) * scale[c]),
        )
    fall = min(1.0, max(sizes[0] / max(sizes[1], 1e-300), sizes[1] / max(sizes[2], 1e-300)))
    return max(fall * sizes[0], fall * fall * sizes[1])
