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
from theory.generators.recognition import NOT_BELOW, ROUNDED, Look, advice, missed_sum, other_convention


class SparseRates(NamedTuple):
    """A checked generator, taken apart.

    rates: csc_array of the off-diagonal A_ij > 0, float64, sorted, no duplicates, int32 indices; n = rates.shape[0].
    exit_rate: [n] the rate out of each state, Σ_{i≠j} A_ij: the diagonal is checked against it and not used.
    dtype: that of A, float64 for integers.
    """

    rates: Any
    exit_rate: np.ndarray
    dtype: np.dtype


class _Entries(NamedTuple):
    """Finite entries as stored, [row, column] value, of an [n, n] matrix."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    n: int
    dtype: np.dtype


def checked_rates(A: Any) -> SparseRates:
    """The rates of the scipy.sparse generator A[n, n]; raises `GeneratorError` with the entry or column at fault."""
    entries = _entries(A, "A")
    found = _rates(entries)
    fault = _negative(found, "A") or _unbalanced(entries, "A")
    if fault:
        raise GeneratorError(f"{fault}; {advice(_look(entries), 'A')}")
    return found


def off_diagonal(A: Any, name: str) -> SparseRates:
    """The rates of A[n, n], whose diagonal is not read; raises `GeneratorError` at one that is negative or infinite."""
    found = _rates(_entries(A, name, diagonal=False))
    fault = _negative(found, name)
    if fault:
        raise GeneratorError(f"{fault}: correct it, or write 0 for no jump")
    return found


def completed(found: SparseRates) -> Any:
    """The generator (csc_array) with these rates, in their dtype."""
    from scipy.sparse import csc_array, diags_array

    return csc_array(found.rates - diags_array(found.exit_rate)).astype(found.dtype)


def transposed(Q: Any) -> Any:
    """Qᵀ (csc_array) of a sparse rate matrix by rows, checked."""
    from scipy.sparse import csc_array

    by_row = _entries(Q, "Q")
    flipped = by_row._replace(row=by_row.column, column=by_row.row)
    fault = _negative(_rates(flipped), "Qᵀ") or _unbalanced(flipped, "Qᵀ")
    if fault:
        raise GeneratorError(f"Q is no rate matrix whose rows sum to zero: {fault}; {advice(_look(by_row), 'Q')}")
    return csc_array(Q.T)


def require_unit_sums(P: Any, by_row: bool) -> None:
    """Raise `GeneratorError` unless P >= 0 and its rows (or columns) sum to one within 8 c η, c entries in the line."""
    entries = _entries(P, "P")
    below = entries.value < 0
    if below.any():
        k = int(np.argmax(below))
        raise GeneratorError(
            f"P has the entry {entries.value[k]:.6g} at [{entries.row[k]}, {entries.column[k]}]; {NOT_BELOW}"
        )
    line, across = (entries.row, entries.column) if by_row else (entries.column, entries.row)
    off = [
        np.abs(sums - 1) > tolerance for sums, tolerance in (_sums(x, entries, entries.value) for x in (line, across))
    ]
    if off[0].any():
        k = int(np.argmax(off[0]))
        total = float(_sums(line, entries, entries.value)[0][k])
        raise GeneratorError(
            missed_sum("row" if by_row else "column", k, "", total) + other_convention(not off[1].any(), by_row)
        )


def counts_by_column(C: Any) -> Any:
    """Counts C[n, n] >= 0 as a csc_array of float64; raises `GeneratorError` at one that is negative or infinite."""
    from scipy.sparse import csc_array

    entries = _entries(C, "C")
    counts = csc_array((entries.value, (entries.row, entries.column)), shape=(entries.n, entries.n))
    counts.sum_duplicates()
    if counts.nnz and counts.data.min() < 0:
        raise GeneratorError(f"C has the count {counts.data.min():.6g}; counts must be >= 0: set it to 0")
    return counts


def from_weights(weights: Any) -> Any:
    """The generator P − I (csc_array) with P the columns of weights[n, n] (csc) over their sums."""
    top = np.asarray(weights.max(axis=0).todense()).ravel()
    of_column = np.repeat(np.arange(weights.shape[1]), np.diff(weights.indptr))
    share = weights.copy()
    share.data = share.data / top[of_column]
    share.data /= np.asarray(share.sum(axis=0)).ravel()[of_column]
    return completed(off_diagonal(share, "C"))


def _entries(A: Any, name: str, *, diagonal: bool = True) -> _Entries:
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise GeneratorError(f"{name} must be square, [n, n] with n >= 1; got shape {tuple(A.shape)}")
    dtype = _real_dtype(A.dtype, name)
    coordinates = A.tocoo()
    row, column = coordinates.coords
    value = coordinates.data.astype(np.float64)
    if len(value) > np.iinfo(np.int32).max // 2:
        raise GeneratorError(f"{name} stores {len(value)} entries; at most 2^30 are supported: lump states")
    bad = ~np.isfinite(value) & (diagonal | (row != column))
    if bad.any():
        k = int(np.argmax(bad))
        raise GeneratorError(
            f"{name} has the non-finite entry {value[k]} at [{row[k]}, {column[k]}]; check the rates it was built from"
        )
    return _Entries(row, column, value, A.shape[0], dtype)


def _rates(entries: _Entries) -> SparseRates:
    from scipy.sparse import csc_array

    off = entries.row != entries.column
    coordinates = (entries.row[off].astype(np.int32), entries.column[off].astype(np.int32))
    rates = csc_array((entries.value[off], coordinates), shape=(entries.n, entries.n))
    rates.sum_duplicates()
    rates.eliminate_zeros()
    with np.errstate(over="ignore"):
        return SparseRates(rates, np.asarray(rates.sum(axis=0)).ravel(), entries.dtype)


def _real_dtype(dtype: np.dtype, name: str) -> np.dtype:
    if dtype.kind in "iu":
        return np.dtype(np.float64)
    if dtype.kind == "c":
        raise GeneratorError(f"{name} has complex dtype {dtype}; rates are real: pass {name}.real if that is meant")
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise GeneratorError(f"{name} has dtype {dtype}; float32 and float64 are supported: cast it yourself")
    return dtype


def _negative(found: SparseRates, name: str) -> str:
    rates = found.rates
    if not rates.nnz or rates.data.min() >= 0.0:
        return ""
    k = int(np.argmax(rates.data < 0.0))
    at = f"[{rates.indices[k]}, {np.searchsorted(rates.indptr, k, side='right') - 1}]"
    return f"{name} has the negative rate {rates.data[k]:.6g} at {at}; rates {name}_ij, i != j, must be >= 0"


def _unbalanced(entries: _Entries, name: str) -> str:
    sums, tolerance = _sums(entries.column, entries, entries.value)
    bad = ~(np.abs(sums) <= tolerance) | ~np.isfinite(tolerance)
    if not bad.any():
        return ""
    j = int(np.argmax(bad))
    if not np.isfinite(tolerance[j]):
        raise GeneratorError(f"the rates in column {j} of {name} overflow when added: take a larger unit of time")
    return f"column {j} of {name} sums to {sums[j]:.6g}, not to zero within {tolerance[j]:.3g}"


def _look(entries: _Entries) -> Look:
    off = entries.value[entries.row != entries.column]
    zero, one = [], []
    for line in (entries.row, entries.column):
        sums, tolerance = _sums(line, entries, entries.value)
        zero.append(bool((np.abs(sums) <= tolerance).all()))
        one.append(bool((np.abs(sums - 1) <= ROUNDED).all()))
    return Look(
        positive=bool((off >= 0).all()),
        negative=bool((off <= 0).all()),
        diagonal_positive=bool((entries.value[entries.row == entries.column] >= 0).all()),
        rows_zero=zero[0],
        columns_zero=zero[1],
        rows_one=one[0],
        columns_one=one[1],
        whole=bool((entries.value == np.round(entries.value)).all()),
    )


def _sums(line: np.ndarray, entries: _Entries, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each line, and the rounding that they may carry."""
    stored = np.bincount(line, minlength=entries.n)
    with np.errstate(over="ignore"):
        scale = np.bincount(line, weights=np.abs(value), minlength=entries.n)
        total = np.bincount(line, weights=value, minlength=entries.n)
        return total, 4.0 * stored * float(np.finfo(entries.dtype).eps) * scale  # eps = 2 η
