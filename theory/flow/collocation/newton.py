"""One Newton step of the collocation equations of one trajectory, compiled.

The unknowns are the values U_j = (X_j, Y_j) at the s nodes. With F(x, y) = (A(y) x / ε, g(x, y)) and Z_j = U_j − u₀ the
equations are F(U_j) = Σ_k (a⁻¹)_jk Z_k / h. Given A(Y_j) and g(X_j, Y_j), evaluated outside, they are linearised with
the *exact* A(Y_j) at every node, only the small blocks ∂_y(A x), ∂_x g and ∂_y g being those of an earlier point:
x enters linearly, so a wrong first guess of the fast variable costs nothing. The linear equations are solved by
iteration with the usual simplified Newton matrices μ/h − J, J that of the middle node, one per eigenvalue μ of a⁻¹
(Hairer & Wanner II, sec. IV.8). This inner iteration needs no evaluation of A.
"""

from __future__ import annotations

import numpy as np

from theory.compiled import inner
from theory.flow.collocation.lu import factor_complex, factor_real, solve_complex, solve_real


@inner
def generator_defect(A, total, size):
    """Whether A[n, n] has a negative rate or a column that does not sum to zero within 8 n η Σ|A|."""
    n = A.shape[0]
    for c in range(n):
        total[c] = size[c] = 0.0
    lowest = 0.0
    for i in range(n):
        for c in range(n):
            total[c] += A[i, c]
            size[c] += abs(A[i, c])
        for c in range(i):
            lowest = min(lowest, A[i, c])
        for c in range(i + 1, n):
            lowest = min(lowest, A[i, c])
    worst = 0.0
    for c in range(n):
        worst = max(worst, abs(total[c]) - 8 * n * 1.1102230246251565e-16 * size[c])
    return worst > 0.0 or lowest < 0.0


@inner
def factor(A, Bx, dg, inv_eps, inv_h, real_eigenvalue, eigenvalues, LU, LZ):
    """Factors of μ/h − J for every eigenvalue, J = [[A/ε, Bx], dg] with Bx[m, n] = ∂_y(A x)/ε by rows."""
    n = A.shape[0]
    m = Bx.shape[0]
    for i in range(n):
        for c in range(n):
            LU[c, i] = -A[i, c] * inv_eps
    for k in range(m):
        for i in range(n):
            LU[n + k, i] = -Bx[k, i]
        for i in range(n + m):
            LU[i, n + k] = -dg[k, i]
    for pair in range(LZ.shape[0]):
        for c in range(n + m):
            for i in range(n + m):
                LZ[pair, 0, c, i] = LU[c, i]
                LZ[pair, 1, c, i] = 0.0
            LZ[pair, 0, c, c] += eigenvalues[pair, 0] * inv_h
            LZ[pair, 1, c, c] = eigenvalues[pair, 1] * inv_h
        factor_complex(LZ[pair, 0], LZ[pair, 1])
    for c in range(n + m):
        LU[c, c] += real_eigenvalue * inv_h
    factor_real(LU)


@inner
def residual(A, g, U, u, inv_eps, inv_h, a_inverse, R):
    """R[s, N] = F(U_j) − Σ_k (a⁻¹)_jk (U_k − u)/h; returns whether all of it is finite."""
    s, N = U.shape
    n = A.shape[1]
    finite = True
    for j in range(s):
        total = 0.0
        for i in range(n):
            acc = 0.0
            for c in range(n):
                acc += A[j, i, c] * U[j, c]
            R[j, i] = acc
            total += acc
        # 1ᵀA = 0, so this sum is rounding, which 1/ε would turn into a drift of probability
        total /= n
        for i in range(n):
            R[j, i] = (R[j, i] - total) * inv_eps
        for i in range(N - n):
            R[j, n + i] = g[j, i]
        for k in range(s):
            weight = a_inverse[j, k] * inv_h
            for c in range(N):
                R[j, c] -= weight * (U[k, c] - u[c])
        for c in range(N):
            finite = finite and np.isfinite(R[j, c])
    return finite


@inner
def linear_part(A, Bx, dg, R0, D, inv_eps, inv_h, a_inverse, R):
    """R = R0 + (J − a⁻¹/h) D, the residual that the linearised equations leave at the increment D[s, N]."""
    s, N = D.shape
    n = A.shape[1]
    m = N - n
    for j in range(s):
        total = 0.0
        for i in range(n):
            acc = 0.0
            for c in range(n):
                acc += A[j, i, c] * D[j, c]
            R[j, i] = acc
            total += acc
        total /= n
        for i in range(n):
            acc = (R[j, i] - total) * inv_eps
            for k in range(m):
                acc += Bx[j, k, i] * D[j, n + k]
            R[j, i] = R0[j, i] + acc
        for i in range(m):
            acc = R0[j, n + i]
            for c in range(N):
                acc += dg[i, c] * D[j, c]
            R[j, n + i] = acc
        for k in range(s):
            weight = a_inverse[j, k] * inv_h
            for c in range(N):
                R[j, c] -= weight * D[k, c]


@inner
def add_correction(LU, LZ, R, tableau, scale, D, inc, w):
    """Add T (Λ/h − J)⁻¹ T⁻¹ R to D; returns the scaled sizes of what was added and of D."""
    s, N = R.shape
    wr, wi = w[0], w[1]
    to_real, from_real = tableau.to_real, tableau.from_real
    to_complex, from_complex = tableau.to_complex, tableau.from_complex
    for c in range(N):
        wr[c] = 0.0
        for j in range(s):
            wr[c] += to_real[j] * R[j, c]
    solve_real(LU, wr)
    for j in range(s):
        for c in range(N):
            inc[j, c] = from_real[j] * wr[c]
    for pair in range(LZ.shape[0]):
        for c in range(N):
            wr[c] = wi[c] = 0.0
            for j in range(s):
                wr[c] += to_complex[0, pair, j] * R[j, c]
                wi[c] += to_complex[1, pair, j] * R[j, c]
        solve_complex(LZ[pair, 0], LZ[pair, 1], wr, wi)
        for j in range(s):
            for c in range(N):
                inc[j, c] += from_complex[0, pair, j] * wr[c] - from_complex[1, pair, j] * wi[c]
    added = 0.0
    size = 0.0
    for j in range(s):
        for c in range(N):
            D[j, c] += inc[j, c]
            added = max(added, abs(inc[j, c]) * scale[c])
            size = max(size, abs(D[j, c]) * scale[c])
    return added, size
