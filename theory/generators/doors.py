"""Doors for what people have: rates, rate matrices by rows, transition matrices and counts become generators.

A transition matrix P of a chain in discrete time and the generator A = P − I (by columns) share their stationary
distribution, recurrent classes, hitting probabilities and, in steps, mean first-passage times: state j is left with the
probability 1 − P_jj of a step, and A leaves it at that rate. Only what lies off the diagonal is read, so that a
probability of 1e-37 beside a diagonal of 1 − 1e-37 = 1 is kept. What must sum to one is checked and never rescaled.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from theory.errors import GeneratorError
from theory.generators.checks import (
    as_real_tensor,
    batch_element,
    comes_from,
    fault_of,
    look_of,
    raise_first,
    require_square,
)
from theory.generators.recognition import NOT_BELOW, advice, missed_sum, other_convention
from theory.kinds import Chain, Columns, Dense, Matrix, Sparse, Symbolic
from theory.transforms import plain, unrecorded


@overload
def from_rates(rates: Symbolic) -> Symbolic: ...
@overload
def from_rates(rates: Sparse) -> Columns: ...
@overload
def from_rates(rates: Dense) -> Tensor: ...
def from_rates(rates: Matrix) -> Any:
    """The generator with off-diagonal rates[..., i, j] = rate j -> i >= 0; the diagonal given is ignored and replaced.

    Takes a Tensor (batched, differentiable, float32 stays float32) or an array, and gives a Tensor; scipy.sparse gives
    a csc_array, a SymPy Matrix a Matrix. Constant matrices times rates, `from_rates(lam * birth + death)`, are how most
    models are written. Raises `GeneratorError` with the entry where a rate is negative or not finite.

    Examples:
        >>> from_rates([[0, 3], [2, 0]]).tolist()
        [[-2.0, 3.0], [2.0, -3.0]]
    """
    if comes_from(rates, "scipy.sparse"):
        from theory.generators.sparse import completed, off_diagonal

        return completed(off_diagonal(rates, "rates"))
    if comes_from(rates, "sympy"):
        from theory.generators.exact import from_rates_symbolic

        return from_rates_symbolic(rates)
    R = as_real_tensor(rates, "rates")
    require_square(R, "rates")
    return _completed(R, "rates", "the rate")


@overload
def from_row_convention(Q: Symbolic) -> Symbolic: ...
@overload
def from_row_convention(Q: Sparse) -> Columns: ...
@overload
def from_row_convention(Q: Dense) -> Tensor: ...
def from_row_convention(Q: Matrix) -> Any:
    """A = Qᵀ for a rate matrix Q[..., n, n] of the probability texts, whose rows sum to zero; A is checked.

    Takes what `from_rates` takes, and gives the same kinds. Raises `GeneratorError`; a transition matrix, counts and a
    Laplacian are recognised and told their door.

    Examples:
        >>> from_row_convention([[-2.0, 2.0], [3.0, -3.0]]).tolist()
        [[-2.0, 3.0], [2.0, -3.0]]
    """
    if comes_from(Q, "scipy.sparse"):
        from theory.generators.sparse import transposed

        return transposed(Q)
    if comes_from(Q, "sympy"):
        from theory.generators.exact import from_row_convention_symbolic

        return from_row_convention_symbolic(Q)
    rows = as_real_tensor(Q, "Q")
    require_square(rows, "Q")
    values = plain(rows)
    fault = fault_of(values.transpose(-1, -2), "Qᵀ")
    if fault is not None:
        told = advice(look_of(values[fault.index]), "Q", batched=values.ndim > 2)
        raise GeneratorError(f"Q is no rate matrix whose rows sum to zero: {fault.text}; {told}")
    return rows.transpose(-1, -2)


@overload
def from_transition_matrix(P: Symbolic, convention: str = "row") -> Symbolic: ...
@overload
def from_transition_matrix(P: Sparse, convention: str = "row") -> Columns: ...
@overload
def from_transition_matrix(P: Dense, convention: str = "row") -> Tensor: ...
def from_transition_matrix(P: Matrix, convention: str = "row") -> Any:
    """The generator A = P − I, by columns, of a transition matrix P[..., n, n] of a chain in discrete time.

    convention: "row" where P[i, j] is the probability of i -> j and rows sum to one, "column" where it is that of
    j -> i. Sums are checked within 8 n η; the diagonal is not used otherwise. Kinds as `from_rates`. Times of A are in
    steps of P. Raises `GeneratorError` for entries that are negative or not finite and for lines that miss one.

    Examples:
        >>> from_transition_matrix([[0.5, 0.5], [0.25, 0.75]]).tolist()
        [[-0.5, 0.25], [0.5, -0.25]]
    """
    by_row = _is_by_row(convention)
    if comes_from(P, "scipy.sparse"):
        from theory.generators.sparse import completed, off_diagonal, require_unit_sums

        require_unit_sums(P, by_row)
        return completed(off_diagonal(P.T if by_row else P, "P"))
    if comes_from(P, "sympy"):
        from theory.generators.exact import from_transition_matrix_symbolic

        return from_transition_matrix_symbolic(P, by_row=by_row)
    given = as_real_tensor(P, "P")
    require_square(given, "P")
    values = plain(given)
    n = given.shape[-1]
    raise_first(~((values >= 0) & torch.isfinite(values)), values, "P has the entry {value} at {where}; " + NOT_BELOW)
    sums = values.sum(-1 if by_row else -2)
    bad = (sums - 1).abs() > 8 * n * torch.finfo(given.dtype).eps / 2
    if bad.any():
        *index, k = (int(i) for i in bad.nonzero()[0])
        across = values[tuple(index)].sum(-2 if by_row else -1)
        raise GeneratorError(
            missed_sum("row" if by_row else "column", k, batch_element(index), float(sums[(*index, k)]))
            + other_convention(bool(((across - 1).abs() <= 8 * n * torch.finfo(given.dtype).eps / 2).all()), by_row)
        )
    return _completed(given.transpose(-1, -2) if by_row else given, "P", "the probability")


@overload
def from_counts(C: Sparse, convention: str = "row", drop_unvisited: Literal[False] = False) -> Columns: ...
@overload
def from_counts(C: Dense, convention: str = "row", drop_unvisited: Literal[False] = False) -> Tensor: ...
@overload
def from_counts(C: Sparse, convention: str = "row", *, drop_unvisited: Literal[True]) -> tuple[Columns, np.ndarray]: ...
@overload
def from_counts(C: Dense, convention: str = "row", *, drop_unvisited: Literal[True]) -> tuple[Tensor, np.ndarray]: ...
def from_counts(C: Chain, convention: str = "row", drop_unvisited: bool = False) -> Any:
    """The generator A = P − I of the transition matrix estimated from counts C[..., n, n] >= 0 of transitions.

    convention: "row" where C[i, j] counts i -> j, "column" where it counts j -> i. P is each state's counts over their
    sum; nothing is added or smoothed. drop_unvisited=True leaves out the states without any count, of one matrix, and
    returns (A, kept): the states kept, as the labels of a DataFrame or as integers. Kinds as `from_rates`, without
    SymPy. Counts may be weighted: any size above 0 is a count.

    Raises `GeneratorError` that names states never visited, states that are entered and never left (the end of a
    record: whether they absorb, the counts do not say), and counts that are negative or not finite.

    Examples:
        >>> from_counts([[6, 2], [1, 3]]).tolist()
        [[-0.25, 0.25], [0.25, -0.25]]
    """
    by_row = _is_by_row(convention)
    labels = getattr(C, "columns", None)
    if comes_from(C, "scipy.sparse"):
        from theory.generators.sparse import counts_by_column

        by_column: Any = counts_by_column(C.T if by_row else C)
        out, into = np.asarray(by_column.sum(axis=0)).ravel(), np.asarray(by_column.sum(axis=1)).ravel()
    else:
        given = as_real_tensor(C, "C")
        require_square(given, "C")
        values = plain(given)
        raise_first(
            ~((values >= 0) & torch.isfinite(values)), values, "C has the count {value} at {where}; " + NOT_BELOW
        )
        by_column = given.transpose(-1, -2) if by_row else given
        out, into = (plain(by_column).sum(d).cpu().numpy() for d in (-2, -1))
    kept = _visited(out, into, drop_unvisited, labels)
    if kept is not None:
        by_column = by_column[kept][:, kept]
    if comes_from(C, "scipy.sparse"):
        from theory.generators.sparse import from_weights

        A: Any = from_weights(by_column)
    else:
        top = by_column.amax(-2, keepdim=True)  # counts of 1e-319 would lose digits in their sum's reciprocal
        share = by_column / top
        A = _completed(share / share.sum(-2, keepdim=True), "C", "the count")
    if not drop_unvisited:
        return A
    states = np.arange(A.shape[-1]) if kept is None else kept
    return A, (states if labels is None else labels[states])


def _completed(R: Tensor, name: str, what: str) -> Tensor:
    """R's rates with the diagonal that makes columns sum to zero."""
    diagonal = torch.eye(R.shape[-1], dtype=torch.bool, device=R.device)
    with unrecorded():
        values = plain(R)
        raise_first(
            ~diagonal & ~((values >= 0) & torch.isfinite(values)),
            values,
            f"{name} has {what} {{value}} at {{where}}; off the diagonal it must be finite and >= 0: correct it, or "
            "write 0 for no jump",
        )
    off = R.masked_fill(diagonal, 0.0)
    return off - torch.diag_embed(off.sum(-2))


def _is_by_row(convention: Any) -> bool:
    if convention not in ("row", "column"):
        raise ValueError(f'convention must be "row" (entry [i, j] is i -> j) or "column" (j -> i), got {convention!r}')
    return convention == "row"


def _visited(out: np.ndarray, into: np.ndarray, drop: bool, labels: Any) -> np.ndarray | None:
    """The states to keep, or None for all; raises where a state has no counts to go by."""

    def named(states: np.ndarray) -> str:
        shown = [labels[int(k)] if labels is not None else int(k) for k in states[:8]]
        return f"{shown}" + (f" and {len(states) - 8} more" if len(states) > 8 else "")

    batched = out.ndim > 1
    if batched and drop:
        raise ValueError(
            "drop_unvisited takes one matrix of counts, each of which may keep other states: call it for each"
        )
    unvisited, stuck = (out == 0) & (into == 0), (out == 0) & (into > 0)
    if stuck.any():
        *index, _ = np.argwhere(stuck)[0].tolist()
        states = np.flatnonzero(stuck[tuple(index)])
        raise GeneratorError(
            f"states {named(states)}{batch_element(index)} of C are entered and no count leaves them: where the record "
            "ended there, leave their rows and columns out; where they absorb, count a stay, C[k, k] = 1"
        )
    if not unvisited.any():
        return None
    *index, _ = np.argwhere(unvisited)[0].tolist()
    states = np.flatnonzero(unvisited[tuple(index)])
    if drop and len(states) < out.shape[-1]:
        return np.flatnonzero(~unvisited)
    raise GeneratorError(
        f"states {named(states)}{batch_element(index)} of C were never visited: no count says where they lead; pass "
        "drop_unvisited=True to leave them out and get (A, kept)"
    )
