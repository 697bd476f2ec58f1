"""LU factors of small real and complex matrices without pivoting, compiled, stored by columns (M[k, i] is entry i, k).

The matrices are μ/h − J with Re μ > 0, J = [[A/ε, ∂_y(Ax)/ε], [∂_x g, ∂_y g]]. The leading block μ/h − A/ε is
diagonally dominant by columns because 1ᵀA = 0, so elimination in the given order needs no pivoting there (Golub & Van
Loan, *Matrix Computations*, 4th ed., thm 3.4.3); the last rows are the m slow variables.
"""

from __future__ import annotations

from theory.compiled import inner


@inner
def factor_real(M):
    """Overwrite M[N, N] by its factors, the reciprocals of the pivots on the diagonal."""
    N = M.shape[0]
    for k in range(N):
        pivot = 1.0 / M[k, k]
        M[k, k] = pivot
        for i in range(k + 1, N):
            M[k, i] *= pivot
        for j in range(k + 1, N):
            top = M[j, k]
            if top == 0.0:
                continue
            for i in range(k + 1, N):
                M[j, i] -= M[k, i] * top


@inner
def solve_real(M, b):
    """Overwrite b[N] by the solution, M from `factor_real`."""
    N = M.shape[0]
    for k in range(N):
        top = b[k]
        for i in range(k + 1, N):
            b[i] -= M[k, i] * top
    for k in range(N - 1, -1, -1):
        top = b[k] * M[k, k]
        b[k] = top
        for i in range(k):
            b[i] -= M[k, i] * top


@inner
def factor_complex(re, im):
    """As `factor_real` for re + i im, real and imaginary parts apart so that the loops vectorise."""
    N = re.shape[0]
    for k in range(N):
        size = re[k, k] * re[k, k] + im[k, k] * im[k, k]
        pr = re[k, k] / size
        pi = -im[k, k] / size
        re[k, k] = pr
        im[k, k] = pi
        for i in range(k + 1, N):
            scaled = re[k, i] * pr - im[k, i] * pi
            im[k, i] = re[k, i] * pi + im[k, i] * pr
            re[k, i] = scaled
        for j in range(k + 1, N):
            tr = re[j, k]
            ti = im[j, k]
            if tr == 0.0 and ti == 0.0:
                continue
            for i in range(k + 1, N):
                re[j, i] -= re[k, i] * tr - im[k, i] * ti
                im[j, i] -= re[k, i] * ti + im[k, i] * tr


@inner
def solve_complex(re, im, b, c):
    """Overwrite b + ic by the solution, re + i im from `factor_complex`."""
    N = re.shape[0]
    for k in range(N):
        tr = b[k]
        ti = c[k]
        for i in range(k + 1, N):
            b[i] -= re[k, i] * tr - im[k, i] * ti
            c[i] -= re[k, i] * ti + im[k, i] * tr
    for k in range(N - 1, -1, -1):
        tr = b[k] * re[k, k] - c[k] * im[k, k]
        ti = b[k] * im[k, k] + c[k] * re[k, k]
        b[k] = tr
        c[k] = ti
        for i in range(k):
            b[i] -= re[k, i] * tr - im[k, i] * ti
            c[i] -= re[k, i] * ti + im[k, i] * tr
