"""What a generator is: its checks, its constructors, and the classes of states that it never leaves.

Column convention throughout: A_ij >= 0 is the rate of the jump j -> i for i != j, every column sums to zero, and
probability flows by dp/dt = A p. Probability texts (Norris, *Markov Chains*, 1997, ch. 2) write Q = Aᵀ, whose rows sum
to zero; `from_row_convention` converts.

A set of states is a recurrent class when its states reach each other and no jump leaves it. There is exactly one
stationary distribution if and only if there is exactly one recurrent class (Norris, thm 3.5.3 and 1.2.7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.errors import GeneratorError
from theory.transforms import plain

_FLOATING = (torch.float32, torch.float64)


def as_real_tensor(A: Any, name: str = "A") -> Tensor:
    """`A` as a float32 or float64 tensor that shares memory where it can; integers become float64, nothing is
    clipped."""
    if isinstance(A, Tensor):
        if A.layout != torch.strided:
            raise GeneratorError(
                f"{name} is a tensor of layout {A.layout}; pass {name}.to_dense() or a SciPy sparse array"
            )
        tensor = A
    else:
        if type(A).__module__.startswith("scipy.sparse"):
            raise GeneratorError(f"{name} is sparse, which this function does not take: pass {name}.toarray()")
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


def check_generator(A: Any, *, unit_round_off: float | None = None) -> None:
    """Raise `GeneratorError` unless every matrix of A[..., n, n] (or scipy.sparse A[n, n]) is a generator, by columns.

    Off-diagonal rates must be >= 0 and each column must sum to zero within rounding, 8 n η Σ_i |A_ij| with η the unit
    round-off of A's dtype (or the one given, for rates that were computed in a lower precision): a bound that scales
    with the data. The message names the entry (and the batch element).
    """
    if type(A).__module__.startswith("scipy.sparse"):
        from theory.generators.sparse import checked_rates

        checked_rates(A)
        return
    M = as_real_tensor(A)
    _require_square(M, "A")
    M = plain(M)
    n = M.shape[-1]
    _raise_first(
        ~torch.isfinite(M), M, "A has the non-finite entry {value} at {where}; check the rates it was built from"
    )
    eye = torch.eye(n, dtype=torch.bool, device=M.device)
    _raise_first((M < 0) & ~eye, M, "A has the negative rate {value} at {where}; rates A_ij, i != j, must be >= 0")
    relative = 8 * n * (torch.finfo(M.dtype).eps / 2 if unit_round_off is None else unit_round_off)
    defect, size, top = _sums(M, -2)
    bad = defect.abs() > relative * size
    if bad.any():
        index = tuple(int(i) for i in bad.nonzero()[0])
        row_defect, row_size, _ = _sums(M[index[:-1]], -1)
        hint = (
            "its rows do sum to zero, so it looks transposed: pass theory.from_row_convention(Q)"
            if bool((row_defect.abs() <= relative * row_size).all())
            else "build it from its rates with theory.from_rates(R)"
        )
        residual, allowed = (float(sums[index] * top[index]) for sums in (defect, relative * size))
        raise GeneratorError(
            f"column {index[-1]} of A{_batch(index[:-1])} sums to {residual:.6g}, not to zero within {allowed:.3g}; "
            f"{hint}"
        )


def from_rates(rates: Any) -> Tensor:
    """The generator with off-diagonal rates[..., i, j] = rate j -> i >= 0; the diagonal given is ignored and
    replaced."""
    R = as_real_tensor(rates, "rates")
    _require_square(R, "rates")
    off = R.masked_fill(torch.eye(R.shape[-1], dtype=torch.bool, device=R.device), 0.0)
    return off - torch.diag_embed(off.sum(-2))


def from_row_convention(Q: Any) -> Tensor:
    """A = Qᵀ for a rate matrix Q[..., n, n] of the probability texts, whose rows sum to zero; A is checked."""
    rows = as_real_tensor(Q, "Q")
    _require_square(rows, "Q")
    A = rows.transpose(-1, -2)
    try:
        check_generator(A)
    except GeneratorError as error:
        if "looks transposed" in str(error):
            raise GeneratorError(
                "the columns of Q sum to zero: it is in the column convention already: use it as A"
            ) from None
        raise GeneratorError(f"Q is no rate matrix whose rows sum to zero; A = Qᵀ: {error}") from None
    return A


def recurrent_classes(A: Any) -> list[list[int]]:
    """The recurrent classes of one generator A[n, n], each a sorted list of states, ordered by their first state.

    The diagonal is not read. Raises `GeneratorError` where a rate A_ij, i != j, is negative or not finite.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    rates = as_real_tensor(A).detach().cpu()
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1] or rates.shape[0] == 0:
        raise GeneratorError(f"A must be one square matrix, [n, n] with n >= 1; got shape {tuple(rates.shape)}")
    off = ~torch.eye(len(rates), dtype=torch.bool)
    wrong = off & ~((rates >= 0) & torch.isfinite(rates))
    _raise_first(wrong, rates, "A has the rate {value} at {where}; rates A_ij, i != j, must be finite and >= 0")
    jumps = (off & (rates > 0)).numpy()
    count, label = connected_components(csr_array(jumps.T), directed=True, connection="strong")
    i, j = np.nonzero(jumps)
    leaky = np.unique(label[j[label[i] != label[j]]])
    classes = [np.flatnonzero(label == c).tolist() for c in range(count) if c not in leaky]
    return sorted(classes)


def _require_square(M: Tensor, name: str) -> None:
    if M.ndim < 2 or M.shape[-1] != M.shape[-2] or M.shape[-1] == 0:
        raise GeneratorError(f"{name} must be square, [..., n, n] with n >= 1; got shape {tuple(M.shape)}")


def _sums(M: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Σ M / top, Σ |M| / top and top = max |M| along dim: divided, so that no sum of finite rates overflows."""
    top = M.abs().amax(dim, keepdim=True)
    unit = M / torch.where(top > 0, top, 1.0)
    return unit.sum(dim), unit.abs().sum(dim), top.squeeze(dim)


def _batch(index: tuple[int, ...]) -> str:
    return f" (batch element {list(index)})" if index else ""


def _raise_first(bad: Tensor, M: Tensor, message: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in bad.nonzero()[0])
        where = f"[{index[-2]}, {index[-1]}]{_batch(index[:-2])}"
        raise GeneratorError(message.format(value=f"{float(M[index]):.6g}", where=where))
