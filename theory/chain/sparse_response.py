"""How p_st of a large sparse chain responds and relaxes: solves with A, the adjoint of p_st, the certificate, modes.

All of it rests on one elimination of the chain stopped at its likeliest state: `theory.stationary.sparse.response`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.errors import GeneratorError, NumericalError
from theory.generators.checks import comes_from
from theory.generators.sparse import checked_rates
from theory.kinds import Columns, Dense, Sparse
from theory.stationary.sparse.distribution import sparse_stationary_distribution
from theory.stationary.sparse.response import Response


def rate_gradient(A: Sparse, gradient: Dense) -> Columns:
    """∂f/∂A_ij for every stored rate of the scipy.sparse generator A[n, n], given gradient[n] = ∂f/∂p_st; a csc_array.

    A rate moves with its diagonal entry, as in `stationary_distribution` of tensors; diagonal entries are 0. Two sparse
    eliminations, one for p_st and one for the adjoint. float64. Raises as `stationary_distribution` does, `ValueError`
    for a gradient of another shape or with NaN.

    Examples:
        >>> from scipy.sparse import csc_array
        >>> rate_gradient(csc_array([[-1.0, 3.0], [1.0, -3.0]]), [1.0, 0.0]).toarray().tolist()
        [[0.0, 0.0625], [-0.1875, 0.0]]
    """
    from scipy.sparse import csc_array

    if not comes_from(A, "scipy.sparse"):
        raise GeneratorError(
            "A is not scipy.sparse: pass scipy.sparse.csc_array(A); of a tensor, dense or sparse, backward() of "
            "theory.stationary_distribution(A) gives the same gradient"
        )
    vector = _vector(A, gradient, "gradient")
    response = Response(A)
    lam = response.adjoint(vector)
    rates = response.found.rates.tocoo()
    i, j = rates.coords
    return csc_array(((lam[i] - lam[j]) * response.p[j], (i, j)), shape=rates.shape)


def sparse_solve_sum_zero(A: Any, v: Any, p: Any) -> Tensor:
    """A^# v [n] of the scipy.sparse generator A; see `theory.solve_sum_zero`."""
    vector = _vector(A, v, "v")
    return torch.from_numpy(Response(A, None if p is None else _vector(A, p, "p")).solve(vector))


def sparse_sensitivity(A: Any, dA: Any) -> Tensor:
    """−A^# dA p_st [n] of scipy.sparse A and dA; see `theory.sensitivity`."""
    from scipy.sparse import issparse

    if not issparse(dA) or dA.shape != A.shape:
        raise ValueError(
            f"dA must be like A, scipy.sparse of shape {list(A.shape)}: pass scipy.sparse.csc_array(dA); got "
            f"{type(dA).__name__} {list(getattr(dA, 'shape', []))}"
        )
    response = Response(A)
    direction = dA.tocsc().astype(np.float64)
    sums = np.asarray(direction.sum(axis=0)).ravel()
    size = np.asarray(abs(direction).sum(axis=0)).ravel() + 2 * response.found.exit_rate
    stored = np.diff(direction.indptr) + np.diff(response.found.rates.indptr) + 1
    bad = ~(np.abs(sums) <= 4 * stored * float(np.finfo(response.found.dtype).eps) * size)
    if bad.any():
        j = int(np.argmax(bad))
        raise ValueError(f"the columns of dA must sum to zero, and be finite; column {j} sums to {sums[j]:.3g}")
    return torch.from_numpy(-response.solve(direction @ response.p - sums * response.p))


def sparse_certificate(A: Any, q: Any) -> Tensor:
    """An upper bound on TV(q, p_st) [] of the scipy.sparse generator A and q[n], that needs no p_st.

    For any root: q − p = G d − p 1ᵀG d, d = A q, so TV <= ½ (‖G d‖₁ + |1ᵀG d|); the rounding δ in d adds at most mᵀδ, m
    the expected times to the root. The bound holds whatever the root is; it is sharpest, within a factor of two or so,
    at a likely state, so one is looked for with p_st, of which nothing else is used.
    """
    from theory.stationary.sparse.stopped import reaching, stopped

    found = checked_rates(A)
    vector = _vector(A, q, "q")
    n, unit = len(vector), np.finfo(np.float64).eps / 2
    size = np.abs(vector).sum()
    mass_error = abs(vector.sum() - 1)
    given = np.finfo(np.asarray(q).dtype).eps / 2 if np.asarray(q).dtype.kind == "f" else unit
    if not mass_error <= 16 * given * (n * size + 1):
        raise ValueError(f"q must be finite and sum to 1; it sums to 1 + {vector.sum() - 1:.6g}")
    trivial = 0.5 * (size + 1)
    free = np.ones(n, bool)
    free[int(np.argmax(sparse_stationary_distribution(A) * found.exit_rate))] = False
    if n == 1:
        return torch.tensor(min(trivial, mass_error), dtype=torch.float64)
    if not reaching(found.rates.tocsr(), np.flatnonzero(~free).tolist()).all():
        # the root is not reached from everywhere
        return torch.tensor(trivial, dtype=torch.float64)
    chain, states = stopped(found, free)
    d = found.rates @ vector - found.exit_rate * vector
    terms = np.diff(found.rates.tocsr().indptr) + np.diff(found.rates.indptr) + 2
    rounding = 2 * terms * unit * (found.rates @ np.abs(vector) + found.exit_rate * np.abs(vector))
    parts = np.stack([np.maximum(d, 0), np.maximum(-d, 0), rounding], 1)[states]
    x = chain.visits(parts)
    moved = x[:, 0] - x[:, 1]
    slack = x[:, 2].sum() + 16 * n * unit * x.sum()  # entrywise error of the elimination
    bound = 0.5 * (np.abs(moved).sum() + abs(moved.sum())) + slack + 0.5 * (mass_error + n * unit * size)
    bound *= 1 + 1e-12
    return torch.tensor(min(float(bound), trivial) if np.isfinite(bound) else trivial, dtype=torch.float64)


def sparse_relaxation_times(A: Any, k: int) -> Tensor:
    """The k longest relaxation times of the scipy.sparse generator A; see `theory.relaxation_times`."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    n = A.shape[0]
    if not 1 <= k <= n - 3:
        raise ValueError(f"k must be at most n − 3 = {n - 3} for a sparse A; got {k}: pass A.toarray() for more modes")
    response = Response(A)

    def apply(v: np.ndarray) -> np.ndarray:
        v = v.ravel()
        return -response.solve(v - response.p * v.sum())

    count = min(n - 2, max(2 * k, k + 10))
    start = np.random.default_rng(0).standard_normal(n)
    make: Any = LinearOperator
    operator = make((n, n), matvec=apply, dtype=np.float64)
    try:
        found: Any = eigs(operator, k=count, which="LM", v0=start - response.p * start.sum(), return_eigenvectors=False)
    except ArpackError as error:
        raise NumericalError(
            f"the slowest modes do not converge: {error}; ask for another k, so that no cluster of modes is cut"
        ) from None
    times = np.sort(np.abs(found) ** 2 / found.real)[::-1]
    return torch.from_numpy(times[:k].copy())


def _vector(A: Any, v: Any, name: str) -> np.ndarray:
    array = np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v)
    if array.shape != (A.shape[0],) or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} must be [{A.shape[0]}], real, for a sparse A; got shape {list(array.shape)} of {array.dtype}: "
            "call it once for each vector"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; entry {int(np.argmin(np.isfinite(array)))} is not")
    return array.astype(np.float64)
