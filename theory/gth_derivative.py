"""The elimination in torch operations: p_st that autograd and torch.func differentiate, on any device and to any order.

A is balanced first: with powers of two c_j the chain F_ij = A_ij c_j has the stationary vector x_j = p_j / c_j, and c_j
is such that x_j is of the order of the square root of the flow s_j p_j through state j. Small numbers are so shared
between F and x, and neither underflows (`theory.gth` has the notation; here W starts as F). Signs and cancellations
enter through dA alone, never through p: ln p_j has derivatives right to about 1e-12 where the group inverse,
dp = −A^# dA p, loses every digit. All is written in elementary operations without any `linalg` call, whose second
derivatives in forward mode are wrong in current torch.

`adjoint` runs the same steps backwards by hand: it keeps n² numbers per matrix where a traced elimination keeps n³.

The last state left, state 0, must be recurrent, as in `theory.gth`: `recurrent_first` says which to put there.

p depends on the rates A_ij, i != j, alone: the diagonal's derivative is zero. For tangents dA whose columns sum to
zero, and for rates that `from_rates` completed, that is the derivative along generators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.errors import NumericalError

_LOWEST = 2.0**-960
_DOUBTFUL = 2.0**-300


def recurrent_first(p: Tensor) -> Tensor:
    """order[..., n] of the states for p[..., n]: state 0 is exchanged with the likeliest one where p_0 is zero."""
    order = torch.arange(p.shape[-1], device=p.device).expand(p.shape).clone()
    root = torch.where(p[..., :1] > 0, 0, p.argmax(-1, keepdim=True))
    order[..., :1] = root
    return order.scatter(-1, root, 0)


def swapped(t: Tensor, order: Tensor, axes: int) -> Tensor:
    """t with its last axis (or last two, `axes`) in the given order[..., n], which is its own inverse."""
    if axes == 2:
        t = t.gather(-2, order[..., :, None].expand(t.shape))
        return t.gather(-1, order[..., None, :].expand(t.shape))
    return t.gather(-1, order)


def balance(A: Tensor, p: Tensor, exponent: Tensor, never: int) -> Tensor:
    """The powers of two c[..., n], for p_j of the order 2^exponent_j (`never`: state j is transient).

    Raises `NumericalError` where flows are so small that a traced elimination would not reproduce p: its derivatives
    would then be wrong as well.
    """
    exits = -A.diagonal(dim1=-2, dim2=-1)
    rate = torch.where(exits > 0, torch.frexp(torch.where(exits > 0, exits, 1.0)).exponent, 0).to(exponent.dtype)
    order = torch.where(exponent == never, -rate, exponent)
    flow = order + rate
    top = flow.amax(-1, keepdim=True)
    shared = order - torch.div(flow - top, 2, rounding_mode="floor") - top
    scale = torch.ldexp(torch.ones_like(exits), shared.clamp(-1020, 1020))
    F = _off_diagonal(A) * scale[..., None, :]
    doubtful = (torch.where(F > 0, F, 1.0) < _DOUBTFUL).flatten(-2).any(-1)
    if doubtful.any():
        expected = p[doubtful]
        error = (stationary(A[doubtful], scale[doubtful]) - expected).abs()
        if not bool((error <= 1e-9 * expected + torch.finfo(p.dtype).tiny).all()):
            raise NumericalError(
                "p_st cannot be differentiated in double precision: the flow between its likely states is below 1e-290 "
                "of the largest; raise the smallest rates, or merge the states that carry that flow"
            )
    return scale


def values(A: Tensor) -> tuple[Tensor, Tensor]:
    """p[..., n] by batched operations on A's device, and bool[...]: whether nothing came near the end of the range.

    False also where state 0 is not reached by all others. p is meaningless there; `theory.gth` decides.
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


def stationary(A: Tensor, scale: Tensor) -> Tensor:
    """p[..., n] of A[..., n, n], balanced by scale[..., n]; each operation can be differentiated."""
    return _put_back(_take_out(A, scale), scale)[1]


def adjoint(A: Tensor, cotangent: Tensor, scale: Tensor) -> Tensor:
    """The cotangent[..., n, n] of A for cotangent[..., n] of p, with a zero diagonal."""
    steps = _take_out(A, scale)
    x, p = _put_back(steps, scale)
    x_bar = scale * (cotangent - (cotangent * p).sum(-1, keepdim=True)) / (scale * x).sum(-1, keepdim=True)
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
    return W_bar * scale[..., None, :]


def _take_out(A: Tensor, scale: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(S_k[..., 1], W_k:[..., k], U_:k[..., k]) for k = 1, …, n−1."""
    W = _off_diagonal(A) * scale[..., None, :]
    steps = []
    for k in range(A.shape[-1] - 1, 0, -1):
        row, column = W[..., k, :k].clone(), W[..., :k, k]  # a view would keep all of W alive
        S = column.sum(-1, keepdim=True)
        U = column / S
        W = torch.addcmul(W[..., :k, :k], U[..., :, None], row[..., None, :])
        steps.append((S, row, U))
    return steps[::-1]


def _put_back(steps: list[tuple[Tensor, Tensor, Tensor]], scale: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.ones_like(scale[..., :1])
    for S, row, _ in steps:
        x = torch.cat([x, (row * x).sum(-1, keepdim=True) / S], -1)
    weighted = scale * x
    return x, weighted * weighted.sum(
        -1, keepdim=True
    ).reciprocal()  # the gradient of a quotient divides a tiny p twice


def _off_diagonal(A: Tensor) -> Tensor:
    return A.masked_fill(torch.eye(A.shape[-1], dtype=torch.bool, device=A.device), 0.0)
