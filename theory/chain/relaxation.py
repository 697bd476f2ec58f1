"""How fast a chain relaxes: the spectral gap and the relaxation times 1/(−Re λ) of its slowest modes.

The eigenvalues λ of A itself carry an absolute error of some n η ‖A‖: a gap of 1e-17 beside rates of 1 is noise, and
comes out zero or negative. Its inverse has no such error. With a root r, let the chain stop there: Z_ij, the expected
time spent in i from j, has no subtraction in it (`_stopped_inverse`, by censoring), and on the vectors of sum zero,
written by their entries off the root,

    −A^# = Z − p mᵀ,     m = 1ᵀZ the expected times to the root, p = p_st,

whose eigenvalues are −1/λ. It follows from A restricted to such vectors, −(B + a1ᵀ) with B = Z⁻¹ and a the rates out of
r, by the formula of Sherman and Morrison with Z a = p/p_r. The largest eigenvalue, which is the slowest mode, is the
one that rounding touches least. With r the likeliest state the difference loses no more than a factor 1/p_r.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theory.arguments import check_integer
from theory.errors import NumericalError
from theory.generators.checks import as_real_tensor, comes_from
from theory.kinds import Chain, Integer
from theory.stationary.distribution import stationary_distribution
from theory.transforms import full_precision, is_followed, plain

_RESOLVED = 1e-5  # of the largest exit rate: a smaller gap is taken from the inverse


@full_precision
def spectral_gap(A: Chain) -> Tensor:
    """min −Re λ over the eigenvalues λ != 0 of A[..., n, n]: the rate [...] at which ṗ = A p relaxes; inf for n = 1.

    Dense A of any batch shape, float32 stays float32, differentiable; scipy.sparse A[n, n] through `relaxation_times`,
    float64, no derivative. A gap below 1e-5 of the largest rate is taken from the subtraction-free inverse, to some n η
    relative; others to n η ‖A‖₁ times the condition of the eigenvalue, 1 for symmetric rates. The condition has no
    bound where detailed balance fails: 20 states in a row, one way, all rates 1, with a return at the rate 1e-12, come
    out right to 1e-6; with 1e-30 the gap is 0.974, and 1.000 is computed.

    Raises `GeneratorError`, `NotUniqueError` where A has several recurrent classes, `NumericalError` where the
    eigenvalues do not converge or leave the range of numbers, and in `backward` where the gap is a repeated eigenvalue:
    it has no derivative there.

    Examples:
        >>> spectral_gap([[-1.0, 2.0], [1.0, -2.0]]).item()
        3.0
    """
    if comes_from(A, "scipy.sparse"):
        return 1.0 / relaxation_times(A, 1)[0]
    A = as_real_tensor(A)
    stationary_distribution(plain(A))  # is there one to relax to
    if A.shape[-1] == 1:
        return torch.full_like(A[..., 0, 0], torch.inf)
    values = _eigenvalues(A)
    real = values.real.sort(-1, descending=True).values
    gap = -real[..., 1]
    scale = plain(A).diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    slow = plain(gap) < _RESOLVED * scale
    if is_followed(A):
        gap = _differentiable_where_simple(gap, plain(values), scale, A.shape[-1])
    if not bool(slow.any()):
        return gap
    precise = 1.0 / _from_inverse(A).amax(-1)
    unresolved = gap.detach() < _RESOLVED * A.detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    return torch.where(unresolved, precise, gap)


@full_precision
def relaxation_times(A: Chain, k: Integer) -> Tensor:
    """The k longest relaxation times 1/(−Re λ) [..., k], λ != 0, descending and with multiplicity, of A[..., n, n].

    A mode of multiplicity two, or a complex pair, counts twice. Slow modes come from the subtraction-free inverse, fast
    ones from A: the error of a time τ is some n η times the smaller of τ_1/τ and ‖A‖₁ τ, times the condition of its
    eigenvalue. Dense A: batched, float32 stays float32, differentiable where the eigenvalues are distinct. scipy.sparse
    A[n, n], k <= n − 3: by Arnoldi iteration with the sparse inverse, the eigenvalues nearest to 0 (where complex ones
    are farther away and yet slower, more of them are asked for: k is searched among max(2k, k + 10)).

    Raises `ValueError` unless 1 <= k <= n − 1, `GeneratorError`, `NotUniqueError`, and `NumericalError` where times
    pass the range of numbers or the iteration does not converge.

    Examples:
        >>> relaxation_times([[-1.0, 2.0], [1.0, -2.0]], 1).tolist()
        [0.3333333333333333]
    """
    k = check_integer(k, "k", least=1)
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_response import sparse_relaxation_times

        return sparse_relaxation_times(A, k)
    A = as_real_tensor(A)
    stationary_distribution(plain(A))  # is there one to relax to
    n = A.shape[-1]
    if k > n - 1:
        raise ValueError(f"k must be at most n − 1 = {n - 1}, the number of modes that relax; got {k}")
    decay = (-_eigenvalues(A).real).sort(-1).values[..., 1:]
    slow = _from_inverse(A).sort(-1, descending=True).values
    rate = A.detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1, keepdim=True)
    noise = 64 * n * torch.finfo(A.dtype).eps
    # the relative error of a rate d is η rate/d from A, and η d/(slowest rate) from the inverse
    seen = decay.detach()
    direct = (seen > noise * rate) & (seen.square() * slow[..., :1].detach() > rate)
    if bool(plain(~direct & (slow <= noise * slow[..., :1]))[..., :k].any()):
        raise NumericalError(
            f"modes among the {k} slowest differ by more than rounding can tell apart: ask for fewer, the slowest is "
            "sure at k=1; or lump the states that the slowest mode parts, theory.lump(A, partition)"
        )
    return torch.where(direct, 1.0 / torch.where(direct, decay, torch.ones_like(decay)), slow)[..., :k]


def _eigenvalues(A: Tensor) -> Tensor:
    try:
        return torch.linalg.eigvals(A)
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise NumericalError(
            f"the eigenvalues of A do not converge, its rates are too far apart; lump the fastest states: {error}"
        ) from None


def _from_inverse(A: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n_1"]:
    """|ν|²/Re ν for the eigenvalues ν = −1/λ of Z − p mᵀ, with the likeliest state for the root."""
    likely = stationary_distribution(A).detach().argmax(-1, keepdim=True)
    states = torch.arange(A.shape[-1], device=A.device).expand(A.shape[:-1])
    order = torch.where(states == 0, likely, torch.where(states == likely, 0, states))
    rates = A.take_along_dim(order[..., :, None], -2).take_along_dim(order[..., None, :], -1)
    Z = _stopped_inverse(rates)
    out_of_root = rates[..., 1:, 0]
    visits = (Z @ out_of_root[..., None])[..., 0]  # p over p of the root
    p = visits / (1.0 + visits.sum(-1, keepdim=True))
    operator = Z - p[..., :, None] * Z.sum(-2, keepdim=True)
    if not bool(torch.isfinite(plain(operator)).all()):
        raise NumericalError(
            "the slowest relaxation time is beyond the range of numbers: the chain is cut in two for all that rates "
            "can say; take each part alone, theory.recurrent_classes of A without the tiny rates"
        )
    values = _eigenvalues(operator)
    return (values.real.square() + values.imag.square()) / values.real


def _stopped_inverse(rates: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n_1 n_1"]:
    """Z >= 0: the expected time in each state, from each, before state 0 is entered; both without state 0."""
    n = rates.shape[-1]
    shares, rows, exits = [], [], []
    for e in range(n - 1, 0, -1):
        out, row = rates[..., :e, e], rates[..., e, :e]
        exit_rate = out.sum(-1)
        share = out / exit_rate[..., None]
        rates = rates[..., :e, :e] + share[..., :, None] * row[..., None, :]
        shares.append(_padded(share[..., 1:], n - 1))
        rows.append(_padded(row[..., 1:], n - 1))
        exits.append(exit_rate)
    # e lies in place e − 1; what is left of it belongs to states that were still there: upper and lower triangles
    L = torch.stack(shares[::-1], -1)  # column e: where e's jumps go
    U = torch.stack(rows[::-1], -2)  # row e: the rates into e
    identity = torch.eye(n - 1, dtype=rates.dtype, device=rates.device)
    forward = torch.linalg.solve_triangular(identity - L, identity.expand(L.shape), upper=True)
    return torch.linalg.solve_triangular(torch.diag_embed(torch.stack(exits[::-1], -1)) - U, forward, upper=False)


def _padded(v: Tensor, size: int) -> Tensor:
    return torch.cat([v, torch.zeros(*v.shape[:-1], size - v.shape[-1], dtype=v.dtype, device=v.device)], -1)


class _NoDerivative(torch.autograd.Function):
    """The identity; a derivative through it raises."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gap: Tensor) -> Tensor:
        return gap.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise NumericalError(_REPEATED)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NumericalError(_REPEATED)


_REPEATED = (
    "the spectral gap is a repeated eigenvalue here, or two modes share it, and has no derivative: differentiate a "
    "symmetric function of the modes, such as theory.kemeny_constant(A), or move A off the crossing"
)


def _differentiable_where_simple(gap: Tensor, values: Tensor, scale: Tensor, n: int) -> Tensor:
    real = values.real.sort(-1, descending=True)
    imaginary = values.imag.take_along_dim(real.indices, -1)
    slow = real.values[..., 1:2]
    within = 64 * n * torch.finfo(slow.dtype).eps * scale[..., None]
    tied = ((real.values[..., 1:] - slow).abs() <= within).sum(-1)
    pair = imaginary[..., 1].abs() > within[..., 0]
    return _NoDerivative.apply(gap) if bool((tied > 1 + pair.long()).any()) else gap
