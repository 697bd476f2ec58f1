"""Radau IIA collocation with s nodes: the numbers, for any odd s.

On a step [t, t + h] the solution is replaced by the polynomial of degree s that passes through the start value and
satisfies the differential equation at the nodes c_1 < … < c_s = 1, the zeros of P_s − P_{s−1} on [0, 1]. The end
value is of order 2s − 1, the polynomial between the nodes of order s + 1, and the method is L-stable (Hairer & Wanner,
*Solving Ordinary Differential Equations II*, 2nd ed. 1996, sec. IV.5 and IV.8).

With Z_j the increments at the nodes, Z = h (a ⊗ I) F. Newton's method decouples in the eigenvectors of a⁻¹: one real
eigenvalue and (s − 1)/2 complex pairs for odd s. The embedded error estimate of order s is theirs too (sec. IV.8):
the quadrature γ₀ F(u₀) + Σ b̂_k F_k with γ₀ = 1/μ₀, filtered by (I − hγ₀J)⁻¹. The filter takes out what is stiff, and
with it the error between the nodes of an x that follows y: the last Chebyshev coefficients of the polynomial see that.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Tableau(NamedTuple):
    """The constants of one Radau IIA method; s nodes, r = (s − 1)/2 complex pairs."""

    nodes: Array  # c[s]
    a_inverse: Array  # [s, s]
    real_eigenvalue: float  # μ₀ of a⁻¹
    to_real: Array  # row of T⁻¹ that belongs to μ₀, [s]
    from_real: Array  # column of T that belongs to μ₀, [s]
    eigenvalues: Array  # one of each complex pair, [r, 2] (real, imaginary)
    to_complex: Array  # rows of T⁻¹, [2, r, s]
    from_complex: Array  # columns of T times 2, [2, r, s]
    error_weights: Array  # e[s]: the estimate is (μ₀/h − J)⁻¹ (F(u₀) + e·Z/h)
    ends: Array  # 0, c_1 … c_s, [s + 1]
    barycentric: Array  # weights of the interpolation through them, [s + 1]
    last: Array  # the Chebyshev coefficients of degree s, s − 1, s − 2 of the polynomial through them, [3, s + 1]


@cache
def tableau(s: int) -> Tableau:
    """The Radau IIA constants for odd s >= 3, computed in float64."""
    if s < 3 or s % 2 == 0:
        raise ValueError(f"the number of nodes must be odd and >= 3, got {s}")
    difference = np.zeros(s + 1)
    difference[s], difference[s - 1] = 1.0, -1.0
    nodes = 0.5 * (np.sort(np.polynomial.legendre.legroots(difference)) + 1.0)
    nodes[-1] = 1.0
    points = np.concatenate([[0.0], nodes])
    gaps = points[:, None] - points[None, :] + np.eye(s + 1)
    barycentric = 1.0 / gaps.prod(1)
    # Z = (a ⊗ I) h F inverted: a⁻¹ differentiates the polynomial through (0, 0) and (c_j, Z_j) at the nodes
    # (Berrut & Trefethen, SIAM Review 46, 2004, sec. 9.3)
    derivative = barycentric[None, :] / barycentric[:, None] / gaps
    np.fill_diagonal(derivative, 0.0)
    np.fill_diagonal(derivative, -derivative.sum(1))
    a_inverse = np.asarray(derivative[1:, 1:], np.float64)
    last_row = np.asarray(np.linalg.solve(a_inverse.T, np.eye(s)[-1]), np.float64)
    eigen = np.linalg.eig(a_inverse)
    values, T = np.asarray(eigen.eigenvalues, np.complex128), np.asarray(eigen.eigenvectors, np.complex128)
    T_inverse = np.linalg.inv(T)
    real = int(np.argmin(np.abs(values.imag)))
    pairs = np.flatnonzero(values.imag > 1e-8 * np.abs(values))
    # eig may return the real eigenvector with any phase
    phase = T[np.argmax(np.abs(T[:, real])), real]
    mu = float(values[real].real)
    power = np.arange(1, s + 1)
    right = 1.0 / power
    right[0] -= 1.0 / mu
    b_hat = np.linalg.solve((nodes[:, None] ** (power - 1)).T, right)
    error_weights = mu * (a_inverse.T @ (b_hat - last_row))
    last = np.linalg.inv(np.polynomial.chebyshev.chebvander(2.0 * points - 1.0, s))[: s - 3 : -1]
    return Tableau(
        nodes=nodes,
        a_inverse=np.ascontiguousarray(a_inverse),
        real_eigenvalue=mu,
        to_real=np.ascontiguousarray((T_inverse[real] * phase).real),
        from_real=np.ascontiguousarray((T[:, real] / phase).real),
        eigenvalues=np.stack([values[pairs].real, values[pairs].imag], -1),
        to_complex=np.asarray(np.stack([T_inverse[pairs].real, T_inverse[pairs].imag]), np.float64),
        from_complex=2.0 * np.stack([T.T[pairs].real, T.T[pairs].imag]),
        error_weights=error_weights,
        ends=points,
        barycentric=barycentric,
        last=np.ascontiguousarray(last, np.float64),
    )
