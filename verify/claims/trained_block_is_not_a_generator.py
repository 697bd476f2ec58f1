"""The trained fast block is not a generator: how far from one, is it attracting, and how far is its state from φ_θ."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from verify.claim import Gap, GapClaim, Profile

if TYPE_CHECKING:
    from verify.generator_defect.block import BlockDefect

RESOLUTION = 1e-12  # a true generator block measures below 1e-14
SIZES = {
    "quick": ({"n_embd": 32, "n_layer": 2, "block_size": 64}, 60_000),
    "paper": ({}, 500_000),
    "scale": ({}, 10_000_000),
}


def check(profile: Profile) -> Gap:
    """Train one coupled model per seed and take the block and axis that are nearest to a generator, identity off."""
    from verify.statistics.paired import t_interval

    found = [_trained(profile, seed) for seed in profile.seeds]
    closest = [_closest(blocks) for blocks in found]
    blocks = [block for one in found for block in one]
    reached = statistics.fmean(block.fixed_point.reached for block in blocks)
    attracting = statistics.fmean(block.attracting for block in blocks)
    apart = statistics.fmean(block.phi_state.sine for block in blocks if block.phi_state is not None)
    _, tokens = SIZES[profile.name]
    return _gap(
        statistics.fmean(closest),
        t_interval(closest),
        f"{len(found)} {'model' if len(found) == 1 else 'models'} of {tokens:,} tokens: "
        f"attracting at {attracting:.1%} of the tokens, iterating the update "
        f"reaches a fixed point at {reached:.1%}; sine of the angle between φ_θ(y) and the state it is added to: "
        f"{apart:.3f}",
        [row for one, seed in zip(found, profile.seeds, strict=True) for row in _rows(one, seed)],
    )


def mutant(profile: Profile) -> Gap:
    """A block that is a generator, h A(y) x, measured in the same way."""
    from verify.generator_defect.reference import measure_reference

    found = measure_reference(8, n_states=32, seed=profile.seed)
    return _gap(
        _closest([found.block]),
        None,
        f"a true generator block: attracting at {found.block.attracting:.1%} of the states, iterating the update "
        f"reaches a fixed point at {found.block.fixed_point.reached:.1%}",
        _rows([found.block], profile.seed),
    )


def _gap(measured: float, interval: tuple[float, float] | None, reason: str, rows: list[dict[str, Any]]) -> Gap:
    return Gap(
        quantity="relative distance to the nearest generator at the best multiple of the identity, least over blocks "
        "and axes (0 for a generator, about 0.7 by chance)",
        measured=measured,
        bound=RESOLUTION,
        interval=interval,
        reason=reason,
        details={"blocks": rows},
    )


def _trained(profile: Profile, seed: int) -> tuple[BlockDefect, ...]:
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.data import load_data
    from network.training import train
    from network.training_config import TrainConfig
    from verify.generator_defect.command import validation_tokens
    from verify.generator_defect.measurement import measure_defect

    sizes, tokens = SIZES[profile.name]
    data = load_data(open_corpus("shakespeare"))
    training = TrainConfig(tokens=tokens, seed=seed, evaluations=1, eval_tokens=4096)
    model = train(FastSlowConfig(**sizes), training, data=data, device=profile.device).model
    read = validation_tokens({"corpus": data.corpus, "bpe": None, "sha256": data.sha256}, 2, 64)
    return measure_defect(model, read.to(profile.device), iterations=200, null_samples=50).blocks


def _closest(blocks: Any) -> float:
    return min(axis.shifted_distance for block in blocks for axis in (block.channel, block.token))


def _rows(blocks: Any, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "seed": seed,
            "block": block.block,
            "axis": name,
            "distance": axis.distance,
            "shifted distance": axis.shifted_distance,
            "column sums": axis.sum_defect,
            "negative rates": axis.negative_mass,
            "abscissa": axis.abscissa,
        }
        for block in blocks
        for name, axis in (("channel", block.channel), ("token", block.token))
    ]


CLAIM = GapClaim(
    id="trained_block_is_not_a_generator",
    statement="The trained fast block is not a generator; the identity φ(y) = p_st(y) is the structured limit and no "
    "claim about the network as trained.",
    source="the paper's gap-marked mapping; the nearest generator is an exact projection (theory.nearest_generator)",
    check=check,
    mutant=mutant,
    mutation="a block that is a generator, x + h A(y) x, in place of the trained one",
)
