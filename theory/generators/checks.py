"""What a generator is: its checks, and the classes of states that it never leaves.

Column convention throughout: A_ij >= 0 is the rate of the jump j -> i for i != j, every column sums to zero, and
probability flows by dp/dt = A p. Probability texts (Norris, *Markov Chains*, 1997, ch. 2) write Q = Aᵀ, whose rows sum
to zero; `theory.from_row_convention` converts.

A set of states is a recurrent class when its states reach each other and no jump leaves it. There is exactly one
stationary distribution if and only if there is exactly one recurrent class (Norris, thm 3.5.3 and 1.2.7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from theory.errors import GeneratorError
from theory.generators.recognition import ROUNDED, Look, advice
from theory.kinds import Chain, Matrix
from theory.transforms import plain

_FLOATING = (torch.float32, torch.float64)
_LARGE = 10_000  # states from which on a dense matrix, 0.8 GB, is no way out
_SPARSE_TOO = (
    "stationary_distribution, stationary_distributions, mean_first_passage_times and hitting_probabilities (to "
    "targets), solve_sum_zero, sensitivity, certificate, kemeny_constant, relaxation_times, spectral_gap, propagate, "
    "entropy_production, has_detailed_balance, recurrent_classes, lump and sample_jumps take it sparse"
)


@dataclass(frozen=True)
class Fault:
    """Why a matrix is no generator, and the batch element in which that shows."""

    text: str
    index: tuple[int, ...]


def comes_from(A: Any, package: str) -> TypeGuard[Any]:
    """Whether A's class, or one that it derives from, is defined in `package`, which is not imported for that."""
    return any((base.__module__ + ".").startswith(package + ".") for base in type(A).__mro__)


def as_real_tensor(A: Any, name: str = "A") -> Tensor:
    """`A` as a float32 or float64 tensor that shares memory where it can; integers become float64, nothing is
    clipped.

    Arrays of other libraries are taken through `numpy.asarray`. What that would misread is refused by name: masked
    entries, tables whose rows and columns are labelled differently, sparse and symbolic matrices.
    """
    if isinstance(A, Tensor):
        if A.layout != torch.strided:
            raise GeneratorError(
                f"{name} is a tensor of layout {A.layout}; pass {name}.to_dense() or a SciPy sparse array"
            )
        tensor = A
    else:
        _refuse_what_numpy_misreads(A, name)
        try:
            array = np.asarray(A)
        except ValueError as error:
            raise GeneratorError(f"{name} is no rectangular array: {error}") from None
        if array.dtype == object or array.dtype.kind not in "iufc":
            raise GeneratorError(f"{name} has dtype {array.dtype}; pass a real floating-point or integer array")
        if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
            raise GeneratorError(f"{name} has dtype {array.dtype}; float32 and float64 are supported: cast it yourself")
        native = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        tensor = torch.from_numpy(native if native.flags.writeable else native.copy())
    if tensor.is_complex():
        raise GeneratorError(
            f"{name} has complex dtype {tensor.dtype}; rates are real: pass {name}.real if that is meant"
        )
    if tensor.dtype in _FLOATING:
        return tensor
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise GeneratorError(f"{name} has dtype {tensor.dtype}; float32 and float64 are supported: cast it yourself")
    return tensor.to(torch.float64)


def _refuse_what_numpy_misreads(A: Any, name: str) -> None:
    if comes_from(A, "scipy.sparse"):
        n = max(A.shape)
        if n <= _LARGE:
            raise GeneratorError(f"{name} is sparse, which this function does not take: pass {name}.toarray()")
        raise GeneratorError(
            f"{name} is sparse, which this function does not take, and dense it would fill {8e-9 * n * n:.3g} GB; "
            f"{_SPARSE_TOO}; or take fewer states, theory.lump({name}, partition)"
        )
    if comes_from(A, "sympy"):
        raise GeneratorError(
            f"{name} is a SymPy matrix, and this function computes in floating point: pass numpy.array({name}, float) "
            "once its symbols have values; exact algebra is in theory.symbolic"
        )
    if isinstance(A, np.ma.MaskedArray) and np.ma.is_masked(A):
        i = tuple(int(k) for k in np.argwhere(np.ma.getmaskarray(A))[0])
        raise GeneratorError(
            f"{name} has a masked entry at {list(i)}, which is no number: pass {name}.filled(0) if it means no jump"
        )
    index: Any = getattr(A, "index", None)
    columns: Any = getattr(A, "columns", None)
    labelled = columns is not None and index is not None and not callable(index) and len(index) == len(columns)
    rows: list[Any] = list(index) if labelled else []  # pyright: ignore
    names: list[Any] = list(columns) if labelled else []  # pyright: ignore
    if rows != names:
        raise GeneratorError(
            f"the rows and the columns of {name} are labelled differently, {rows[:4]} … and "
            f"{names[:4]} …: pass {name}.to_numpy() if the order of both is the same, or bring them to one "
            f"order with {name}.loc[labels, labels]"
        )


def check_generator(A: Matrix, *, unit_round_off: float | None = None) -> None:
    """Raise `GeneratorError` unless every matrix of A[..., n, n] is a generator, by columns.

    Takes Tensors and arrays with any batch shape, float32 and float64, scipy.sparse A[n, n], and SymPy matrices of
    exact entries. Off-diagonal rates must be >= 0 and each column must sum to zero within rounding, 8 n η Σ_i |A_ij|
    with η the unit round-off of A's dtype (or the one given, for rates that were computed in a lower precision): a
    bound that scales with the data. The message names the entry (and the batch element), and recognises transition
    matrices, counts, Laplacians and transposed generators.

    Examples:
        >>> check_generator([[-1.0, 2.0], [1.0, -2.0]])
    """
    if comes_from(A, "scipy.sparse"):
        from theory.generators.sparse import checked_rates

        checked_rates(A)
        return
    if comes_from(A, "sympy"):
        from theory.generators.exact import check_generator_symbolic

        check_generator_symbolic(A)
        return
    M = as_real_tensor(A)
    require_square(M, "A")
    _check(plain(M), unit_round_off, batched=M.ndim > 2)


def check_one_of_many(A: Tensor) -> None:
    """As `check_generator` for A[n, n] that a function makes in batches: the hint is what it must call on a batch."""
    _check(plain(A), None, batched=True)


def _check(M: Tensor, unit_round_off: float | None, *, batched: bool) -> None:
    fault = fault_of(M, "A", unit_round_off)
    if fault is not None:
        raise GeneratorError(f"{fault.text}; {advice(look_of(M[fault.index]), 'A', batched=batched)}")


def fault_of(M: Tensor, name: str, unit_round_off: float | None = None) -> Fault | None:
    """What keeps plain values M[..., n, n] from being a generator by columns; raises where an entry is not finite."""
    n = M.shape[-1]
    off = ~torch.eye(n, dtype=torch.bool, device=M.device)
    unset = ~torch.isfinite(M)
    if bool((unset & off).any()):
        unset = unset & off  # the rate, and not the diagonal that was made from it
    raise_first(
        unset,
        M,
        f"{name} has the non-finite entry {{value}} at {{where}}; check the rates it was built from",
    )
    negative = (M < 0) & off
    if negative.any():
        *index, i, j = (int(k) for k in negative.nonzero()[0])
        value = float(M[(*index, i, j)])
        return Fault(
            f"{name} has the negative rate {value:.6g} at [{i}, {j}]{batch_element(index)}; rates {name}_ij, i != j, "
            "must be >= 0",
            tuple(index),
        )
    relative = 8 * n * (torch.finfo(M.dtype).eps / 2 if unit_round_off is None else unit_round_off)
    defect, size, top = line_sums(M, -2)
    bad = defect.abs() > relative * size
    if not bad.any():
        return None
    *index, j = (int(k) for k in bad.nonzero()[0])
    residual, allowed = (float(sums[(*index, j)] * top[(*index, j)]) for sums in (defect, relative * size))
    return Fault(
        f"column {j} of {name}{batch_element(index)} sums to {residual:.6g}, not to zero within {allowed:.3g}",
        tuple(index),
    )


def look_of(M: Tensor) -> Look:
    """Signs and sums of one matrix of plain values."""
    n = M.shape[-1]
    off = M[~torch.eye(n, dtype=torch.bool, device=M.device)]
    relative = 8 * n * torch.finfo(M.dtype).eps / 2
    zero = [bool((defect.abs() <= relative * size).all()) for defect, size, _ in (line_sums(M, -1), line_sums(M, -2))]
    one = [bool(((M.sum(d) - 1).abs() <= ROUNDED).all()) for d in (-1, -2)]
    return Look(
        bool((off >= 0).all()),
        bool((off <= 0).all()),
        bool((M.diagonal() >= 0).all()),
        zero[0],
        zero[1],
        one[0],
        one[1],
        bool((M.round() == M).all()),
    )


def recurrent_classes(A: Chain) -> list[list[int]]:
    """The recurrent classes of one generator A[n, n], each a sorted list of states, ordered by their first state.

    Takes a dense matrix, or scipy.sparse in time linear in its entries. The diagonal is not read. Raises
    `GeneratorError` where a rate A_ij, i != j, is negative or not finite.

    Examples:
        >>> recurrent_classes([[-1.0, 0.0], [1.0, 0.0]])
        [[1]]
    """
    from scipy.sparse import csc_array

    if comes_from(A, "scipy.sparse"):
        from theory.generators.sparse import off_diagonal

        return closed_classes(off_diagonal(A, "A").rates)
    rates = as_real_tensor(A).detach().cpu()
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1] or rates.shape[0] == 0:
        raise GeneratorError(
            f"A must be one square matrix, [n, n] with n >= 1; got shape {tuple(rates.shape)}: call it once for each"
        )
    off = ~torch.eye(len(rates), dtype=torch.bool)
    wrong = off & ~((rates >= 0) & torch.isfinite(rates))
    raise_first(wrong, rates, "A has the rate {value} at {where}; rates A_ij, i != j, must be finite and >= 0")
    return closed_classes(csc_array((off & (rates > 0)).numpy()))


def closed_classes(jumps: Any) -> list[list[int]]:
    """The recurrent classes of a sparse matrix (csc) whose stored off-diagonal entries [i, j] are the jumps j -> i."""
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(jumps, directed=True, connection="strong")
    source = np.repeat(label, np.diff(jumps.indptr))
    closed = np.ones(count, dtype=bool)
    closed[source[source != label[jumps.indices]]] = False
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    return sorted(groups[c].tolist() for c in np.flatnonzero(closed))


def require_square(M: Tensor, name: str) -> None:
    """Raise `GeneratorError` unless M is [..., n, n] with n >= 1."""
    if M.ndim < 2 or M.shape[-1] != M.shape[-2] or M.shape[-1] == 0:
        raise GeneratorError(f"{name} must be square, [..., n, n] with n >= 1; got shape {tuple(M.shape)}")


def line_sums(M: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Σ M / top, Σ |M| / top and top = max |M| along dim: divided, so that no sum of finite rates overflows."""
    top = M.abs().amax(dim, keepdim=True)
    unit = M / torch.where(top > 0, top, 1.0)
    return unit.sum(dim), unit.abs().sum(dim), top.squeeze(dim)


def batch_element(index: Any) -> str:
    """Names a batch element in a message; nothing where there is no batch."""
    return f" (batch element {list(index)})" if len(index) else ""


def raise_first(bad: Tensor, M: Tensor, message: str) -> None:
    """Raise `GeneratorError` at the first entry of M[..., n, n] that is bad; {value} and {where} are filled in."""
    if bad.any():
        index = tuple(int(i) for i in bad.nonzero()[0])
        where = f"[{index[-2]}, {index[-1]}]{batch_element(index[:-2])}"
        raise GeneratorError(message.format(value=f"{float(M[index]):.6g}", where=where))
