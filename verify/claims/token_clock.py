"""Pooling over P tokens is what makes ε = 1/P: the mean of a block remembers its start with weight 1/P."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Exact, ExactClaim, Profile

if TYPE_CHECKING:
    from torch import Tensor

FACTOR = 16.0  # times n η and the terms of the sums below
PERIODS = (1, 2, 3, 5, 8, 13, 32, 100, 257, 1000)


def check(profile: Profile) -> Exact:
    """Block means by definition, by doubling and by the closed form: the largest disagreement over its rounding."""
    return _closed_form(profile.seed, before=False)


def mutant(profile: Profile) -> Exact:
    """The mean is taken over the states before each step, one step early."""
    return _closed_form(profile.seed, before=True)


def _closed_form(seed: int, *, before: bool) -> Exact:
    import torch

    from theory import get_system, token_clock
    from theory.clock.block_mean import block_mean, block_mean_closed_form, inverse_of_one_minus, propagator
    from theory.stationary.distribution import stationary_distribution
    from verify.claims._generators import KINDS, random_generators, random_probabilities

    worst = {"closed form": 0.0, "doubling": 0.0, "P (x̄ − p) at large P": 0.0}
    count = 0
    for euler, periods in ((False, PERIODS), (True, PERIODS[::-1])):
        for A, period in zip(random_generators(seed + euler), periods, strict=True):
            x, p = random_probabilities(A, seed), stationary_distribution(A)
            # A step of half the shortest residence time of the batch: fit for both kernels.
            step = float(0.5 / -A.diagonal(dim1=-2, dim2=-1).min())
            K = propagator(A, step, euler=euler)
            mean = _by_definition(K, x, period, before=before)
            closed = block_mean_closed_form(A, p, x, period, step, euler=euler)
            doubled, _ = block_mean(K, x, period)
            inverse = torch.linalg.inv(torch.eye(A.shape[-1], dtype=A.dtype) - K + p[..., :, None])
            size = inverse.abs().sum(-2).amax(-1)
            unit = FACTOR * A.shape[-1] * torch.finfo(A.dtype).eps / 2
            for name, other in (("closed form", closed), ("doubling", doubled)):
                ratio = (mean - other).abs().sum(-1) / (unit * (period + size))
                worst[name] = max(worst[name], float(ratio.max()))
            # Beyond all relaxation nothing but the 1/P term is left, so P (x̄ − p) no longer depends on P.
            long = 2 ** int(torch.tensor(60.0 * float(size.max())).log2().ceil())
            constant = (K @ inverse_of_one_minus(A, K, x - p, p, step, euler=euler)[..., None])[..., 0]
            scaled = long * (block_mean(K, x, long)[0] - p)
            ratio = (scaled - constant).abs().sum(-1) / (unit * (long + size.square()))
            worst["P (x̄ − p) at large P"] = max(worst["P (x̄ − p) at large P"], float(ratio.max()))
            count += len(A)
    system = get_system("driven_cycle")
    y0 = system.uniform(4, seed=seed)
    centre = torch.full((4, system.n_states), 1.0 / system.n_states, dtype=y0.dtype)
    blocks = token_clock(system, centre, y0, period=8, n_blocks=3, step=0.05)
    slow_time = (blocks.y[:, 1:] - blocks.y[:, :-1]) / system.g(blocks.mean[:, :-1], blocks.y[:, :-1])
    clock = float((slow_time / 0.05 - 1.0).abs().max()) / (FACTOR * 1e-14)
    worst["slow time of a block over h"] = clock
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="largest disagreement on the mean of a block, over its rounding",
        measured=worst[largest],
        bound=1.0,
        reason=f"{count} random generators ({', '.join(KINDS)}), half of them for each kernel, "
        f"P = {', '.join(map(str, PERIODS))}; worst: {largest}",
        details={"ratios": [{"of": name, "ratio": ratio} for name, ratio in worst.items()], "generators": count},
    )


def _by_definition(K: Tensor, x: Tensor, period: int, *, before: bool) -> Tensor:
    """The mean of `period` states, each after its step, or each before it."""
    total = 0.0 * x
    for _ in range(period):
        after = (K @ x[..., None])[..., 0]
        total = total + (x if before else after)
        x = after
    return total / period


CLAIM = ExactClaim(
    id="token_clock",
    statement="Causal block-mean pooling over P tokens enforces ε = 1/P: a block lasts P fast steps and one slow step, "
    "and its mean is x̄ = p_st + (1/P) K (I − K^P)(I − K)^# (x − p_st).",
    source="the paper's time-scale separation by pooling; the closed form is the geometric series of K on vectors of "
    "sum zero",
    check=check,
    mutant=mutant,
    mutation="the mean is taken over the states before each step, one step early",
)
