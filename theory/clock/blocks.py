"""The token clock: P fast steps, one block mean, one slow step. The discrete fast-slow system that a network runs.

In block k, with y_k held: x <- K x for t = 1 … P, K = e^{hA(y_k)} or I + hA(y_k); x̄_k is the mean of the P states;
then y_{k+1} = y_k + h g(x̄_k, y_k). A block lasts P h in fast time and h in slow time, so their ratio is ε = 1/P by
construction: pooling over P tokens is what makes the slow path slow.

Where the 1/P comes from: a settled block starts at p_st(y_{k−1}) and ends exponentially close to p_st(y_k). Only the
*mean* still remembers its start, with weight 1/P. Hence the leading term of the gap (`predicted_gap`),

    x̄_k − p_st(y_k) = (1/P) K (I − K)^# [p_st(y_{k−1}) − p_st(y_k)] + O(e^{−Phλ}),    λ = spectral gap of A(y_k),

which tends to ε φ₁(y) of the continuous system as h → 0 and differs from it at order h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.arguments import (
    check_integer,
    check_positive,
)
from theory.clock.block_mean import block_mean, propagator
from theory.errors import NumericalError, Status
from theory.fast_slow import FastSlowSystem
from theory.kinds import Dense, Integer, Number
from theory.starts import check_start

CHUNK = 2**19  # entries of the matrices K of one chunk of trajectories: 4 MB, so that their powers stay in the cache


@dataclass(frozen=True)
class TokenBlocks:
    """What K blocks produced; k counts blocks from 0.

    y[..., k, m]: the slow state held in block k. mean[..., k, n]: its block mean. x[..., k, n]: the fast state at its
    end.
    status: SUCCESS, or LEFT_DOMAIN where some y left the system's box; `inside[..., k]` says which and when. A
    trajectory ends with the first y that is outside: that y is given, everything after it is NaN, and so are the mean
    and the state of its block.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> blocks = theory.token_clock(system, [1.0, 0.0], y0, period=8, n_blocks=3, step=0.1)
        >>> blocks.y.shape, blocks.mean.shape, blocks.x.shape, blocks.status is theory.Status.SUCCESS
        (torch.Size([3, 1]), torch.Size([3, 2]), torch.Size([3, 2]), True)
    """

    y: Tensor
    mean: Tensor
    x: Tensor
    inside: Tensor
    status: Status


def token_clock(
    system: FastSlowSystem,
    x0: Dense,
    y0: Dense,
    *,
    period: Integer,
    n_blocks: Integer,
    step: Number,
    euler: bool = False,
) -> TokenBlocks:
    """Run `n_blocks` blocks of `period` fast steps of size `step` from x0[..., n] (on the simplex) and y0[..., m];
    float64.

    The block means come from doubling (`block_mean`): log₂ P matrix products a block, and p_st is never used.

    Raises `ValueError` for a period or n_blocks below one, a step that is not positive and finite, an x0 off the
    simplex, a y0 that is not finite, an empty batch, a float dtype other than float64, or (Euler) a step too large for
    the exit rates at a visited y; `GeneratorError` naming the y in the box at which A(y) is no generator;
    `NumericalError` with the block and y where g is not finite.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> blocks = theory.token_clock(system, [1.0, 0.0], y0, period=1024, n_blocks=20, step=0.05)
        >>> p = theory.stationary_distribution(system.A(blocks.y[-1]))
        >>> bool(theory.total_variation(blocks.mean[-1], p) < 1e-3)  # the gap of a block mean is O(1/P)
        True
    """
    period, n_blocks, step = check_clock(period, n_blocks, step)
    x, y = check_start(system, x0, y0)
    batch = x.shape[:-1]
    size = max(1, CHUNK // system.n_states**2)
    chunks = zip(x.reshape(-1, x.shape[-1]).split(size), y.reshape(-1, y.shape[-1]).split(size), strict=True)
    runs = [_run(system, x, y, period, n_blocks, step, euler) for x, y in chunks]
    y_all, means, ends = (torch.cat(parts).reshape(*batch, n_blocks, -1) for parts in zip(*runs, strict=True))
    inside = system.inside(y_all)
    status = Status.SUCCESS if bool(inside.all()) else Status.LEFT_DOMAIN
    return TokenBlocks(y_all, means, ends, inside, status)


def _run(
    system: FastSlowSystem, x: Tensor, y: Tensor, period: int, n_blocks: int, step: float, euler: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y held, block means, ends of blocks), each [count, n_blocks, …], from x[count, n] and y[count, m]."""
    held, means, ends = [], [], []
    for block in range(n_blocks):
        inside = system.inside(y)
        held.append(y)
        if bool(inside.all()):
            mean, x, y = _block(system, x, y, block, period, step, euler)
        else:
            # Outside its box A(y) need not be a generator: a trajectory that left is carried on as NaN.
            rows = inside.nonzero()
            lost = (torch.full_like(x, torch.nan), torch.full_like(x, torch.nan), torch.full_like(y, torch.nan))
            if len(rows):
                kept = _block(system, x[inside], y[inside], block, period, step, euler)
                lost = (nothing.index_put((rows[:, 0],), some) for nothing, some in zip(lost, kept, strict=True))
            mean, x, y = lost
        means.append(mean)
        ends.append(x)
    return torch.stack(held, -2), torch.stack(means, -2), torch.stack(ends, -2)


def _block(
    system: FastSlowSystem, x: Tensor, y: Tensor, block: int, period: int, step: float, euler: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(block mean, state at the end, next y) of one block from x[count, n] with y[count, m] held."""
    A = system.check_at(y)
    try:
        K = propagator(A, step, euler=euler)
    except ValueError as error:
        worst = A.diagonal(dim1=-2, dim2=-1).amin(-1).argmin()
        raise ValueError(f"{error} (at y = {y[worst].tolist()})") from None
    mean, x = block_mean(K, x, period)
    slope = system.g(mean, y)
    if not bool(torch.isfinite(slope).all()):
        bad = y[~torch.isfinite(slope).all(-1)][0].tolist()
        raise NumericalError(
            f"g(x, y) of system {system.name!r} is not finite in block {block} (slow time {block * step:.6g}), at "
            f"y = {bad}"
        )
    return mean, x, y + step * slope


def check_clock(period: Any, n_blocks: Any, step: Any) -> tuple[int, int, float]:
    """The three numbers of a token clock, or a `ValueError` that names the bad one."""
    period, n_blocks = check_integer(period, "period", least=1), check_integer(n_blocks, "n_blocks", least=1)
    return period, n_blocks, check_positive(step, "step")
