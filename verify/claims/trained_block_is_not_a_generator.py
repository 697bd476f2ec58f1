"""The trained fast block is not a generator: how far from one, against what its own initialisation leaves.

A distance to the nearest generator means nothing alone: a random matrix has one too. So the figure is the trained
block's shifted distance over that of the same block as initialised, each the least over blocks and axes and a mean over
seeds: 0 for a generator, 1 where training has moved it no nearer than chance and architecture had put it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from verify.claim import Gap, GapClaim, Mutant, Profile

if TYPE_CHECKING:
    from verify.generator_defect.block import BlockDefect

RESOLUTION = 0.05  # of the distance at initialisation: a generator with 1 % of noise on it is nearer than that
DRAWS = tuple(range(100, 105))  # seeds of the initialisations that the trained blocks are held against
SIZES: dict[str, tuple[dict[str, Any], int]] = {
    "quick": ({"n_embd": 32, "n_layer": 2, "block_size": 64}, 60_000),
    "paper": ({}, 500_000),
    "scale": ({}, 10_000_000),
}


def check(profile: Profile) -> Gap:
    """Train one coupled model per seed; for each block and axis its shifted distance over that at initialisation, and
    of these the least."""
    from verify.statistics.paired import t_interval

    found = [_trained(profile, seed) for seed in profile.seeds]
    nearest = [min(_over_initial(trained, drawn), key=lambda one: one["over initial"]) for trained, drawn in found]
    ratios = [one["over initial"] for one in nearest]
    blocks = [block for trained, _ in found for block in trained]
    reached = statistics.fmean(block.fixed_point.reached for block in blocks)
    attracting = statistics.fmean(block.attracting for block in blocks)
    apart = statistics.fmean(block.phi_state.sine for block in blocks if block.phi_state is not None)
    _, tokens = SIZES[profile.name]
    return _gap(
        statistics.fmean(ratios),
        t_interval(ratios),
        f"{len(found)} {'model' if len(found) == 1 else 'models'} of {tokens:,} tokens against {len(DRAWS)} random "
        f"initialisations, nearest in the {nearest[0]['axis']} axis of block {nearest[0]['block']}: distance "
        f"{statistics.fmean(one['shifted distance'] for one in nearest):.2f}, at initialisation "
        f"{statistics.fmean(one['initial'] for one in nearest):.2f}, with signs at random "
        f"{statistics.fmean(one['sign flip'] for one in nearest):.2f}, with signs turned "
        f"{statistics.fmean(one['negated'] for one in nearest):.2f}; attracting at {attracting:.1%} of the tokens, "
        f"iterating the update reaches a fixed point at {reached:.1%}; sine of the angle between φ_θ(y) and the state "
        f"it is added to: {apart:.3f}",
        [
            row | {"seed": seed}
            for (trained, drawn), seed in zip(found, profile.seeds, strict=True)
            for row in _over_initial(trained, drawn)
        ],
    )


def mutant(profile: Profile) -> Gap:
    """A block that is a generator, h A(y) x, measured in the same way."""
    return _reference(profile, noise=0.0)


def _reference(profile: Profile, *, noise: float) -> Gap:
    """A true generator block over the mean of its own sign-flip null, noise[relative] on every entry of its mean."""
    import torch

    from verify.generator_defect.distance import mean_figures
    from verify.generator_defect.nulls import sign_flip_null
    from verify.generator_defect.reference import generator_block

    M = generator_block(32, seed=profile.seed)
    rng = torch.Generator().manual_seed(profile.seed)
    M = M * (1.0 + noise * torch.randn(M.shape, generator=rng, dtype=M.dtype))
    chance = sign_flip_null(M, samples=20, seed=profile.seed)["shifted_distance"].mean
    measured = mean_figures(M).shifted_distance
    return _gap(measured / chance, None, f"a true generator block with {noise:.0%} of noise: {measured:.1e}", [])


def _gap(measured: float, interval: tuple[float, float] | None, reason: str, rows: list[dict[str, Any]]) -> Gap:
    return Gap(
        quantity="relative distance to the nearest generator at the best multiple of the identity, over that of the "
        "same block as initialised, least over blocks and axes (0: a generator; 1: what initialisation leaves)",
        measured=measured,
        bound=RESOLUTION,
        interval=interval,
        reason=reason,
        details={"blocks": rows},
    )


def _trained(profile: Profile, seed: int) -> tuple[tuple[BlockDefect, ...], list[tuple[BlockDefect, ...]]]:
    """The blocks of a trained model, and those of DRAWS initialisations of its architecture, at the same tokens."""
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.data import load_data
    from network.training import train
    from network.training_config import TrainConfig
    from verify.generator_defect.command import validation_tokens
    from verify.generator_defect.measurement import initial_defects, measure_defect

    sizes, tokens = SIZES[profile.name]
    data = load_data(open_corpus("shakespeare"))
    training = TrainConfig(tokens=tokens, seed=seed, evaluations=1, eval_tokens=4096)
    config = FastSlowConfig(**sizes)
    model: Any = train(config, training, data=data, device=profile.device).model
    read = validation_tokens({"corpus": data.corpus, "bpe": None, "sha256": data.sha256}, 2, 64).to(profile.device)
    drawn = initial_defects(config, read, seeds=DRAWS)
    return measure_defect(model, read, iterations=200, null_samples=2).blocks, [one.blocks for one in drawn]


def _over_initial(trained: tuple[BlockDefect, ...], drawn: list[tuple[BlockDefect, ...]]) -> list[dict[str, Any]]:
    """A row for each block and axis: its figures, its nulls, and its distance over the mean at initialisation."""
    rows = []
    for number, block in enumerate(trained):
        for name in ("channel", "token"):
            axis, nulls = getattr(block, name), getattr(block, f"{name}_nulls")
            initial = [getattr(blocks[number], name).shifted_distance for blocks in drawn]
            rows.append(
                {
                    "block": block.block,
                    "axis": name,
                    "distance": axis.distance,
                    "shifted distance": axis.shifted_distance,
                    "initial": statistics.fmean(initial),
                    "initial, least": min(initial),
                    "initial, largest": max(initial),
                    "over initial": axis.shifted_distance / statistics.fmean(initial),
                    "sign flip": nulls.sign_flip["shifted_distance"].mean,
                    "negated": nulls.negated.shifted_distance,
                    "column sums": axis.sum_defect,
                    "negative rates": axis.negative_mass,
                    "abscissa": axis.abscissa,
                }
            )
    return rows


CLAIM = GapClaim(
    id="trained_block_is_not_a_generator",
    statement="The trained fast block is not a generator; the identity φ(y) = p_st(y) is the structured limit and no "
    "claim about the network as trained.",
    source="the paper's gap-marked mapping; the nearest generator is an exact projection (theory.nearest_generator)",
    check=check,
    mutant=mutant,
    mutation="a block that is a generator, x + h A(y) x, in place of the trained one",
    mutants=(
        Mutant(
            "noisy_generator",
            "a generator with 1 % of noise on its entries",
            lambda profile: _reference(profile, noise=0.01),
        ),
    ),
)
