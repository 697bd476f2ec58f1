"""The slow path reads no future token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Exact, ExactClaim, Profile

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 24  # tokens per test sequence; a period's block and more in any case


def check(profile: Profile) -> Exact:
    """Replace every token in turn, gates open: the largest change of an earlier logit, which must be zero."""
    return _leak(profile.seed, early=False)


def mutant(profile: Profile) -> Exact:
    """Slow signals are handed back one block early."""
    return _leak(profile.seed, early=True)


def _leak(seed: int, *, early: bool) -> Exact:
    from network.leak_check import leak_check
    from verify.claims._networks import COUNT, model_of, random_configs

    largest, reached, count = 0.0, float("inf"), 0
    periods: set[int] = set()
    for config in random_configs(seed, arms=("coupled", "blind", "local"), count=20 if early else COUNT):
        model = model_of(config, seed + count)
        if early and model.coupling is not None:
            model.coupling.unpool = _one_block_early
        length = min(config.block_size, max(LONGEST, 2 * config.period + 1))
        report = leak_check(model, length=length, seed=seed + count)
        largest = max(largest, report.largest if report.largest == report.largest else float("inf"))
        reached = min(reached, report.reach or 0.0)
        periods.add(config.period)
        count += 1
    if not early and reached == 0.0:
        raise RuntimeError("a slow path moved nothing with its gates open: the check would be empty there")
    return Exact(
        quantity="largest change of a logit by a later token, gates open",
        measured=largest,
        bound=0.0,
        reason=f"{count} random configurations of three arms, P in {sorted(periods)}; "
        f"the slow paths themselves move logits by {reached:.1e} or more",
        details={"configurations": count, "smallest_reach": reached},
    )


def _one_block_early(c: Tensor, period: int, length: int) -> Tensor:
    """`network.pooling.unpool` with each signal a block too soon: a token reads the block that it is in."""
    from network.pooling import unpool

    ahead = c.roll(-1, 1)
    return unpool(ahead, period, length)


CLAIM = ExactClaim(
    id="no_future_leak",
    statement="Causal pooling: the slow path reads complete blocks only, so no logit depends on a later token.",
    source="the paper's causal block-mean pooling",
    check=check,
    mutant=mutant,
    mutation="slow signals are handed back one block early",
)
