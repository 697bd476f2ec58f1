"""The master equation ṗ = A p: propagation, relaxation, and its thermodynamics.

Relaxation: for an irreducible generator e^{At} − p1ᵀ, p = p_st, has spectral radius e^{−gap·t} exactly
(Perron–Frobenius). TV(p(t), p) itself may exceed TV(p(0), p) e^{−gap·t} by a constant: the bound is on the rate.

Thermodynamics (Schnakenberg, *Rev. Mod. Phys.* 48, 1976, 571; logarithms natural, so nats and nats per unit of time):

    D(x‖p) = Σ_i x_i ln(x_i/p_i)                                  never grows along ẋ = A x,
    σ(x) = ½ Σ_{i≠j} (A_ij x_j − A_ji x_i) ln(A_ij x_j / A_ji x_i) >= 0,
    σ = −dD/dt + Σ_{i≠j} A_ij x_j ln(A_ij p_j / A_ji p_i),         the last sum zero under detailed balance.

Detailed balance is A_ij p_j = A_ji p_i for every pair (equivalently, Kolmogorov's criterion on every cycle).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory.arguments import check_broadcast, check_integer, to_tensor
from theory.chain.transition_matrix import transition_matrix
from theory.generators.checks import as_real_tensor, check_generator, comes_from
from theory.kinds import Chain, Dense, Numbers
from theory.stationary.distribution import stationary_distribution
from theory.transforms import full_precision, plain

_ENTRIES_AT_ONCE = 2**23


@full_precision
def propagate(A: Chain, p0: Dense, t: Numbers, *, max_products: int = 10_000_000) -> Tensor:
    """p(t)[..., k, n] = e^{At} p0 at the times t[k], from p0[..., n], for a generator A[..., n, n] (batches broadcast).

    Dense A: by `transition_matrix`, to some n η in TV at every t, non-negative; differentiable. scipy.sparse A[n, n]:
    by `uniformisation`, to about q t η relative (see there), in at most `max_products` products with A; a Tensor on
    the CPU.

    Raises `GeneratorError` where A is not a generator; `ValueError` where p0 is off the simplex, t is empty,
    negative, not finite or not ascending, shapes, dtypes or devices disagree, or a sparse A needs more products than
    allowed.

    Examples:
        >>> import theory
        >>> theory.propagate([[-1.0, 1.0], [1.0, -1.0]], [1.0, 0.0], [0.0, 0.5, 50.0])
        tensor([[1.0000, 0.0000],
                [0.6839, 0.3161],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    if comes_from(A, "scipy.sparse"):
        return _propagate_sparse(A, p0, t, max_products)
    A = as_real_tensor(A)
    check_generator(A)
    p0, t = _probability(p0, "p0", A.shape[-1], A), _times(t, A)
    batch = check_broadcast(A=A.shape[:-2], p0=p0.shape[:-1])
    count = max(1, _ENTRIES_AT_ONCE // max(1, A[..., 0, 0].numel() * A.shape[-1] ** 2))
    parts = [transition_matrix(A[..., None, :, :], some) @ p0[..., None, :, None] for some in t.split(count)]
    return torch.cat([part[..., 0] for part in parts], -2).expand(*batch, len(t), A.shape[-1])


@full_precision
def relaxation_radius(A: Dense, t: Numbers) -> Tensor:
    """The spectral radius [..., k] of e^{At} − p1ᵀ at the times t[k]: e^{−gap·t} for an irreducible A[..., n, n].

    By eigenvalues: to some n η times their condition, which may be large where detailed balance fails (see
    `spectral_gap`). Raises as `propagate` does, and `NotUniqueError`.

    Examples:
        >>> import theory
        >>> theory.relaxation_radius([[-1.0, 1.0], [1.0, -1.0]], [1.0])  # e^{-2}
        tensor([0.1353], dtype=torch.float64)
    """
    A = as_real_tensor(A)
    p = stationary_distribution(A)
    K = transition_matrix(A[..., None, :, :], _times(t, A))
    return torch.linalg.eigvals(K - p[..., None, :, None]).abs().amax(-1)


def relative_entropy(x: Dense, p: Dense) -> Tensor:
    """D(x‖p)[...] = Σ x ln(x/p) of probability vectors x[..., n] and p[..., n], in nats; inf where x > 0 = p.

    As Σ p f(r), f(r) = (1 + r) ln(1 + r) − r >= 0, r = (x − p)/p, summed as a series where r is small: each term is
    non-negative and right to rounding, so that rounding does not make D grow near p, as it does in the textbook sum.
    The derivative in an entry x = 0, truly −∞, counts as 0: it is that on the face of the simplex where x lies.

    Examples:
        >>> import theory
        >>> theory.relative_entropy([1.0, 0.0], [0.5, 0.5])  # ln 2
        tensor(0.6931, dtype=torch.float64)
    """
    p = as_real_tensor(p, "p")
    if p.ndim == 0:
        raise ValueError("p must be [..., n], got one number")
    x = _probability(x, "x", p.shape[-1], p)
    p = _probability(p, "p", p.shape[-1], p)
    check_broadcast(x=x.shape[:-1], p=p.shape[:-1])
    support = p > 0
    q = torch.where(support, p, torch.ones_like(p))
    r = torch.where(support, (x - p) / q, torch.zeros_like(x))
    small = r.abs() < 0.1
    near = torch.where(small, r, torch.zeros_like(r))
    series = torch.zeros_like(r)
    for k in range(18, 1, -1):
        series = (-1.0) ** k / (k * (k - 1)) + near * series
    outside = torch.where(small | (r <= -1.0), torch.ones_like(r), r)
    far = torch.where(r <= -1.0, torch.ones_like(r), (1.0 + outside) * torch.log1p(outside) - outside)
    terms = torch.where(small, near.square() * series, far)
    unreachable = ((x > 0) & ~support).any(-1)
    return torch.where(unreachable, torch.full_like(terms[..., 0], torch.inf), (p * terms).sum(-1))


def entropy_production(A: Chain, x: Dense) -> Tensor:
    """σ(x)[...] >= 0 in nats per unit of time, of x[..., n] under A[..., n, n]; inf with a one-way flow.

    A flow A_ij x_j > 0 whose reverse A_ji x_i is zero makes it infinite: a one-way rate, or an empty state next to an
    occupied one. At p_st it is zero if and only if detailed balance holds. Dense A: batched, differentiable;
    scipy.sparse A[n, n] and x[..., n]: by its entries, in float64.

    Examples:
        >>> import theory
        >>> A = theory.from_rates([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])  # a driven ring
        >>> theory.entropy_production(A, theory.stationary_distribution(A))
        tensor(0.6931, dtype=torch.float64)
    """
    if comes_from(A, "scipy.sparse"):
        return _entropy_production_sparse(A, x)
    A = as_real_tensor(A)
    check_generator(A)
    x = _probability(x, "x", A.shape[-1], A)
    check_broadcast(A=A.shape[:-2], x=x.shape[:-1])
    return 0.5 * _entropy_terms(*_flows(A, x)).sum((-2, -1))


def _entropy_production_sparse(A: Any, x: Any) -> Tensor:
    i, j, rate, reverse = _pairs(A)
    x = as_real_tensor(x, "x").detach()
    x = _probability(x, "x", A.shape[0], torch.empty(0, dtype=x.dtype)).double()
    return 0.5 * _entropy_terms(rate * x[..., j], reverse * x[..., i]).sum(-1)


def _pairs(A: Any) -> tuple[Tensor, ...]:
    """i, j, A_ij and A_ji of every pair in which one of the rates of a sparse A is positive."""
    from scipy.sparse import csc_array

    from theory.generators.sparse import checked_rates

    rates = checked_rates(A).rates
    forward, back = rates.tocoo(), rates.T.tocoo()
    row, column = (np.concatenate(both) for both in zip(forward.coords, back.coords, strict=True))
    none, shape = np.zeros(rates.nnz), rates.shape

    def spread(first: np.ndarray, second: np.ndarray) -> Any:
        matrix = csc_array((np.concatenate([first, second]), (row, column)), shape=shape)
        matrix.sum_duplicates()  # zeros stay stored: both matrices have the same entries in the same order
        return matrix

    along, against = spread(forward.data, none), spread(none, back.data)
    i, j = along.tocoo().coords
    return tuple(torch.from_numpy(np.ascontiguousarray(v)) for v in (i, j, along.data, against.data))


def _entropy_terms(flow: Tensor, back: Tensor) -> Tensor:
    """(flow − back) ln(flow/back), entry by entry; inf where one of them alone is zero."""
    larger, smaller = torch.maximum(flow, back), torch.minimum(flow, back)
    both = smaller > 0
    base, top = torch.where(both, smaller, 1.0), torch.where(both, larger, 1.0)
    excess = (top - base) / base
    # ln(top/base) by log1p near equality, where the quotient has lost the difference, and by logarithms where it
    # overflows.
    ratio = torch.where(excess < 1.0, torch.log1p(excess.clamp(max=1.0)), top.log() - base.log())
    return torch.where(both, (top - base) * ratio, torch.where(larger > 0, torch.inf, 0.0).to(top))


def has_detailed_balance(A: Chain, *, rtol: float | None = None) -> Tensor:
    """Whether A_ij p_j = A_ji p_i for every pair, within `rtol` of the larger of the two: bool[...] for A[..., n, n].

    rtol defaults to 32 n η: the rates and p_st carry rounding, so a violation below it cannot be told from none. Flows
    below the smallest normal number are not compared. Dense A, batched, or scipy.sparse A[n, n]. Raises
    `GeneratorError` and `NotUniqueError`.

    Examples:
        >>> import theory
        >>> theory.has_detailed_balance([[-1.0, 2.0], [1.0, -2.0]])
        tensor(True)
    """
    if rtol is not None and (isinstance(rtol, bool) or not isinstance(rtol, (int, float)) or not rtol >= 0):
        raise ValueError(f"rtol must be >= 0, got {rtol!r}")
    if comes_from(A, "scipy.sparse"):
        return _has_detailed_balance_sparse(A, rtol)
    A = as_real_tensor(A)
    rounding = torch.finfo(A.dtype)
    p = stationary_distribution(A)
    within = 16 * A.shape[-1] * rounding.eps if rtol is None else rtol
    flow, back = _flows(A, p)
    scale = A.abs().amax((-2, -1), keepdim=True).clamp(min=1.0)
    return ((flow - back).abs() <= within * torch.maximum(flow, back) + rounding.tiny * scale).all((-2, -1))


def _has_detailed_balance_sparse(A: Any, rtol: float | None) -> Tensor:
    i, j, rate, reverse = _pairs(A)
    p = torch.from_numpy(stationary_distribution(A)).double()
    given = np.finfo(A.dtype).eps if A.dtype.kind == "f" else np.finfo(np.float64).eps
    # n η, with p right to 1e-13 of itself whatever n is
    within = 16 * min(A.shape[0], 64) * float(given) if rtol is None else rtol
    flow, back = rate * p[j], reverse * p[i]
    smallest = np.finfo(np.float64).tiny * max(1.0, float(rate.max()) if len(rate) else 1.0)
    return ((flow - back).abs() <= within * torch.maximum(flow, back) + smallest).all()


def _flows(A: Float[Tensor, "*batch n n"], x: Tensor) -> tuple[Tensor, Tensor]:
    """A_ij x_j and A_ji x_i, zero on the diagonal."""
    flow = (A - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))) * x[..., None, :]
    return flow, flow.transpose(-1, -2)


def _probability(x: Any, name: str, n: int, like: Tensor) -> Tensor:
    x = as_real_tensor(x, name)
    if x.ndim == 0 or x.shape[-1] != n or n == 0:
        raise ValueError(f"{name} must be [..., {max(n, 1)}], got shape {tuple(x.shape)}")
    if x.dtype != like.dtype or x.device != like.device:
        raise ValueError(
            f"{name} is {x.dtype} on {x.device}, the other argument {like.dtype} on {like.device}: cast one"
        )
    rounding = 8 * n * torch.finfo(x.dtype).eps
    # Written so that a NaN is off the simplex too.
    off = ~((x >= -rounding).all(-1) & ((x.sum(-1) - 1).abs() <= rounding))
    if bool(plain(off).any()):
        bad = plain(x).reshape(-1, n)[plain(off).reshape(-1)][0]
        raise ValueError(
            f"{name} must be a probability vector; one has sum {float(bad.sum()):.17g} and smallest entry "
            f"{float(bad.min()):.6g}: normalise it yourself if that is meant"
        )
    return x


def _times(t: Any, like: Tensor) -> Tensor:
    try:
        t = to_tensor(t)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"t must hold the times [k], got {type(t).__name__}: {error}") from None
    if t.is_complex() or t.dtype == torch.bool or t.layout != torch.strided:
        raise ValueError(f"t must hold real numbers, got {t.dtype} of layout {t.layout}")
    t = t.to(like)
    if t.ndim != 1 or t.numel() == 0:
        raise ValueError(f"t must hold the times [k], k >= 1; got shape {tuple(t.shape)}")
    times = plain(t)
    if not bool(torch.isfinite(times).all()) or bool((times < 0).any()) or bool((times.diff() < 0).any()):
        raise ValueError(f"t must be finite, >= 0 and ascending; got {times.tolist()[:8]}")
    return t


def _propagate_sparse(A: Any, p0: Any, t: Any, max_products: int) -> Tensor:
    from theory.chain.uniformisation import uniformisation
    from theory.generators.sparse import checked_rates

    max_products = check_integer(max_products, "max_products", least=1)
    checked = checked_rates(A)
    n = A.shape[0]
    p0 = as_real_tensor(p0, "p0").detach()
    p0 = _probability(p0, "p0", n, torch.empty(0, dtype=p0.dtype)).double()
    times = _times(t, p0).detach().numpy()
    start = np.ascontiguousarray(p0.reshape(-1, n).numpy().T)
    p = uniformisation(checked.rates, checked.exit_rate, start, times, max_products=max_products)
    return torch.from_numpy(p).permute(2, 0, 1).reshape(*p0.shape[:-1], len(times), n)
