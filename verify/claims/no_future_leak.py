"""The slow path reads no future token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from torch import Tensor

    from network import FastSlowLM

FEW = 3  # configurations of a mutant, one of each arm
LONGEST = 24  # tokens per test sequence; a period's block and more in any case


def check(profile: Profile) -> Exact:
    """Replace every token in turn, gates open: the largest change of an earlier logit, which must be zero."""
    return _leak(profile.seed)


def mutant(profile: Profile) -> Exact:
    """Slow signals are handed back one block early."""
    return _few(lambda model: _unpooled_by(model, _one_block_early))(profile)


def _leak(seed: int, *, broken: Callable[[FastSlowLM], None] | None = None, **fixed: Any) -> Exact:
    """broken: what a mutant does to each model, which are then fewer; fixed: of the configurations."""
    from network.leak_check import leak_check
    from verify.claims._networks import COUNT, model_of, random_configs

    largest, reached, count = 0.0, float("inf"), 0
    periods: set[int] = set()
    for config in random_configs(seed, arms=("coupled", "blind", "local"), count=FEW if broken else COUNT):
        model = model_of(config, seed + count, **fixed)
        if broken:
            broken(model)
        length = min(config.block_size, max(LONGEST, 2 * config.period + 1))
        report = leak_check(model, length=length, seed=seed + count)
        largest = max(largest, report.largest if report.largest == report.largest else float("inf"))
        reached = min(reached, report.reach or 0.0)
        periods.add(config.period)
        count += 1
    if not broken and reached == 0.0:
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


def _one_token_early(c: Tensor, period: int, length: int) -> Tensor:
    """Each signal one token too soon: a token reads a block that its successor completes."""
    import torch.nn.functional as F

    from network.pooling import unpool

    early = unpool(c, period, length).roll(-1, 1)
    return F.pad(early[:, :-1], (0, 0, 0, 1))


def _sum_over_time(c: Tensor, period: int, length: int) -> Tensor:
    """A normalisation over time: one per cent of the mean over all blocks is taken off each signal."""
    from network.pooling import unpool

    return unpool(c - 0.01 * c.mean(1, keepdim=True), period, length)


def _few(broken: Callable[[FastSlowLM], None], **fixed: Any) -> Callable[[Profile], Exact]:
    return lambda profile: _leak(profile.seed, broken=broken, **fixed)


def _unpooled_by(model: FastSlowLM, unpool: Callable[[Tensor, int, int], Tensor]) -> None:
    coupling: Any = model.coupling
    coupling.unpool = unpool


def _with_pool(profile: Profile) -> Exact:
    """The network's blocks begin one token late: each mean holds the first token of the next block."""
    import network.model
    from verify.claims import token_clock
    from verify.claims._broken import replaced

    with replaced(network.model, "block_mean", token_clock.one_token_late):
        return _leak(profile.seed, broken=lambda model: None)


def _one_head_looks_ahead(model: FastSlowLM) -> None:
    """The last fast layer's attention is not causal."""
    layer: Any = model.fast[-1]
    layer.attention.causal = False


def _last_token_everywhere(model: FastSlowLM) -> None:
    """The coupling adds 1e-6 of the last token to all tokens: a leak of the size of a rounding in float32."""
    coupling: Any = model.coupling
    coupling.register_forward_hook(lambda _, inputs, fed_back: fed_back + 1e-6 * inputs[0][:, -1:])


CLAIM = ExactClaim(
    id="no_future_leak",
    statement="Causal pooling: the slow path reads complete blocks only, so no logit depends on a later token.",
    source="the paper's causal block-mean pooling",
    check=check,
    mutant=mutant,
    mutation="slow signals are handed back one block early",
    mutants=(
        Mutant(
            "one_token_early",
            "slow signals are handed back one token early",
            _few(lambda model: _unpooled_by(model, _one_token_early)),
        ),
        Mutant(
            "normalised_over_time",
            "1 % of the mean over all blocks is taken off each signal",
            _few(lambda model: _unpooled_by(model, _sum_over_time)),
        ),
        Mutant("pool_one_token_late", "the network's blocks begin one token late", _with_pool),
        Mutant(
            "full_slow_attention",
            "the slow path attends to all blocks",
            _few(lambda model: None, slow_attention="full_leaking"),
        ),
        Mutant("fast_attention", "the last fast layer is not causal", _few(_one_head_looks_ahead)),
        Mutant("last_token", "1e-6 of the last token is added to all tokens", _few(_last_token_everywhere)),
    ),
)
