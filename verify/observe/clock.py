"""Pairs from the token clock: (y_k, x̄_k), the slow state held in the last block and the mean of the fast states in
it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory import (
    FastSlowSystem,
    first_order,
    spectral_gap,
    stationary_distribution,
    token_clock,
    total_variation,
)
from theory.clock.block_mean import block_mean, propagator
from theory.clock.settled import SettledGap, settled_gap
from verify.observe import Observation

# Four: the mean of the first is off by F (x₀ − p)/P, and so the y of the second, which may not be the block before the
# last: on that the leading term rests.
FEWEST_BLOCKS, MOST_BLOCKS = 4, 8
LARGE_CHAIN = 33  # states: from here on a block, which costs n³, is what a measurement pays for
SETTLED_IN_BLOCK = 8.0  # P h λ: the block itself forgets its start, e^{-8} = 3e-4 of it is left
SETTLED_IN_RUN = 10.0  # (number of blocks) P h λ, together with
SLOW_MARGIN = 20.0  # P λ over the rate at which the slow displacement changes


def observe(
    system: FastSlowSystem, period: int, *, step: float, kernel: str, count: int, seed: int, device: str = "cpu"
) -> Observation:
    """The last block of `count` trajectories that start uniformly in the box, x at the simplex's centre.

    As many blocks as keep y spread over its box (`number_of_blocks`), the same at every period. The same seed gives
    the same starts at every period, so that a slope over periods is not blurred by the points.
    """
    euler = kernel == "euler"
    y0 = system.uniform(count, seed=seed, device=device)
    x0 = torch.full((count, system.n_states), 1.0 / system.n_states, dtype=y0.dtype, device=y0.device)
    n_blocks = number_of_blocks(system, step)
    blocks = token_clock(system, x0, y0, period=period, n_blocks=n_blocks, step=step, euler=euler)
    stayed = blocks.inside.all(-1)
    first = (~blocks.inside).any(0).nonzero()
    when = f"the first in block {int(first[0])}, slow time {int(first[0]) * step:.3g}" if len(first) else ""
    notes = set_aside(stayed, period, when)
    y, mean = blocks.y[stayed, -1], blocks.mean[stayed, -1]
    y_before, y_earlier = blocks.y[stayed, -2], blocks.y[stayed, -3]
    known: dict[int, SettledGap] = {}

    def settled(theory: FastSlowSystem) -> SettledGap:
        # the data only say which solution is meant where the theory's backward step has several
        if id(theory) not in known:
            near = {"near": y_before, "near_earlier": y_earlier}
            known[id(theory)] = settled_gap(theory, y, period=period, step=step, euler=euler, **near)
        return known[id(theory)]

    def continuous_term(theory: FastSlowSystem) -> Tensor:
        return first_order(theory, y) / period

    def memory() -> tuple[str, float]:
        slowest = float(relaxation_rate(system, y).detach().min())
        return _unsettled(system, blocks.y[stayed], period, step, slowest), math.exp(-period * step * slowest)

    def rounding(theory: FastSlowSystem) -> float:
        # A block that starts at p_st(y) should stay there; and y itself has a last digit, which the difference of
        # p_st between two blocks carries into the leading term: much where the box lies far from 0.
        A = theory.A(y)
        p = stationary_distribution(A)
        stays, _ = block_mean(propagator(A, step, euler=euler), p, period)
        beside = stationary_distribution(theory.A(torch.nextafter(y, theory.low.to(y).expand_as(y))))
        forgets = -torch.expm1(-step * relaxation_rate(theory, y))
        resolved = total_variation(beside, p) / (period * forgets)
        return float((total_variation(stays, p) + resolved).detach().mean())

    return Observation(
        y=y,
        x=mean,
        leading_term=lambda theory: settled(theory).leading,
        continuous_term=continuous_term,
        rounding=rounding,
        memory=memory,
        notes=notes,
        next_order=lambda theory: settled(theory).next_order,
    )


def set_aside(stayed: Tensor, period: int, when: str) -> list[str]:
    """The note on trajectories that left the box (stayed[count] is False); `ValueError` if they are more than half."""
    count, left = len(stayed), int((~stayed).sum())
    if not left:
        return []
    note = f"{left} of {count} trajectories left the box ({when}) and were set aside"
    if 2 * left > count:
        raise ValueError(f"P = {period}: {note}; enlarge low/high or check the sign of g(x, y)")
    return [note]


def relaxation_rate(system: FastSlowSystem, y: Tensor) -> Tensor:
    """The spectral gap λ(y)[...]: the closed form where the system carries one, else from the eigenvalues of A(y)."""
    if system.spectral_gap is not None:
        return system.spectral_gap(y)
    return spectral_gap(system.A(y))


def default_step(system: FastSlowSystem, kernel: str) -> float:
    """A step h at which blocks of 64 tokens relax and y moves by at most a tenth of its box: two significant digits.

    h = min(0.16/λ_min, 0.1/(rate at which y crosses its box)) over 256 points of the box, so that P h λ >= 8 from P =
    64 on; for the Euler kernel also h <= 0.5/(largest exit rate).
    """
    y = system.uniform(256, seed=0)
    system.check_at(y)
    A = system.A(y)
    crossing = crossing_rate(system, y)
    slowest = max(float(relaxation_rate(system, y).detach().min()), 0.0)
    limits = [0.1 / crossing if crossing > 0 else math.inf, 0.16 / slowest if 0 < slowest < math.inf else math.inf]
    if kernel == "euler":
        limits.append(0.5 / max(float(-A.detach().diagonal(dim1=-2, dim2=-1).min()), torch.finfo(y.dtype).tiny))
    step = min(limits)
    return float(f"{step:.2g}") if math.isfinite(step) else 1.0


def number_of_blocks(system: FastSlowSystem, step: float) -> int:
    """As many blocks as y takes to cross half its box, h being the slow time of one, but no fewer than four or more
    than eight: more settle shorter periods, fewer keep y from collapsing onto its own attractor. Four where each is
    dear (`is_large`).
    """
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, got {step!r}")
    crossing = crossing_rate(system, system.uniform(256, seed=0))
    wanted = 0.5 / (crossing * step) if crossing > 0 else math.inf
    return int(min(max(wanted, FEWEST_BLOCKS), FEWEST_BLOCKS if is_large(system) else MOST_BLOCKS))


def is_large(system: FastSlowSystem) -> bool:
    """Whether the system is a large chain with one slow variable: a curve, known to rounding from few points of it."""
    return system.n_states >= LARGE_CHAIN and system.n_slow == 1


def crossing_rate(system: FastSlowSystem, y: Tensor) -> float:
    """max |g(x, y)| over the width of the box, over y[k, m], with x at the simplex's centre: per unit of time."""
    centre = torch.full((len(y), system.n_states), 1.0 / system.n_states, dtype=y.dtype, device=y.device)
    return float((system.g(centre, y).detach().abs() / (system.high - system.low).to(y)).max())


def _unsettled(system: FastSlowSystem, y: Tensor, period: int, step: float, slowest: float) -> str:
    """Why the start value is not yet forgotten at the end of some trajectory y[count, k, m], or an empty string.

    slowest: the smallest relaxation rate there.
    """
    in_block = period * step * slowest
    if in_block >= SETTLED_IN_BLOCK:
        return ""
    # A block that has not relaxed carries the lag of those before it. That adds up to the same leading term as long as
    # the lag is steady: P λ far above the rate at which the displacement of y per block changes.
    moves = (y[:, 1:] - y[:, :-1]).detach() / (system.high - system.low).to(y)
    last = float(moves[:, -1].abs().mean())
    change = float((moves[:, -1] - moves[:, -2]).abs().mean())
    slow_rate = change / (step * last) if last > 0 else 0.0
    if y.shape[1] * in_block >= SETTLED_IN_RUN and period * slowest >= SLOW_MARGIN * slow_rate:
        return ""
    return (
        f"not relaxed within its block: P h λ = {in_block:.2g} at the slowest test point (λ = {slowest:.2g}), "
        f"{SETTLED_IN_BLOCK:g} is needed"
    )
