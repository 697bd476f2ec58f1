"""The elimination in torch operations: p_st that autograd and torch.func differentiate, on any device and to any order.

A is balanced first: with powers of two c_j the chain F_ij = A_ij c_j has the stationary vector x_j ∝ p_j / c_j, and c_j
is such that x_j is the square root of the flow s_j p_j through state j, relative to the largest flow. Small numbers are
so shared between F and x, and neither underflows (`theory.stationary.dense.gth` has the notation; here W starts as F).
No x_j passes 1, and c_j does not follow the smallest flows, so that derivatives do not overflow on the way to values
that a double can hold. Signs and cancellations enter through dA alone, never through p: ln p_j has derivatives right to
about 1e-12 where the group inverse, dp = −A^# dA p, loses every digit. All is written in elementary operations without
any `linalg` call, whose second derivatives in forward mode are wrong in current torch.

`adjoint` runs the same steps backwards by hand: it keeps n² numbers per matrix where a traced elimination keeps n³.

The last state left, state 0, must be recurrent, as in `theory.stationary.dense.gth`; `likeliest_first` puts the
likeliest there. Its d ln p_0 = −Σ_{j>0} p_j d ln(p_j / p_0) is then a sum of small terms; with another one there it
would be the difference of two large ones.

p depends on the rates A_ij, i != j, alone: the diagonal's derivative is zero. For tangents dA whose columns sum to
zero, and for rates that `from_rates` completed, that is the derivative along generators.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from theory.errors import NumericalError

_LOWEST = 2.0**-960
_DOUBTFUL = 2.0**-300
_WIDEST = 800  # the exponents of the exit rates, one from the other
_REACH = 700  # the derivative of x_j in the rate from the likeliest state, 1 / (s_j c_j), stays below 2^700


class Balance(NamedTuple):
    """Powers of two that balance a chain. rates[..., n]: c_j; weights[..., n]: c_j of a size with which x_j c_j is p_j
    itself; start[..., 1]: the x_0 from which the states are put back."""

    rates: Tensor
    weights: Tensor
    start: Tensor


def likeliest_first(p: Tensor) -> Tensor:
    """order[..., n] of the states for p[..., n]: state 0 is exchanged with the likeliest one."""
    order = torch.arange(p.shape[-1], device=p.device).expand(p.shape).clone()
    root = p.argmax(-1, keepdim=True)
    order[..., :1] = root
    return order.scatter(-1, root, 0)


def swapped(t: Tensor, order: Tensor, axes: int) -> Tensor:
    """t with its last axis (or last two, `axes`) in the given order[..., n], which is its own inverse."""
    if axes == 2:
        t = t.gather(-2, order[..., :, None].expand(t.shape))
        return t.gather(-1, order[..., None, :].expand(t.shape))
    return t.gather(-1, order)


def balance(A: Tensor, p: Tensor, exponent: Tensor, never: int) -> Balance:
    """The balance of A[..., n, n], for p_j of the order 2^exponent_j (`never`: state j is transient).

    Raises `NumericalError` where rates and flows leave the range in which a traced elimination reproduces p and has
    finite derivatives.
    """
    off = _off_diagonal(A)
    exits = -A.diagonal(dim1=-2, dim2=-1)
    rate = torch.where(exits > 0, torch.frexp(torch.where(exits > 0, exits, 1.0)).exponent, 0).to(exponent.dtype)
    transient = exponent == never
    top = torch.where(transient, never, exponent + rate).amax(-1, keepdim=True)
    order = torch.where(transient, top - rate, exponent)  # as if as much flowed through it as anywhere
    balanced = order - torch.div(order + rate - top, 2, rounding_mode="floor")
    weight = torch.maximum(balanced, -rate - _REACH).clamp(-1020, 1020)
    half = torch.div(top, 2, rounding_mode="floor")  # of the unit of time, so that neither F nor dF leaves the range
    shared = (weight - half).clamp(-1020, 1020)
    powers = shared, shared + half, (order - weight)[..., :1].clamp(-1020, 1020)
    found = Balance(*(torch.ldexp(torch.ones_like(exits[..., : e.shape[-1]]), e) for e in powers))
    if bool((rate.amax(-1) - rate.amin(-1) > _WIDEST).any()):
        raise NumericalError(
            "p_st cannot be differentiated in double precision: exit rates differ by more than 1e240; leave out the "
            "fastest states, or raise the smallest rates"
        )
    doubtful = ((off > 0) & (off * found.rates[..., None, :] < _DOUBTFUL)).flatten(-2).any(-1)
    if doubtful.any():
        _refuse_lost_flows(A[doubtful], p[doubtful], Balance(*(one[doubtful] for one in found)))
    return found


def _refuse_lost_flows(A: Tensor, p: Tensor, scale: Balance) -> None:
    error = (stationary(A, scale) - p).abs()
    right = (error <= 1e-12 * p + torch.finfo(p.dtype).tiny).all()
    each = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)[:, None].expand(-1, *p.shape)
    copies = len(each)
    gradients = adjoint(A.expand(copies, *A.shape), each, Balance(*(one.expand(copies, *one.shape) for one in scale)))
    if not bool(right) or bool(gradients.isnan().any()):
        raise NumericalError(
            "p_st cannot be differentiated in double precision: the flow between its likely states, or out of its "
            "transient ones, is below 1e-290 of the largest; raise the smallest rates, or merge the states that carry "
            "that flow"
        )


def values(A: Tensor) -> tuple[Tensor, Tensor]:
    """p[..., n] by batched operations on A's device, and bool[...]: whether nothing came near the end of the range.

    False also where state 0 is not reached by all others. p is meaningless there; `theory.stationary.dense.gth`
    decides.
    """
    n = A.shape[-1]
    off = _off_diagonal(A)
    exits = off.sum(-2)
    scale = torch.where(exits > 0, exits, 1.0)
    fine = (scale > _LOWEST).all(-1) & (scale < 1 / _LOWEST).all(-1)
    W = off / scale[..., None, :]
    dense = ((W >= _LOWEST) | torch.eye(n, dtype=torch.bool, device=A.device)).flatten(-2).all(-1)
    sums, rows = [], []
    for k in range(n - 1, 0, -1):
        row, column = W[..., k, :k], W[..., :k, k]
        total = column.sum(-1, keepdim=True)
        U = column / total
        smallest = torch.where(U > 0, U, 1.0).amin(-1) * torch.where(row > 0, row, 1.0).amin(-1)
        fine = fine & (total[..., 0] > _LOWEST) & (dense | (smallest > _LOWEST))
        sums.append(total[..., 0])
        rows.append(row.clone())
        W = torch.addcmul(W[..., :k, :k], U[..., :, None], row[..., None, :])
    x = torch.ones_like(exits[..., :1])
    for total, row in zip(reversed(sums), reversed(rows), strict=True):
        new = (row * x).sum(-1) / total
        unreached = ~((row > 0) & (x > 0)).any(-1)
        fine = fine & (((new > _LOWEST) & (new < 1 / _LOWEST)) | unreached)
        x = torch.cat([x, new[..., None]], -1)
    p = x / scale
    fine = fine & (((p > _LOWEST) | (x == 0)) & (p < 1 / _LOWEST)).all(-1)
    return p / p.sum(-1, keepdim=True), fine


def stationary(A: Tensor, scale: Balance) -> Tensor:
    """p[..., n] of A[..., n, n], balanced by `scale`; each operation can be differentiated."""
    return _put_back(_take_out(A, scale), scale)[1]


def adjoint(A: Tensor, cotangent: Tensor, scale: Balance) -> Tensor:
    """The cotangent[..., n, n] of A for cotangent[..., n] of p, with a zero diagonal."""
    steps = _take_out(A, scale)
    x, p = _put_back(steps, scale)
    x_bar = scale.weights * (cotangent - (cotangent * p).sum(-1, keepdim=True))
    x_bar = x_bar / (scale.weights * x).sum(-1, keepdim=True)
    row_bars, S_bars = [], []
    for k in range(A.shape[-1] - 1, 0, -1):
        S, row, _ = steps[k - 1]
        per_rate = x_bar[..., k:] / S
        row_bars.append(per_rate * x[..., :k])
        S_bars.append(-per_rate * x[..., k : k + 1])
        x_bar = x_bar[..., :k] + per_rate * row
    W_bar = torch.zeros_like(A[..., :1, :1])
    for (S, row, U), row_bar, S_bar in zip(steps, reversed(row_bars), reversed(S_bars), strict=True):
        U_bar = (W_bar * row[..., None, :]).sum(-1)
        row_bar = row_bar + (W_bar * U[..., :, None]).sum(-2)
        column_bar = (U_bar - (U_bar * U).sum(-1, keepdim=True)) / S + S_bar
        bottom = torch.cat([row_bar, torch.zeros_like(S_bar)], -1)
        W_bar = torch.cat([torch.cat([W_bar, column_bar[..., :, None]], -1), bottom[..., None, :]], -2)
    return W_bar * scale.rates[..., None, :]


def _take_out(A: Tensor, scale: Balance) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(S_k[..., 1], W_k:[..., k], U_:k[..., k]) for k = 1, …, n−1."""
    W = _off_diagonal(A) * scale.rates[..., None, :]
    steps = []
    for k in range(A.shape[-1] - 1, 0, -1):
        row, column = W[..., k, :k].clone(), W[..., :k, k]  # a view would keep all of W alive
        S = column.sum(-1, keepdim=True)
        U = column / S
        W = torch.addcmul(W[..., :k, :k], U[..., :, None], row[..., None, :])
        steps.append((S, row, U))
    return steps[::-1]


def _put_back(steps: list[tuple[Tensor, Tensor, Tensor]], scale: Balance) -> tuple[Tensor, Tensor]:
    x = scale.start
    for S, row, _ in steps:
        x = torch.cat([x, (row * x).sum(-1, keepdim=True) / S], -1)
    weighted = scale.weights * x
    total = weighted.sum(-1, keepdim=True)
    return x, weighted * total.reciprocal()  # the gradient of a quotient divides a tiny p twice


def _off_diagonal(A: Tensor) -> Tensor:
    return A.masked_fill(torch.eye(A.shape[-1], dtype=torch.bool, device=A.device), 0.0)
