"""What theory alone says of a settled block of the token clock: its gap x̄ − p_st, from A(y) and g, from no trajectory.

A settled block at y starts at p_st(y′), y′ being the slow state of the block before, so that

    x̄ − p_st(y) = (1/P) F [p_st(y′) − p_st(y)] + O(e^{−Phλ}),    F = K (I − K)^#,    y = y′ + h g(x̄′, y′).

Nothing here is shared with the block means that it is held against but A(y) and p_st: they come from powers of K, F
from A and A^# (`pooling_memory`), and y′ from the backward step that solves the last equation with x̄′ = p_st(y′) + its
own leading term. What is left out is of relative order 1/P²: `SettledGap.next_order` is its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_integer, check_positive, check_vectors
from theory.chain.inverse import group_inverse
from theory.clock.block_mean import check_euler
from theory.fast_slow import FastSlowSystem
from theory.kinds import Dense, Integer, Number
from theory.lu import lu_factor
from theory.stationary.distribution import stationary_distribution
from theory.transforms import plain

# B_{2k}/(2k)! for k = 1 … 6: the series of x/(1 − e^{−x}) about 0. The first term left out is below 1e-14 at |x| = 1/2.
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)
_REACH = 0.5
_ITERATIONS = 60


def pooling_memory(A: Tensor, p: Tensor, step: float, *, euler: bool = False) -> Tensor:
    """F[..., n, n] = K (I − K)^# for K = e^{hA} or, with `euler`, I + hA: from A[..., n, n] and A^#, without K.

    The mean of a long block at A that starts at p + δ is p + F δ/P. With x = hA, Π = I − p1ᵀ,

        F(h) = −[x^# + Π/2 + x/12 − x³/720 + … ]  for ‖x‖₁ <= 1/2,    F(2h) = F(h)² (I + 2 F(h))⁻¹,

    and −x^# − Π for the Euler kernel. p is p_st(A). Source: the generating function of the Bernoulli numbers.
    """
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    projection = identity - p[..., :, None]
    inverse = group_inverse(A)
    if euler:
        check_euler(A, step)
        return -inverse / step - projection
    exit_rate = -plain(A).diagonal(dim1=-2, dim2=-1)
    norm = 2.0 * step * float(exit_rate.max()) if exit_rate.numel() else 0.0
    doublings = 0
    while norm > _REACH:
        norm, doublings = 0.5 * norm, doublings + 1
    h = step * 2.0**-doublings
    x = h * A
    square, power, series = x @ x, x, torch.zeros_like(x)
    for coefficient in _BERNOULLI:
        series = series + coefficient * power
        power = power @ square
    F = -(inverse / h + 0.5 * projection + series)
    for _ in range(doublings):
        factors, pivots = lu_factor(identity + 2.0 * F)
        F = torch.linalg.lu_solve(factors, pivots, F @ F)  # the two commute
    return F


def predicted_gap(
    system: FastSlowSystem, y_before: Dense, y: Dense, *, period: Integer, step: Number, euler: bool = False
) -> Tensor:
    """The leading term [..., n] of x̄ − p_st(y) in a settled block at y[..., m], the block before being at y_before.

    float64. It knows A(y) and p_st, and no power of K. Raises `ValueError` for bad numbers and shapes and (Euler) a
    step too large for the exit rates, `GeneratorError` naming the y at which A(y) is no generator.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> blocks = theory.token_clock(system, [1.0, 0.0], y0, period=1024, n_blocks=20, step=0.05)
        >>> gap = blocks.mean[-1] - theory.stationary_distribution(system.A(blocks.y[-1]))
        >>> predicted = theory.predicted_gap(system, blocks.y[-2], blocks.y[-1], period=1024, step=0.05)
        >>> bool(((gap - predicted).abs() < 1e-3 * predicted.abs()).all())
        True
    """
    period, step = check_integer(period, "period", least=1), check_positive(step, "step")
    y_before, y = (
        check_vectors(name, value, system.n_slow, "slow variables of the system")
        for name, value in (("y_before", y_before), ("y", y))
    )
    check_broadcast(y_before=y_before.shape[:-1], y=y.shape[:-1])
    for at in (y_before, y):
        system.check_at(at)
    A = system.A(y)
    p = stationary_distribution(A)
    F = pooling_memory(A, p, step, euler=euler)
    return _apply(F, stationary_distribution(system.A(y_before)) - p) / period


@dataclass(frozen=True)
class SettledGap:
    """The leading term [..., n] of x̄ − p_st(y), the block before y_before[..., m] that it rests on, and next_order:
    how large, relative to it and in the mean, what it leaves out of order 1/P² may be."""

    leading: Tensor
    y_before: Tensor
    next_order: float


def settled_gap(
    system: FastSlowSystem,
    y: Any,
    *,
    period: Any,
    step: Any,
    euler: bool = False,
    near: Any = None,
    near_earlier: Any = None,
) -> SettledGap:
    """The gap of a settled block at y[..., m], by this system's own backward step: see the module.

    near[..., m]: where the backward equation has several solutions, the one near this is meant; it moves no solution.
    near_earlier[..., m]: the same of the block before that. Raises as `predicted_gap` does.
    """
    period, step = check_integer(period, "period", least=1), check_positive(step, "step")
    y = check_vectors("y", y, system.n_slow, "slow variables of the system").detach()
    guess = y if near is None else check_vectors("near", near, system.n_slow, "slow variables of the system").detach()
    check_broadcast(y=y.shape[:-1], near=guess.shape[:-1])
    if near_earlier is not None:
        near_earlier = check_vectors("near_earlier", near_earlier, system.n_slow, "slow variables of the system")
        check_broadcast(y=y.shape[:-1], near_earlier=near_earlier.shape[:-1])
    system.check_at(y)

    def p_st(at: Tensor) -> Tensor:
        return stationary_distribution(system.A(at)).detach()

    def back(at: Tensor, start: Tensor, lag: Tensor | float = 0.0) -> Tensor:
        def forward(before: Tensor) -> Tensor:
            return before + step * system.g(p_st(before) + lag, before).detach()

        return _solve(forward, at, start, system.held)

    p = p_st(y)
    coarse = back(y, guess)  # x̄′ taken for p_st(y′)
    F = pooling_memory(system.A(y).detach(), p, step, euler=euler)
    p_coarse = p_st(coarse)
    earlier = back(coarse, coarse - (y - coarse) if near_earlier is None else near_earlier.detach())
    memory = pooling_memory(system.A(coarse).detach(), p_coarse, step, euler=euler)
    lag = _apply(memory, p_st(earlier) - p_coarse) / period
    before = back(y, coarse, lag)
    p_before = p_st(before)
    leading = _apply(F, p_before - p) / period
    size, change = leading.abs().sum(-1), (_apply(F, p_before - p_coarse) / period).abs().sum(-1)
    if float(size.sum()) == 0:
        return SettledGap(leading, before, 0.0)
    # The last correction was of relative order 1/P, point by point; the next one is its square.
    square = change * (change / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp(max=1.0)
    # and F is known to the condition of A^#
    condition = 2.0 * step * system.A(y).detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1) * F.abs().sum(-2).amax(-1)
    rounding = 8 * F.shape[-1] * torch.finfo(F.dtype).eps * float(condition.mean())
    return SettledGap(leading, before, float(square.sum() / size.sum()) + rounding)


def _solve(
    forward: Callable[[Tensor], Tensor], target: Tensor, start: Tensor, held: Callable[[Tensor], Tensor]
) -> Tensor:
    """y′[..., m] with forward(y′) = target[..., m], from `start`, within the box: Broyden's method at each point."""
    y = held(start)
    inverse = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device).expand(*y.shape, y.shape[-1])
    miss = target - forward(y)
    for _ in range(_ITERATIONS):
        move = held(y + _apply(inverse, miss)) - y
        if not bool((move.abs() > 2 * torch.finfo(y.dtype).eps * y.abs().clamp_min(1e-300)).any()):
            break
        y = y + move
        missed = target - forward(y)
        pushed = _apply(inverse, miss - missed)  # where the model of the inverse would have gone
        along = (move[..., None, :] @ inverse)[..., 0, :]
        weight = (along * (miss - missed)).sum(-1, keepdim=True)
        usable = weight.abs() > 1e-3 * move.square().sum(-1, keepdim=True)
        update = (move - pushed)[..., :, None] * along[..., None, :] / torch.where(usable, weight, 1.0)[..., None]
        inverse = inverse + torch.where(usable[..., None], update, 0.0)
        miss = missed
    return y


def _apply(F: Tensor, v: Tensor) -> Tensor:
    return (F @ v[..., None])[..., 0]
