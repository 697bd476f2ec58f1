"""One block of the token clock: P fast steps x <- K x at frozen y, and the mean of the P states after each step.

K[..., n, n] is column-stochastic: e^{hA}, or the Euler step I + hA of a residual block. With v_P = Σ_{t=1}^{P} Kᵗ x the
block mean is v_P / P. Three routes to it, which must agree:

- stepping: the definition, P matrix-vector products;
- doubling: v_{2q} = v_q + K^q v_q and K^{2q} = (K^q)², by the binary digits of P, in log₂ P products. Each power is
  brought back to column sums of one: without that, mass is lost in proportion to P (3e-8 at P = 65,536, n = 64);
- the closed form x̄ = p + (1/P) K (I − K^P)(I − K)^# (x − p), which knows p = p_st. The data of the headline never
use it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from theory.chain.inverse import solve_sum_zero
from theory.chain.transition_matrix import transition_matrix
from theory.lu import lu_factor
from theory.transforms import is_followed, plain


def propagator(A: Float[Tensor, "*b n n"], step: float, *, euler: bool = False) -> Float[Tensor, "*b n n"]:
    """K = e^{hA}, or I + hA if `euler`, for the step h in the system's time unit.

    Raises `ValueError` for Euler where h times the largest exit rate is not below 1: at equality it may never relax
    (a two-state chain flips for ever), above it entries of K are negative.
    """
    if not euler:
        return transition_matrix(A, torch.tensor(step, dtype=A.dtype, device=A.device))
    check_euler(A, step)
    return torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) + step * A


def check_euler(A: Float[Tensor, "*b n n"], step: float) -> None:
    """`ValueError` where h times the largest exit rate is not below 1: no Euler step is a transition matrix there."""
    exit_rate = -A.diagonal(dim1=-2, dim2=-1).amin(-1)
    if bool((step * exit_rate >= 1).any()):
        raise ValueError(
            f"the Euler kernel I + hA needs h × (largest exit rate) < 1; here h = {step:g}, the largest exit rate is "
            f"{float(exit_rate.max()):.6g}: take the exp kernel or a smaller step"
        )


def block_mean(
    K: Float[Tensor, "*b n n"], x: Float[Tensor, "*b n"], period: int
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n"]]:
    """(mean over the states after each of `period` steps, state after the last one), by doubling.

    Once all columns of the power are the same to rounding, so are those of every further one: the rest of the period
    adds that column.
    """
    power, total, done = K, _apply(K, x), 1
    for digit in bin(period)[3:]:
        if not is_followed(power) and _is_one_column(power):
            total = total + (period - done) * _apply(power, x)
            break
        done = 2 * done + (digit == "1")
        total = total + _apply(power, total)
        power = _unit_columns(power @ power)
        if digit == "1":
            power = _unit_columns(power @ K)
            total = total + _apply(power, x)
    end = _apply(power, x)
    return total / total.sum(-1, keepdim=True), end / end.sum(-1, keepdim=True)


def block_mean_by_stepping(
    K: Float[Tensor, "*b n n"], x: Float[Tensor, "*b n"], period: int
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n"]]:
    """The same by definition: `period` products, for tests and for reading."""
    total = torch.zeros_like(x)
    for _ in range(period):
        x = _apply(K, x)
        total = total + x
    return total / period, x


def block_mean_closed_form(
    A: Float[Tensor, "*b n n"],
    p: Float[Tensor, "*b n"],
    x: Float[Tensor, "*b n"],
    period: int,
    step: float,
    *,
    euler: bool = False,
) -> Float[Tensor, "*b n"]:
    """x̄ = p + (1/P) K (I − K^P)(I − K)^# (x − p), with p = p_st(A)."""
    K = propagator(A, step, euler=euler)
    z = inverse_of_one_minus(A, K, x - p, p, step, euler=euler)
    return p + _apply(K, z - _apply(torch.linalg.matrix_power(K, period), z)) / period


def inverse_of_one_minus(
    A: Float[Tensor, "*b n n"],
    K: Float[Tensor, "*b n n"],
    v: Float[Tensor, "*b n"],
    p: Float[Tensor, "*b n"],
    step: float,
    *,
    euler: bool = False,
) -> Float[Tensor, "*b n"]:
    """(I − K)^# v for v of sum zero; for the Euler kernel it is −A^# v / h."""
    if euler:
        return -solve_sum_zero(A, v, p) / step
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    factors, pivots = lu_factor(identity - K + p[..., :, None])
    return torch.linalg.lu_solve(factors, pivots, v[..., :, None])[..., 0]


def _is_one_column(K: Tensor) -> bool:
    """Whether all columns of every K[..., n, n] agree entry by entry, to the rounding of a product of two such."""

    def alike(rows: Tensor) -> bool:
        most, least = rows.amax(-1), rows.amin(-1)
        return bool((most - least <= K.shape[-1] * torch.finfo(K.dtype).eps * most).all())

    values = plain(K)
    return alike(values[..., :1, :]) and alike(values)  # one row tells of most that they are not


def _apply(K: Tensor, x: Tensor) -> Tensor:
    return (K @ x[..., :, None])[..., 0]


def _unit_columns(K: Tensor) -> Tensor:
    return K / K.sum(-2, keepdim=True)
