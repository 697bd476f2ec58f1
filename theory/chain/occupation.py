"""The occupation of a jump process over a time T, as an estimate of p_st: its bias, its spread, and its intervals.

occ_i = (1/T) × (time spent in i). For one recurrent class, with p = p_st and A^# the group inverse,

    E occ = (1/T) ∫₀ᵀ e^{As} x₀ ds = p + (1/T) A^# (e^{AT} − I)(x₀ − p),          (bias, exact for every T)
    T Cov occ -> C = −(A^# diag p + diag p A^#ᵀ),         σ_i² = C_ii = −2 (A^#)_ii p_i,

and √T (occ − p) is asymptotically normal (Kemeny & Snell, *Finite Markov Chains*, 1960, sec. 4.6, in discrete time).
C has rank (number of recurrent states) − 1, its null vector is 1. The naive p_i(1 − p_i)/(number of jumps) ignores the
correlation along a path and covers far too rarely.
The normal law is trustworthy from about T × (spectral gap) = 200 on; at 20 single states are covered 90 to 97 % of the
time instead of 95.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_positive
from theory.chain.inverse import group_inverse
from theory.chain.relaxation import spectral_gap
from theory.chain.transition_matrix import mean_over_time
from theory.errors import NumericalError
from theory.generators.checks import as_real_tensor, check_generator
from theory.kinds import Dense, Number, Scalar
from theory.stationary.distribution import stationary_distribution
from theory.transforms import full_precision, plain

_TRUSTED = 1e-3  # relative error of a spread: more than an interval needs


@full_precision
def occupation_mean(A: Dense, x0: Dense, t: Scalar) -> Tensor:
    """E occ[..., n] over [0, t] for the start law x0[..., n], to some n η at every t: the mean of e^{As} x₀ over time.

    Not by the formula with A^#, which loses η ‖A^#‖/t. Raises `GeneratorError` where A is not a generator.

    Examples:
        >>> import theory
        >>> A = [[-1.0, 2.0], [1.0, -2.0]]
        >>> theory.occupation_mean(A, [1.0, 0.0], 1e6)
        tensor([0.6667, 0.3333], dtype=torch.float64)
    """
    A = as_real_tensor(A)
    check_generator(A)
    t = _checked_time(A, t)
    return mean_over_time(A, _vectors(A, x0, "x0"), t)


@full_precision
def occupation_covariance(A: Dense) -> Tensor:
    """C[..., n, n] = lim T Cov(occ), in units of time; positive semidefinite, with C 1 = 0.

    Raises `GeneratorError` where A is not a generator, `NotUniqueError` where it has several recurrent classes, and
    `NumericalError` where the chain is so metastable that rounding decides the result.

    Examples:
        >>> import theory
        >>> theory.occupation_covariance([[-1.0, 1.0], [1.0, -1.0]])
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]], dtype=torch.float64)
    """
    A = as_real_tensor(A)
    p = stationary_distribution(A)
    inverse = _trusted_group_inverse(A, p)
    half = inverse * p[..., None, :]
    return -(half + half.mT)


def _trusted_group_inverse(A: Tensor, p: Tensor) -> Tensor:
    """A^#, or `NumericalError` where A A^# = I − p1ᵀ fails: that defect is the relative error of the slowest mode."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    inverse = group_inverse(A)
    off = (A @ inverse - identity + p[..., :, None]).abs().nan_to_num(math.inf)
    defect = float(plain(off).amax()) if off.numel() else 0.0  # an empty batch
    if defect > _TRUSTED:
        raise NumericalError(
            f"A relaxes so slowly that rounding decides A^#: A A^# is {defect:.1e} off I − p1ᵀ; the occupation of such "
            "a metastable chain has no interval in this precision: lump the states of each well"
        )
    return inverse


@full_precision
def occupation_interval(
    A: Dense, occupation: Dense, t: Scalar, *, level: Number = 0.95, start: Dense | None = None
) -> Tensor:
    """An interval [..., n, 2] for each single p_st,i from the occupation of a path over [0, t], as (lower, upper).

    start[..., n]: the law of the state at time 0. With it the bias E occ − p is taken off and the spread is the exact
    one at this t, transient and metastable chains included. The multiplier of the spread is the normal quantile where
    the normal law is to be trusted, at t × (spectral gap) >= 100 and 100 expected visits of the state; elsewhere it is
    Chebyshev's 1/√(1 − level), which covers at least `level` whatever the law: *conservative*, 97 to 100 % at 95.
    Without it the interval is occ_i ± z √(σ_i²/t), the limit of large t, right from t × gap = 200 on (90 to 97 % at
    20), and not for transient states. Cut to [0, 1], where p lies.

    It is the interval of one state at a time; all of them together are `occupation_chi2`. Raises `ValueError` without
    `start` where A has transient states: their occupation is all start.

    Examples:
        >>> import theory
        >>> path = theory.sample_jumps([[0.0, 1.0], [0.0, -1.0]], 1, 10.0, seed=0)  # state 1 is left for good
        >>> lower, upper = occupation_interval(path.A, path.occupation, 10.0, start=[0.0, 1.0]).unbind(-1)
        >>> bool(lower[0] <= 1.0 <= upper[0]), bool(lower[1] <= 0.0 <= upper[1])
        (True, True)
    """
    A = as_real_tensor(A)
    t, level = _checked_time(A, t), check_positive(level, "level", below=1.0)
    occupation = _vectors(A, occupation, "occupation")
    z = math.sqrt(2.0) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
    if start is not None:
        centre, half = _from_start(A, occupation, t, _vectors(A, start, "start"), z, (1.0 - level) ** -0.5)
    else:
        if not bool((plain(stationary_distribution(A)) > 0).all()):
            raise ValueError("A has transient states, whose occupation is all start: pass start=, the law at time 0")
        variance = occupation_covariance(A).diagonal(dim1=-2, dim2=-1)
        centre, half = occupation, z * (variance.clamp(min=0.0) / t).sqrt()
    return torch.stack(torch.broadcast_tensors(centre - half, centre + half), -1).clamp(0.0, 1.0)


_NORMAL_TIMES, _NORMAL_VISITS = 100.0, 100.0  # t × gap and expected visits from which on the normal law is trusted


def _from_start(
    A: Tensor, occupation: Tensor, t: float, start: Tensor, z: float, chebyshev: float
) -> tuple[Tensor, Tensor]:
    """Centre and half width with the bias taken off and the exact spread."""
    p = stationary_distribution(A)
    bias = occupation_mean(A, start, t) - p
    visits = -A.diagonal(dim1=-2, dim2=-1) * p * t
    relaxed = torch.as_tensor(spectral_gap(A) * t >= _NORMAL_TIMES)[..., None]
    normal = relaxed & (visits >= _NORMAL_VISITS)
    variance = occupation_variance(A, start, t)
    # A spread computed as a difference of moments has their rounding: an interval may be wider for it, not narrower.
    rounding = 4 * A.shape[-1] * torch.finfo(A.dtype).eps
    factor = torch.where(normal, torch.full_like(visits, z), chebyshev)
    return occupation - bias, factor * (variance + rounding).sqrt()


@full_precision
def occupation_variance(A: Dense, x0: Dense, t: Scalar) -> Tensor:
    """Var occ_i [..., n] over [0, t] for the start law x0[..., n], at every t.

    E occ_i² = (2/t²) ∫₀ᵗ∫₀ˢ (e^{A(s−r)})_ii (e^{Ar} x₀)_i dr ds, the top row of one matrix exponential for each i (Van
    Loan, *IEEE Trans. Automat. Control* 23, 1978, 395). From t × (spectral gap) = 10⁴ on the difference from the mean
    squared would be rounding, and the limit C_ii/t stands in its place, right to one part in 10³ there; the larger of
    the two where there are transient states, whose limit is 0.

    Examples:
        >>> import theory
        >>> A = [[-1.0, 1.0], [1.0, -1.0]]
        >>> theory.occupation_variance(A, [0.5, 0.5], 1e6) * 1e6  # C_ii, as t grows
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    A = as_real_tensor(A)
    t = _checked_time(A, t)
    x0 = _vectors(A, x0, "x0")
    batch = check_broadcast(A=A.shape[:-2], x0=x0.shape[:-1])
    n = A.shape[-1]
    settled = not A.numel() or float(plain(spectral_gap(A)).min()) * t >= _LIMIT_TIMES
    limit = (
        (occupation_covariance(A).diagonal(dim1=-2, dim2=-1) / t).clamp(min=0.0).expand(*batch, n) if settled else 0.0
    )
    if isinstance(limit, Tensor) and bool((plain(stationary_distribution(A)) > 0).all()):
        return limit
    # z = (e^{As} x₀, ∫ e^{A(s−r)} E_ii e^{Ar} x₀ dr, ∫∫): z' = B z with B = [[A, 0, 0], [E_ii, A, 0], [0, e_iᵀ, 0]].
    B = A.new_zeros(*A.shape[:-2], n, 2 * n + 1, 2 * n + 1)
    own = torch.arange(n)
    B[..., :n, :n] = B[..., n : 2 * n, n : 2 * n] = t * A[..., None, :, :]
    B[..., own, n + own, own] = B[..., own, 2 * n, n + own] = 1.0  # in units of t: three blocks of one size
    squares = 2.0 * (torch.linalg.matrix_exp(B)[..., 2 * n, :n] @ x0[..., :, None])[..., 0]
    exact = (squares - occupation_mean(A, x0, t) ** 2).clamp(min=0.0)
    return torch.maximum(exact, limit) if isinstance(limit, Tensor) else exact


_LIMIT_TIMES = 1e4


@full_precision
def occupation_chi2(A: Dense, occupation: Dense, t: Scalar, *, law: Dense | None = None) -> tuple[Tensor, int]:
    """(T (occ − q)ᵀ C⁺ (occ − q) [...], its degrees of freedom) for the candidate law q, p_st unless given.

    Asymptotically χ² with (number of recurrent states) − 1 degrees of freedom when q = p_st: the *joint* 95 % region of
    the occupation is where it stays below that quantile. A[n, n] is one generator; occupation[..., n] any batch.
    Raises `NumericalError` where C is singular to working precision on the recurrent states.

    Examples:
        >>> import theory
        >>> statistic, freedom = theory.occupation_chi2([[-1.0, 1.0], [1.0, -1.0]], [0.51, 0.49], 100.0)
        >>> round(float(statistic), 6), freedom
        (0.04, 1)
    """
    A = as_real_tensor(A)
    t = _checked_time(A, t)
    if A.ndim != 2:
        raise ValueError(f"A must be one generator [n, n], got {list(A.shape)}: call it once for each")
    p = stationary_distribution(A)
    recurrent = torch.nonzero(p > 0)[:, 0]
    freedom = len(recurrent) - 1
    occupation, law = _vectors(A, occupation, "occupation"), p if law is None else _vectors(A, law, "law")
    check_broadcast(occupation=occupation.shape[:-1], law=law.shape[:-1])
    away = (occupation - law)[..., recurrent]
    if freedom == 0:
        return torch.zeros_like(away[..., 0]), 0
    # Without the most likely state C is regular, and C⁺ of a sum-zero vector is the inverse of what is left.
    kept = torch.arange(len(recurrent), device=A.device) != p[recurrent].argmax()
    C = occupation_covariance(A)[recurrent][:, recurrent][kept][:, kept]
    scale = C.diagonal().sqrt()
    factor, info = torch.linalg.cholesky_ex(C / (scale[:, None] * scale))
    if int(info) != 0 or not bool(torch.isfinite(factor).all()):
        raise NumericalError(
            "the covariance of the occupation is singular to working precision: some p_st or the spectral gap "
            "is too small; lump the states that are hardly visited"
        )
    whitened = torch.linalg.solve_triangular(factor, (away[..., kept] / scale)[..., None], upper=False)[..., 0]
    return t * (whitened**2).sum(-1), freedom


@full_precision
def expected_occupation_tv(A: Dense, t: Scalar) -> Tensor:
    """E TV(occ, p_st) [...] ≈ ½ Σ_i √(2 σ_i² / (π T)): the sampling error to expect, falling as 1/√T.

    The mean of a half-normal law per state: exact in the limit of large T, whatever the correlation between states.

    Examples:
        >>> import theory
        >>> theory.expected_occupation_tv([[-1.0, 1.0], [1.0, -1.0]], 100.0)
        tensor(0.0399, dtype=torch.float64)
    """
    A = as_real_tensor(A)
    t = _checked_time(A, t)
    variance = occupation_covariance(A).diagonal(dim1=-2, dim2=-1).clamp(min=0.0)
    return 0.5 * (2.0 * variance / (math.pi * t)).sqrt().sum(-1)


def _vectors(A: Tensor, value: Any, name: str) -> Tensor:
    """value[..., n] in the dtype and on the device of A[..., n, n], or a `ValueError` that names it."""
    v = as_real_tensor(value, name).to(A)
    if v.ndim == 0 or v.shape[-1] != A.shape[-1]:
        raise ValueError(f"{name} must be [..., {A.shape[-1]}] for A {list(A.shape)}, got {list(v.shape)}")
    check_broadcast(A=A.shape[:-2], **{name: v.shape[:-1]})
    return v


def _checked_time(A: Tensor, t: Any) -> float:
    """t as a float, or a `ValueError` where it is not positive or would be 0 or infinite in the dtype of A."""
    value, limits = check_positive(t, "t"), torch.finfo(A.dtype)
    if not limits.tiny <= value <= limits.max:
        raise ValueError(f"t = {value!r} is outside the range of {A.dtype}, the dtype of A: take another unit of time")
    return value
