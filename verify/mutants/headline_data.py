"""Faults in the data of the headline: the kernel, the block mean, the slow step, the order of blocks, single points."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from verify.mutants import Mutant, replaced
from verify.mutants._headline import CLAIM, EULER, GIVEN, ODE, RING

CLOCK = "theory.clock.blocks"


def _kernel(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """The kernel K of the data is change(honest propagator, A, step, euler)."""

    def changed(honest: Any) -> Any:
        return lambda A, step, *, euler=False: change(honest, A, step, euler)

    return lambda: replaced((f"{CLOCK}:propagator", changed))


def _mean(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """(block mean, end) of the data is change(honest block_mean, K, x, period)."""

    def changed(honest: Any) -> Any:
        return lambda K, x, period: change(honest, K, x, period)

    return lambda: replaced((f"{CLOCK}:block_mean", changed))


def _blocks(change: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[Any]]:
    """What the observer sees of the token clock is change(blocks)."""

    def changed(honest: Any) -> Any:
        return lambda *given, **options: change(honest(*given, **options))

    return lambda: replaced(("verify.observe.clock:token_clock", changed))


def _implicit(honest: Any, A: Any, step: float, euler: bool) -> Any:
    import torch

    return torch.linalg.inv(torch.eye(A.shape[-1], dtype=A.dtype) - step * A)


def _one_entry(honest: Any, A: Any, step: float, euler: bool) -> Any:
    K = honest(A, step, euler=euler).clone()
    K[..., 0, 1] = 1.01 * K[..., 0, 1]
    return K / K.sum(-2, keepdim=True)


def _before_each_step(honest: Any, K: Any, x: Any, period: int) -> Any:
    mean, end = honest(K, x, period)
    return mean + (x - end) / period, end


def _longer_by(steps: int) -> Callable[..., Any]:
    def change(honest: Any, K: Any, x: Any, period: int) -> Any:
        return honest(K, x, period + steps)[0], honest(K, x, period)[1]

    return change


def _forgets_the_last_digit(honest: Any, K: Any, x: Any, period: int) -> Any:
    """The mean of half a block."""
    return honest(K, x, max(1, period // 2))[0], honest(K, x, period)[1]


def _starts_at_the_centre(honest: Any, K: Any, x: Any, period: int) -> Any:
    return honest(K, 0.0 * x + 1.0 / x.shape[-1], period)


def _uncarried(honest: Any, K: Any, x: Any, period: int) -> Any:
    """The next block starts at this one's mean."""
    mean, _ = honest(K, x, period)
    return mean, mean


def _one_point(honest: Any) -> Any:
    """x̄ of the first trajectory's last block is 1 % farther from p_st than it is."""

    def blocks(system: Any, *given: Any, **options: Any) -> Any:
        from theory import stationary_distribution

        found = honest(system, *given, **options)
        mean = found.mean.clone()
        p = stationary_distribution(system.A(found.y[0, -1]))
        mean[0, -1] = mean[0, -1] + 0.01 * (mean[0, -1] - p)
        return dataclasses.replace(found, mean=mean)

    return blocks


def _pairs_one_block_apart(blocks: Any) -> Any:
    return dataclasses.replace(
        blocks, y=blocks.y[..., :-1, :], mean=blocks.mean[..., 1:, :], inside=blocks.inside[..., 1:]
    )


def _states_exchanged(blocks: Any) -> Any:
    mean = blocks.mean.clone()
    mean[..., -1, [0, 1]] = mean[..., -1, [1, 0]]
    return dataclasses.replace(blocks, mean=mean)


def _driven_by(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """One block of the data is change(honest block, …): another slow step."""

    def changed(honest: Any) -> Any:
        return lambda system, x, y, block, period, step, euler: change(honest, system, x, y, block, period, step, euler)

    return lambda: replaced((f"{CLOCK}:_block", changed))


def _end_drives(honest: Any, system: Any, x: Any, y: Any, *rest: Any) -> Any:
    mean, end, _ = honest(system, x, y, *rest)
    return mean, end, y + rest[2] * system.g(end, y)


def _step_too_long(honest: Any, system: Any, x: Any, y: Any, *rest: Any) -> Any:
    mean, end, after = honest(system, x, y, *rest)
    return mean, end, y + 1.001 * (after - y)


def _start_drives(honest: Any, system: Any, x: Any, y: Any, *rest: Any) -> Any:
    mean, end, _ = honest(system, x, y, *rest)
    return mean, end, y + rest[2] * system.g(x, y)


def _row(id: str, breaks: str, size: str, plant: Any, looks: Any = (GIVEN, RING), **more: Any) -> Mutant:
    return Mutant(id=id, claim=CLAIM, breaks=breaks, part="data", size=size, plant=plant, looks=looks, **more)


MUTANTS = (
    _row(
        "kernel_step_0.1%",
        "K = e^{1.001 hA} makes the data",
        "0.1 %",
        _kernel(lambda honest, A, step, euler: honest(A, 1.001 * step, euler=euler)),
    ),
    _row(
        "kernel_step_1.3",
        "K = e^{1.3 hA} wherever a kernel is made",
        "30 %",
        lambda: replaced(
            (f"{CLOCK}:propagator", lambda honest: lambda A, step, *, euler=False: honest(A, 1.3 * step, euler=euler)),
            (
                "theory.clock.block_mean:propagator",
                lambda honest: lambda A, step, *, euler=False: honest(A, 1.3 * step, euler=euler),
            ),
        ),
    ),
    _row("kernel_implicit", "K = (I − hA)⁻¹ where e^{hA} is asked for", "one rule", _kernel(_implicit)),
    _row(
        "kernel_explicit",
        "K = I + hA where e^{hA} is asked for",
        "one rule",
        _kernel(lambda honest, A, step, euler: honest(A, step, euler=True)),
    ),
    _row(
        "kernel_exponential",
        "K = e^{hA} where I + hA is asked for",
        "one rule",
        _kernel(lambda honest, A, step, euler: honest(A, step)),
        (EULER,),
    ),
    _row(
        "kernel_one_entry",
        "one entry of K is 1 % too large, its column brought back to one",
        "1 %",
        _kernel(_one_entry),
    ),
    _row(
        "kernel_transposed",
        "K is transposed and brought back to column sums of one",
        "one index",
        _kernel(
            lambda honest, A, step, euler: (lambda K: K.transpose(-1, -2) / K.transpose(-1, -2).sum(-2, keepdim=True))(
                honest(A, step, euler=euler)
            )
        ),
    ),
    _row(
        "mean_before_steps", "the mean is taken over the states before each step", "one step", _mean(_before_each_step)
    ),
    _row("mean_one_longer", "the mean runs over P + 1 steps", "one step", _mean(_longer_by(1))),
    _row("mean_one_shorter", "the mean runs over P − 1 steps", "one step", _mean(_longer_by(-1))),
    _row("mean_of_half", "the mean runs over P/2 steps", "one digit", _mean(_forgets_the_last_digit)),
    _row("block_from_centre", "each block starts at the simplex's centre", "one state", _mean(_starts_at_the_centre)),
    _row("block_from_mean", "the next block starts at this one's mean", "one state", _mean(_uncarried)),
    _row("end_drives", "the end of a block, not its mean, drives the slow step", "one state", _driven_by(_end_drives)),
    _row(
        "start_drives",
        "the start of a block, not its mean, drives the slow step",
        "one state",
        _driven_by(_start_drives),
    ),
    _row("slow_step_0.1%", "the slow step is 0.1 % too long", "0.1 %", _driven_by(_step_too_long)),
    _row(
        "one_point_1%",
        "x̄ of a single test point is 1 % farther from where it was",
        "1 % of one point",
        lambda: replaced(("verify.observe.clock:token_clock", _one_point)),
    ),
    _row(
        "pairs_a_block_apart",
        "x̄ is paired with the y of the block before",
        "one index",
        _blocks(_pairs_one_block_apart),
    ),
    _row("states_exchanged", "two states of x̄ are exchanged", "one index", _blocks(_states_exchanged)),
    _row(
        "ode_eps_0.2%",
        "the ODE runs at an ε that is 0.2 % too large",
        "0.2 %",
        lambda: replaced(
            (
                "verify.observe.ode:simulate",
                lambda honest: lambda system, x0, y0, t, eps, **o: honest(system, x0, y0, t, 1.002 * eps, **o),
            )
        ),
        (ODE,),
    ),
)
