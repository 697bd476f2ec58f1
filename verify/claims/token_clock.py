"""Pooling over P tokens is what makes ε = 1/P: the mean of a block remembers its start with weight 1/P.

The means are those of the *network*: the states of a chain are fed as a stream of tokens to the coupling of a model,
and what its pooling hands to its slow path is held against the closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from torch import Tensor

FACTOR = 16.0  # times n η and the terms of the sums below
PERIODS = (1, 2, 3, 5, 8, 13, 32, 100, 257, 1000)
BLOCKS = 2
REST = 3  # tokens after the last complete block, fewer where the period is: they belong to no pool
FEW = 100  # generators of a mutant


def check(profile: Profile) -> Exact:
    """Block means of the network, by definition, by doubling and in closed form: the largest disagreement."""
    return _closed_form(profile.seed)


def mutant(profile: Profile) -> Exact:
    """The mean is taken over the states before each step, one step early."""
    return _closed_form(profile.seed, count=FEW, stream=lambda states: states[:, :-1])


def _closed_form(
    seed: int,
    *,
    count: int = 1000,
    stream: Callable[[Tensor], Tensor] = lambda states: states[:, 1:],
    euler_step: float = 1.0,
    start: float = 1.0,
    slow_step: float = 1.0,
) -> Exact:
    """stream: the tokens among the states x_0, x_1, …; the factors are what mutants have wrong: the step of the closed
    form's kernel, the weight of x_0 in it, and the slow step of the clock."""
    import torch

    from theory import get_system, token_clock
    from theory.clock.block_mean import block_mean, block_mean_closed_form, inverse_of_one_minus, propagator
    from theory.stationary.distribution import stationary_distribution
    from verify.claims._generators import KINDS, random_generators, random_probabilities

    worst = {"network's pooling, closed form": 0.0, "network's pooling, by definition": 0.0, "doubling": 0.0}
    worst |= {"blocks that the network pools": 0.0, "P (x̄ − p) at large P": 0.0}
    seen = 0
    for euler, periods in ((False, PERIODS), (True, PERIODS[::-1])):
        for A, period in zip(random_generators(seed + euler, count=count), periods, strict=True):
            x, p = random_probabilities(A, seed), stationary_distribution(A)
            # A step of half the shortest residence time of the batch: fit for both kernels.
            step = float(0.5 / -A.diagonal(dim1=-2, dim2=-1).min())
            K = propagator(A, step, euler=euler)
            states = _states(K, x, BLOCKS * period + min(REST, period - 1))
            pooled = pooled_by_the_network(stream(states), period)
            inverse = torch.linalg.inv(torch.eye(A.shape[-1], dtype=A.dtype) - K + p[..., :, None])
            size = inverse.abs().sum(-2).amax(-1)
            unit = FACTOR * A.shape[-1] * torch.finfo(A.dtype).eps / 2
            if pooled.shape[1] != BLOCKS:
                worst["blocks that the network pools"] = float("inf")
                continue
            for k in range(BLOCKS):
                begins = states[:, k * period]
                closed = block_mean_closed_form(A, p, p + start * (begins - p), period, euler_step * step, euler=euler)
                by_definition = states[:, k * period + 1 : (k + 1) * period + 1].mean(1)
                doubled, _ = block_mean(K, begins, period)
                for name, one, other in (
                    ("network's pooling, closed form", pooled[:, k], closed),
                    ("network's pooling, by definition", pooled[:, k], by_definition),
                    ("doubling", doubled, closed),
                ):
                    _keep(worst, name, (one - other).abs().sum(-1) / (unit * (period * (k + 1) + size)))
            # Beyond all relaxation nothing but the 1/P term is left, so P (x̄ − p) no longer depends on P.
            long = 2 ** int(torch.tensor(60.0 * float(size.max())).log2().ceil())
            constant = (K @ inverse_of_one_minus(A, K, x - p, p, step, euler=euler)[..., None])[..., 0]
            scaled = long * (block_mean(K, x, long)[0] - p)
            _keep(worst, "P (x̄ − p) at large P", (scaled - constant).abs().sum(-1) / (unit * (long + size.square())))
            seen += len(A)
    system = get_system("driven_cycle")
    y0 = system.uniform(4, seed=seed)
    centre = torch.full((4, system.n_states), 1.0 / system.n_states, dtype=y0.dtype)
    blocks = token_clock(system, centre, y0, period=8, n_blocks=3, step=slow_step * 0.05)
    slow_time = (blocks.y[:, 1:] - blocks.y[:, :-1]) / system.g(blocks.mean[:, :-1], blocks.y[:, :-1])
    worst["slow time of a block over h"] = float((slow_time / 0.05 - 1.0).abs().max()) / (FACTOR * 1e-14)
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="largest disagreement on the mean of a block, over its rounding",
        measured=worst[largest],
        bound=1.0,
        reason=f"{seen} random generators ({', '.join(KINDS)}), half of them for each kernel, {BLOCKS} blocks of each "
        f"pooled by the network, P = {', '.join(map(str, PERIODS))}; worst: {largest}",
        details={"ratios": [{"of": name, "ratio": ratio} for name, ratio in worst.items()], "generators": seen},
    )


def _keep(worst: dict[str, float], name: str, ratios: Tensor) -> None:
    ratio = float(ratios.max())
    worst[name] = max(worst[name], ratio if ratio == ratio else float("inf"))


def _states(K: Tensor, x: Tensor, steps: int) -> Tensor:
    """x_0, K x_0, K² x_0, … [B, 1 + steps, n], one product at a time."""
    import torch

    states = [x]
    for _ in range(steps):
        states.append((K @ states[-1][..., None])[..., 0])
    return torch.stack(states, 1)


def pooled_by_the_network(stream: Tensor, period: int) -> Tensor:
    """What the pooling of a coupled model hands to its slow path for a stream[B, T, n]: y[B, N, n].

    The model is as wide as the stream, with a channel of zeros where n is odd (a head needs pairs).
    """
    import torch

    from network.config import FastSlowConfig
    from network.model import FastSlowLM

    batch, length, n = stream.shape
    width = n + n % 2
    config = FastSlowConfig(
        vocab_size=2, block_size=length, n_layer=1, n_slow_layer=1, n_embd=width, n_head=1, period=period
    )
    model = FastSlowLM(config, generator=torch.Generator().manual_seed(0)).double()
    coupling: Any = model.coupling
    seen: list[Tensor] = []
    hook = coupling.slow.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    padded = torch.cat([stream, stream.new_zeros(batch, length, width - n)], -1)
    try:
        with torch.no_grad():
            coupling.signal(padded, model.rotary[:length])
    finally:
        hook.remove()
    return seen[0][..., :n]


def _with_pool(broken: Callable[[Tensor, int], Tensor]) -> Callable[[Profile], Exact]:
    """The check, with `broken` in the place of the network's own `block_mean`."""

    def run(profile: Profile) -> Exact:
        import network.model
        from verify.claims._broken import replaced

        with replaced(network.model, "block_mean", broken):
            return _closed_form(profile.seed, count=FEW)

    return run


def half_of_each_block(x: Tensor, period: int) -> Tensor:
    """A pool that averages P/2 of its P tokens (for P = 1 the one there is)."""
    from network.pooling import block_mean

    blocks = x.shape[1] // period
    part = x[:, : blocks * period].unflatten(1, (blocks, period))[:, :, : max(1, period // 2)]
    return part.mean(2) if period > 1 else block_mean(x, period)


def one_token_late(x: Tensor, period: int) -> Tensor:
    """A pool whose blocks begin one token late."""
    from network.pooling import block_mean

    return block_mean(x.roll(-1, 1), period)


def one_token_too_few(x: Tensor, period: int) -> Tensor:
    """The sum of P tokens over P + 1."""
    from network.pooling import block_mean

    return block_mean(x, period) * period / (period + 1)


def uneven_weights(x: Tensor, period: int) -> Tensor:
    """A pool in which the last token of each block weighs one per cent more."""
    from network.pooling import block_mean

    last = x[:, period - 1 : (x.shape[1] // period) * period : period]
    return (block_mean(x, period) * period + 0.01 * last) / (period + 0.01)


CLAIM = ExactClaim(
    id="token_clock",
    statement="Causal block-mean pooling over P tokens enforces ε = 1/P: a block lasts P fast steps and one slow step, "
    "and its mean is x̄ = p_st + (1/P) K (I − K^P)(I − K)^# (x − p_st).",
    source="the paper's time-scale separation by pooling; the closed form is the geometric series of K on vectors of "
    "sum zero",
    check=check,
    mutant=mutant,
    mutation="the mean is taken over the states before each step, one step early",
    mutants=(
        Mutant("half_a_block", "the network's pool averages P/2 of its P tokens", _with_pool(half_of_each_block)),
        Mutant("pool_one_token_late", "the network's blocks begin one token late", _with_pool(one_token_late)),
        Mutant("pool_over_p_plus_one", "the network's pool divides by P + 1", _with_pool(one_token_too_few)),
        Mutant(
            "uneven_pool", "the last token of a block weighs 1 % more in the network's pool", _with_pool(uneven_weights)
        ),
        Mutant(
            "kernel_step",
            "the step of the closed form's kernel is 1 % too long",
            lambda profile: _closed_form(profile.seed, count=FEW, euler_step=1.01),
        ),
        Mutant(
            "memory_of_the_start",
            "the closed form remembers the start with weight 1.01/P",
            lambda profile: _closed_form(profile.seed, count=FEW, start=1.01),
        ),
        Mutant(
            "slow_step",
            "a block lasts 1.01 slow steps",
            lambda profile: _closed_form(profile.seed, count=FEW, slow_step=1.01),
        ),
    ),
)
