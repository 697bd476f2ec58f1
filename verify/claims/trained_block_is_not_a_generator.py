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
    from verify.cells import Cell

RESOLUTION = 0.05  # of the distance at initialisation: a generator with 1 % of noise on it is nearer than that
DRAWS = tuple(range(100, 105))  # seeds of the initialisations that the trained blocks are held against
QUANTITY = (
    "relative distance to the nearest generator at the best multiple of the identity, over that of the same block as "
    "initialised, least over blocks and axes (0: a generator; 1: what initialisation leaves)"
)
SIZES: dict[str, tuple[dict[str, Any], int]] = {
    "quick": ({"n_embd": 32, "n_layer": 2, "block_size": 64}, 60_000),
    "paper": ({}, 500_000),
    "scale": ({}, 10_000_000),
}


def cells(profile: Profile) -> list[Cell]:
    """A model per seed, beside the same initialisations of its architecture."""
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig
    from verify.generator_defect.trained import defect_cell

    sizes, tokens = SIZES[profile.name]
    return [
        defect_cell(
            FastSlowConfig(**sizes),
            TrainConfig(tokens=tokens, seed=seed, evaluations=1, eval_tokens=4096),
            draws=DRAWS,
            device=profile.device,
        )
        for seed in profile.seeds
    ]


def check(profile: Profile) -> Gap:
    """For each trained model, block and axis its shifted distance over that at initialisation, and of these the
    least."""
    from verify.statistics.paired import t_interval

    found = profile.trained
    nearest = [min(one["blocks"], key=lambda row: row["over initial"]) for one in found]
    ratios = [one["over initial"] for one in nearest]
    reached, attracting, apart = (
        statistics.fmean(value for one in found for value in one[name]) for name in ("reached", "attracting", "sine")
    )
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
        [row | {"seed": one["seed"]} for one in found for row in one["blocks"]],
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
        quantity=QUANTITY,
        measured=measured,
        bound=RESOLUTION,
        interval=interval,
        reason=reason,
        details={"blocks": rows},
    )


CLAIM = GapClaim(
    id="trained_block_is_not_a_generator",
    statement="The trained fast block is not a generator; the identity φ(y) = p_st(y) is the structured limit and no "
    "claim about the network as trained.",
    source="the paper's gap-marked mapping; the nearest generator is an exact projection (theory.nearest_generator)",
    check=check,
    cells=cells,
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
