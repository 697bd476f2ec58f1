"""What a sparse generator is: the checks of `theory.generators.checks` for scipy.sparse, in time linear in the entries.

Column convention: A_ij >= 0 is the rate of the jump j -> i, columns sum to zero. Any format, matrix or array, is taken;
duplicate entries are summed, explicit zeros are no jumps, and the caller's matrix is left as it is.

The computed sum of a column of c stored entries is off by at most about c η Σ|A_ij| (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2002, § 4.2), η the unit round-off of its dtype. Columns are held to 8 c η Σ|A_ij|: with the c of
a sparse column in place of n, a rate that is missing from a chain of 10⁶ states cannot hide in the tolerance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from theory.errors import GeneratorError


class SparseRates(NamedTuple):
    """A checked generator, taken apart.

    rates: csc_array of the off-diagonal A_ij > 0, float64, sorted, no duplicates, int32 indices; n = rates.shape[0].
    exit_rate: [n] the rate out of each state, Σ_{i≠j} A_ij: the diagonal is checked against it and not used.
    dtype: that of A, float64 for integers.
    """

    rates: Any
    exit_rate: np.ndarray
    dtype: np.dtype


def checked_rates(A: Any) -> SparseRates:
    """The rates of the scipy.sparse generator A[n, n]; raises `GeneratorError` with the entry or column at fault."""
    from scipy.sparse import csc_array

    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise GeneratorError(f"A must be square, [n, n] with n >= 1; got shape {tuple(A.shape)}")
    dtype = _real_dtype(A.dtype)
    n = A.shape[0]
    coordinates = A.tocoo()
    row, column = coordinates.coords
    value = coordinates.data.astype(np.float64)
    bad = ~np.isfinite(value)
    if bad.any():
        k = int(np.argmax(bad))
        raise GeneratorError(f"A has the non-finite entry {value[k]} at [{row[k]}, {column[k]}]")
    _check_sums(row, column, value, n, float(np.finfo(dtype).eps))
    if len(value) > np.iinfo(np.int32).max // 2:
        raise GeneratorError(f"A stores {len(value)} entries; at most 2^30 are supported")
    off = row != column
    entries = (value[off], (row[off].astype(np.int32), column[off].astype(np.int32)))
    rates = csc_array(entries, shape=(n, n))
    rates.sum_duplicates()
    if rates.nnz and rates.data.min() < 0.0:
        k = int(np.argmax(rates.data < 0.0))
        at = f"[{rates.indices[k]}, {np.searchsorted(rates.indptr, k, side='right') - 1}]"
        raise GeneratorError(f"A has the negative rate {rates.data[k]:.6g} at {at}; rates A_ij, i != j, must be >= 0")
    rates.eliminate_zeros()
    return SparseRates(rates, np.asarray(rates.sum(axis=0)).ravel(), dtype)


def _real_dtype(dtype: np.dtype) -> np.dtype:
    if dtype.kind in "iu":
        return np.dtype(np.float64)
    if dtype.kind == "c":
        raise GeneratorError(f"A has complex dtype {dtype}; rates are real: pass A.real if that is meant")
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise GeneratorError(f"A has dtype {dtype}; float32 and float64 are supported: cast it yourself")
    return dtype


def _check_sums(row: np.ndarray, column: np.ndarray, value: np.ndarray, n: int, eps: float) -> None:
    sums, tolerance = _sums(column, value, n, eps)
    bad = ~(np.abs(sums) <= tolerance) | ~np.isfinite(tolerance)
    if not bad.any():
        return
    j = int(np.argmax(bad))
    if not np.isfinite(tolerance[j]):
        raise GeneratorError(f"the rates in column {j} of A overflow when added: take a larger unit of time")
    row_sums, row_tolerance = _sums(row, value, n, eps)
    hint = (
        "its rows do sum to zero, so it looks transposed: pass A.T (theory.from_row_convention converts a dense Q)"
        if (np.abs(row_sums) <= row_tolerance).all()
        else "set each diagonal entry to minus the sum of the other entries of its column"
    )
    raise GeneratorError(f"column {j} of A sums to {sums[j]:.6g}, not to zero within {tolerance[j]:.3g}; {hint}")


def _sums(line: np.ndarray, value: np.ndarray, n: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    stored = np.bincount(line, minlength=n)
    with np.errstate(over="ignore"):
        scale = np.bincount(line, weights=np.abs(value), minlength=n)
        return np.bincount(line, weights=value, minlength=n), 4.0 * stored * eps * scale  # eps = 2 η
