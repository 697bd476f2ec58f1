"""The stationary distribution p_st: A p = 0, 1ᵀp = 1, p >= 0, for dense, batched, sparse and symbolic generators.

Column convention: A_ij is the rate j -> i, columns sum to zero. p_st exists always; it is unique if and only if A has
one recurrent class, and then p_j > 0 exactly for the states of that class (Norris, *Markov Chains*, 1997, thm 3.5.3).

Dense generators are eliminated without a subtraction (`theory.stationary.dense.gth`): each entry of p is right to
rounding, also where p spans hundreds of orders of magnitude and a null vector by eigenvalues, SVD or a linear solve has
no correct digit. For tensors the result is differentiable, forward and reverse, to any order, also under torch.func:
see `theory.stationary.dense.derivative`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
from torch.autograd import forward_ad

from theory.errors import GeneratorError, NotUniqueError
from theory.generators.checks import as_real_tensor, check_generator, comes_from, recurrent_classes
from theory.kinds import Listed, Matrix, Sparse, Symbolic, Table
from theory.transforms import is_followed, plain, uncompiled

if TYPE_CHECKING:
    from theory.stationary.dense.derivative import Balance


@overload
def stationary_distribution(A: Tensor) -> Tensor: ...
@overload
def stationary_distribution(A: Symbolic) -> Symbolic: ...
@overload
def stationary_distribution(A: np.ndarray | Sparse | Table | Listed) -> np.ndarray: ...
def stationary_distribution(A: Matrix) -> Any:
    """p_st[..., n] of A[..., n, n] of A's kind: Tensor, ndarray (also for scipy.sparse and for lists) or SymPy Matrix.

    A sparse Tensor A[n, n] (COO, CSR or CSC) gives a dense Tensor p[n] by the sparse elimination, whose `backward` is
    the sparse adjoint: the gradient in every stored rate, once.

    Integers become float64; float32 stays float32, though the arithmetic is double. A is never changed. Relative error
    of each entry: a few n unit round-offs; entries below the smallest normal number are 0 or subnormal; those of
    transient states are exactly 0. Derivatives are those in the rates A_ij, i != j; the diagonal's is zero. With
    rates beyond 1e±100, or where p has an entry below the smallest normal number, they leave out what underflows.

    Raises `GeneratorError` where A is not a generator (with the entry and the batch element, see `check_generator`);
    `NotUniqueError`, whose `.classes` lists them, where it has two or more recurrent classes; `NumericalError` where a
    derivative is asked for that flows below 1e-290 of the largest, or exit rates that differ by more than 1e240, make
    wrong.

    Examples:
        >>> import theory
        >>> theory.stationary_distribution([[-1.0, 2.0], [1.0, -2.0]])
        array([0.66666667, 0.33333333])
    """
    if comes_from(A, "scipy.sparse"):
        from theory.stationary.sparse.distribution import sparse_stationary_distribution

        return sparse_stationary_distribution(A)
    if comes_from(A, "sympy"):
        from theory.symbolic import stationary_distribution_symbolic

        return stationary_distribution_symbolic(A)
    if isinstance(A, Tensor) and A.layout != torch.strided:
        from theory.stationary.sparse.gradient import stationary_of_sparse_tensor

        return stationary_of_sparse_tensor(A)
    M = as_real_tensor(A)
    if M.ndim < 2 or M.shape[-1] != M.shape[-2] or M.shape[-1] == 0:
        raise GeneratorError(f"A must be square, [..., n, n] with n >= 1; got shape {tuple(M.shape)}")
    unit_round_off = torch.finfo(M.dtype).eps / 2
    if not isinstance(A, Tensor):
        return _solve(M.to(torch.float64), unit_round_off).to(M.dtype).numpy()
    wide = M.cpu() if M.device.type == "mps" else M  # which has no float64
    return _differentiable(wide.to(torch.float64), unit_round_off).to(M)


def _differentiable(A: Tensor, unit_round_off: float) -> Tensor:
    transformed = is_functorch_wrapped_tensor(A)
    if not is_followed(A):
        return _Values.apply(A, unit_round_off) if transformed else _solve(A, unit_round_off)
    if not transformed and forward_ad.unpack_dual(A).tangent is None:
        return _Stationary.apply(A, unit_round_off)
    from theory.stationary.dense.derivative import Balance, stationary, swapped

    # A hand-written rule would not do here: forward mode nested through one is zero in current torch, in silence.
    *scale, order = _Balanced.apply(A.detach(), unit_round_off)
    if not bool(plain(order)[..., 0].any()):
        return stationary(A, Balance(*scale))
    return swapped(stationary(swapped(A, order, 2), Balance(*scale)), order, 1)


class _Values(torch.autograd.Function):
    """p of A inside vmap, where nothing asks for a derivative."""

    @staticmethod
    def forward(A: Tensor, unit_round_off: float) -> Tensor:
        return _solve(A, unit_round_off)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        A, unit_round_off = inputs
        return _Values.apply(A.movedim(in_dims[0], 0), unit_round_off), 0


class _Balanced(torch.autograd.Function):
    """What balances A for a traced elimination, in the order of the states that comes last; here A is checked, on its
    values, in any transform."""

    @staticmethod
    def forward(A: Tensor, unit_round_off: float) -> tuple[Tensor, ...]:
        scale, order = _balance(A, _solve(A, unit_round_off))
        return *scale, order

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        A, unit_round_off = inputs
        return _Balanced.apply(A.movedim(in_dims[0], 0), unit_round_off), (0, 0, 0, 0)


class _Stationary(torch.autograd.Function):
    """p of A by the compiled kernels, with the adjoint of the elimination; that is traced: backward has any order."""

    @staticmethod
    def forward(A: Tensor, unit_round_off: float) -> Tensor:
        return _solve(A.detach(), unit_round_off)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.scale, ctx.order = _balance(inputs[0].detach(), output.detach())

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None]:
        from theory.stationary.dense.derivative import adjoint, swapped

        (A,) = ctx.saved_tensors
        if not bool(ctx.order[..., 0].any()):
            return adjoint(A, cotangents[0], ctx.scale), None
        by_root = swapped(A, ctx.order, 2), swapped(cotangents[0], ctx.order, 1)
        return swapped(adjoint(*by_root, ctx.scale), ctx.order, 2), None


@uncompiled
def _balance(A: Tensor, p: Tensor) -> tuple[Balance, Tensor]:
    """What balances A[..., n, n] with its states in `order`[..., n], and that order."""
    from theory.stationary.dense import gth
    from theory.stationary.dense.derivative import balance, likeliest_first, swapped

    exponent = torch.frexp(p).exponent.to(torch.int64)
    lost = (p < torch.finfo(p.dtype).tiny).any(-1)
    if lost.any():
        exponent[lost] = torch.from_numpy(gth.exponents(_flat(A[lost]))).to(A.device)
    order = likeliest_first(p)
    if not bool(order[..., 0].any()):
        return balance(A, p, exponent, gth.NEVER), order
    return balance(swapped(A, order, 2), swapped(p, order, 1), swapped(exponent, order, 1), gth.NEVER), order


def _solve(A: Tensor, unit_round_off: float) -> Tensor:
    """p[..., n] of A[..., n, n], float64, or the error that says which matrix has none."""
    if A.device.type == "cpu":
        return _solve_on_cpu(A, unit_round_off, lambda b: np.unravel_index(b, A.shape[:-2]))
    return _solve_on_device(A, unit_round_off)


def _solve_on_device(A: Tensor, unit_round_off: float) -> Tensor:
    """The same by batched operations where A is; matrices that need more range or another root go to the CPU."""
    from theory.stationary.dense.derivative import values

    check_generator(A, unit_round_off=unit_round_off)
    p, fine = values(A)
    if not fine.all():
        hard = (~fine).nonzero().tolist()
        p[~fine] = _solve_on_cpu(A[~fine].cpu(), unit_round_off, hard.__getitem__).to(A.device)
    return p


@uncompiled
def _solve_on_cpu(A: Tensor, unit_round_off: float, element: Callable[[int], Sequence[Any]]) -> Tensor:
    """The same by the compiled kernels; `element` gives the batch index that an error message should name."""
    from theory.stationary.dense import gth

    flat = _flat(A)
    p, status = gth.solve(flat, unit_round_off)
    refused = np.flatnonzero(status == gth.REFUSED)
    if len(refused):
        check_generator(A, unit_round_off=unit_round_off)
    for b in refused:  # a generator nevertheless: rates so large that the sum of a column overflows
        p[b], status[b] = gth.solve_unchecked(flat[b])
    for b in np.flatnonzero(status == gth.NOT_UNIQUE).tolist():
        raise _not_unique(flat[b], element(b) if A.ndim > 2 else ())
    return torch.from_numpy(p).reshape(A.shape[:-1])


def _not_unique(A: np.ndarray, element: Sequence[Any]) -> NotUniqueError:
    classes = recurrent_classes(A)
    listed = ", ".join(
        str(c) if len(c) <= 12 else f"[{c[0]}, {c[1]}, …, {c[-1]}] ({len(c)} states)" for c in classes[:8]
    )
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    index = [int(i) for i in element]
    where, one = (f" (batch element {index})", f"A{index}") if index else ("", "A")
    return NotUniqueError(
        f"A{where} has {len(classes)} recurrent classes, {listed}{more}: each has a stationary distribution of its "
        f"own, and theory.stationary_distributions({one}) gives them all, with the probability of ending in each",
        classes,
    )


def _flat(A: Tensor) -> np.ndarray:
    n = A.shape[-1]
    return A.detach().reshape(-1, n, n).contiguous().cpu().numpy()
