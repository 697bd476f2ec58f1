"""What an exact generator is: the checks and the doors of this package for SymPy matrices.

Entries must be exact (integers, rationals, algebraic numbers, symbols); one that is not identically zero is taken as
positive, whatever SymPy knows of its symbols. Conventions as in `theory.generators.checks`.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import MatrixBase

from theory.errors import GeneratorError
from theory.generators.recognition import Look, advice


def check_generator_symbolic(A: Any) -> None:
    """Raise `GeneratorError` unless A[n, n] is a generator with exact entries, in column convention.

    Raises too where SymPy cannot show that a column sums to zero, and for floating-point entries: they are not exact.
    """
    if not isinstance(A, MatrixBase):
        raise GeneratorError(f"A must be a sympy Matrix, got {type(A).__name__}")
    rows, columns = A.shape
    if rows != columns or rows == 0:
        raise GeneratorError(f"A must be square, [n, n] with n >= 1; got shape {A.shape}")
    for i in range(rows):
        for j in range(rows):
            _check_entry(A[i, j], i, j)
            if i != j and A[i, j].is_negative:
                raise GeneratorError(
                    f"A has the negative rate {A[i, j]} at [{i}, {j}]; rates A_ij, i != j, must be >= 0; "
                    f"{advice(_look(A), 'A')}"
                )
    for j in range(rows):
        total: Any = sum(A[:, j])
        if not vanishes(total):
            raise GeneratorError(
                f"column {j} of A sums to {sympy.simplify(total)}, not to zero; {advice(_look(A), 'A')}"
            )


def from_rates_symbolic(rates: Any) -> Any:
    """The generator with the off-diagonal entries of a SymPy matrix rates[n, n]."""
    _require_exact_square(rates, "rates")
    A = rates.copy().as_mutable()
    for j in range(rates.rows):
        for i in range(rates.rows):
            if i != j and rates[i, j].is_negative:
                raise GeneratorError(f"rates has the rate {rates[i, j]} at [{i}, {j}]; it must be >= 0: correct it")
        A[j, j] = -sum((rates[i, j] for i in range(rates.rows) if i != j), sympy.Integer(0))
    return rates._new(A)


def from_row_convention_symbolic(Q: Any) -> Any:
    """Qᵀ of a SymPy rate matrix whose rows sum to zero, checked."""
    _require_exact_square(Q, "Q")
    bad = [i for i in range(Q.rows) if not vanishes(sum(Q[i, :]))]
    negative = any(i != j and Q[i, j].is_negative for i in range(Q.rows) for j in range(Q.rows))
    if bad or negative:
        fault = f"row {bad[0]} sums to {sympy.simplify(_total(Q[bad[0], :]))}" if bad else "a rate is negative"
        raise GeneratorError(f"Q is no rate matrix whose rows sum to zero: {fault}; {advice(_look(Q), 'Q')}")
    return Q.T


def from_transition_matrix_symbolic(P: Any, *, by_row: bool) -> Any:
    """The generator P − I, by columns, of an exact SymPy transition matrix."""
    _require_exact_square(P, "P")
    columns = P.T if by_row else P
    for j in range(P.rows):
        total: Any = sum(columns[:, j])
        if not vanishes(total - 1):
            line = "row" if by_row else "column"
            raise GeneratorError(f"{line} {j} of P sums to {sympy.simplify(total)}, not to one: correct its entries")
    return from_rates_symbolic(columns)


def _total(line: Any) -> Any:
    return sum(line)


def _require_exact_square(M: Any, name: str) -> None:
    if M.shape[0] != M.shape[1] or M.shape[0] == 0:
        raise GeneratorError(f"{name} must be square, [n, n] with n >= 1; got shape {M.shape}")
    for i in range(M.rows):
        for j in range(M.rows):
            _check_entry(M[i, j], i, j)


def _look(M: Any) -> Look:
    n = M.rows
    off = [M[i, j] for i in range(n) for j in range(n) if i != j]
    rows, columns = [sum(M[i, :]) for i in range(n)], [sum(M[:, j]) for j in range(n)]
    return Look(
        not any(value.is_negative for value in off),
        not any(value.is_positive for value in off),
        not any(M[i, i].is_negative for i in range(n)),
        all(vanishes(total) for total in rows),
        all(vanishes(total) for total in columns),
        all(vanishes(total - 1) for total in rows),
        all(vanishes(total - 1) for total in columns),
        all(value.is_Integer for value in M),
    )


def _check_entry(value: Any, i: int, j: int) -> None:
    where = f"[{i}, {j}]"
    if value.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
        raise GeneratorError(f"A has the non-finite entry {value} at {where}")
    if value.has(sympy.Float):
        raise GeneratorError(
            f"A has the floating-point entry {value} at {where}; exact algebra needs exact numbers: pass "
            "sympy.Rational, or a float array to theory.stationary_distribution"
        )
    if value.is_real is False:
        raise GeneratorError(f"A has the complex entry {value} at {where}; rates are real")


def vanishes(value: Any) -> bool:
    """Whether an exact expression is zero."""
    value = sympy.sympify(value)
    if value.is_number and value.is_Rational:
        return bool(value == 0)
    return bool(sympy.expand(value) == 0 or sympy.simplify(value) == 0)
