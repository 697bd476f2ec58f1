"""Trained models as cells, and the statistics of paired seeds that the empirical claims share.

Arms of a seed share their initial fast weights and the order of the data: d_s = loss(arm, s) − loss(other, s) is free
of what the seed does to both. All intervals and tests are SciPy's, Student's t on the paired differences.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, NotRun, Profile
from verify.statistics.paired import (
    LEVEL,
    MARGIN,
    POWER,
    PairedDifference,
    paired_difference,
    power_of_equivalence,
    seeds_for_equivalence,
)
from verify.statistics.verdict import EmpiricalVerdict

if TYPE_CHECKING:
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig
    from verify.cells import Cell

ARMS = ("dense", "frozen", "coupled", "blind", "local")
PAPER_TOKENS, SCALE_TOKENS = 500_000, 10_000_000


def paper_cells(profile: Profile) -> list[Cell]:
    """Every arm at 500k tokens of Shakespeare, P = 8, for each seed; none under `quick`."""
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig

    if profile.name == "quick":
        return []
    training = TrainConfig(tokens=PAPER_TOKENS, evaluations=5, eval_tokens=32_768)
    return text_cells(profile, {arm: FastSlowConfig(arm=arm) for arm in ARMS}, training)


def scale_cells(profile: Profile) -> list[Cell]:
    """Four arms at 10M tokens of source code for each seed, evaluated every 0.5M tokens; under `scale` alone."""
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig

    if profile.name != "scale":
        return []
    models = {arm: FastSlowConfig(arm=arm) for arm in ARMS if arm != "frozen"}  # frozen is dense, bit for bit
    return text_cells(profile, models, TrainConfig(tokens=SCALE_TOKENS, evaluations=20, eval_tokens=65_536), "source")


def text_cells(
    profile: Profile, models: Mapping[str, FastSlowConfig], training: TrainConfig, corpus: str = "shakespeare"
) -> list[Cell]:
    """A cell per seed and model, seeds outside: an early end leaves whole pairs.

    Raises `network.corpus.CorpusError` where the texts cannot be opened: their contents are part of the key.
    """
    from network.corpus import open_corpus
    from verify.trained.study import Study

    study = Study(models, training, profile.seeds, texts=open_corpus([corpus]), device=profile.device)
    return list(study.cells.values())


def paired(trained: Sequence[dict[str, Any]], arm: str, other: str, *, level: float = LEVEL) -> PairedDifference | None:
    """`arm` − `other` over the seeds that both have, nats per token; None below two of them."""
    losses = {name: losses_of(trained, name) for name in (arm, other)}
    seeds = sorted(losses[arm].keys() & losses[other].keys())
    if len(seeds) < 2:
        return None
    return paired_difference([losses[arm][seed] - losses[other][seed] for seed in seeds], level=level)


def losses_of(trained: Sequence[dict[str, Any]], arm: str) -> dict[int, float]:
    """Validation losses of an arm, by seed."""
    return {cell["seed"]: cell["validation_loss"] for cell in trained if cell["arm"] == arm}


def judge_neutrality(trained: Sequence[dict[str, Any]]) -> Empirical:
    """Is coupled − dense nothing, and does shutting the gate cost nothing? Both by equivalence to zero over seeds.

    A figure is neutral where two one-sided tests place its mean within ± MARGIN, at however narrow an interval; it is
    an effect where the paired 95 % interval excludes zero and equivalence is not shown. CONSISTENT where both figures
    are neutral, INCONSISTENT where one is an effect, INCONCLUSIVE otherwise; how many seeds would decide is said.
    The paper's own criterion, |mean| within the dense arm's run-to-run standard deviation, is reported beside it.
    """
    found = paired(trained, "coupled", "dense")
    if found is None or found.interval is None:
        return undecided("at least two paired seeds of coupled and dense are needed")
    coupled = {cell["seed"]: cell for cell in trained if cell["arm"] == "coupled"}
    seeds = sorted(coupled.keys() & losses_of(trained, "dense").keys())
    costs = [coupled[seed]["closed_gate_loss"] - coupled[seed]["validation_loss"] for seed in seeds]
    cost = paired_difference(costs)
    if cost is None or cost.interval is None:
        raise RuntimeError("paired seeds of coupled and dense without a cost of shutting the gate")
    gate = statistics.fmean(coupled[seed]["gate"] for seed in seeds)
    noise = statistics.stdev(losses_of(trained, "dense").values())
    within = "within" if abs(found.mean) <= noise else "beyond"
    parts = {"coupled − dense": _state(found), "the cost of shutting the gate": _state(cost)}
    if all(state == "neutral" for state in parts.values()):
        verdict = EmpiricalVerdict.CONSISTENT
    elif "effect" in parts.values():
        verdict = EmpiricalVerdict.INCONSISTENT
    else:
        verdict = EmpiricalVerdict.INCONCLUSIVE
    words = {
        "neutral": f"equivalent to zero within ± {MARGIN} nats",
        "effect": f"an effect: its interval excludes zero, and it is not shown to be within ± {MARGIN} nats",
        "open": f"undecided within ± {MARGIN} nats",
    }
    losses = {name: losses_of(trained, name) for name in ("coupled", "dense")}
    spread = statistics.stdev(losses["coupled"][seed] - losses["dense"][seed] for seed in seeds)
    needed = seeds_for_equivalence(spread)
    power = power_of_equivalence(found.seeds, spread) if spread else 1.0
    said = "; ".join(
        f"{name} = {one.mean:+.4f} in [{low:+.4f}, {high:+.4f}], {words[parts[name]]}"
        for (name, one), (low, high) in (
            (("coupled − dense", found), found.interval),
            (("the cost of shutting the gate", cost), cost.interval),
        )
    )
    return Empirical(
        quantity="coupled − dense, nats per token",
        measured=found.mean,
        bound=MARGIN,
        interval=found.interval,
        verdict=verdict,
        effect_size=found.effect_size if found.effect_size is not None else found.mean / MARGIN,
        reason=f"{found.seeds} paired seeds: {said}; mean |α| {gate:.2g}; {within} the run-to-run noise of {noise:.4f} "
        f"nats, the paper's criterion; at this paired sd of {spread:.4f}, {found.seeds} seeds show equivalence of a "
        f"true zero with power {power:.2f}, and {needed if needed else 'more than 1000'} seeds with {POWER}",
        details={
            "cells": [dict(cell) for cell in trained],
            "noise": noise,
            "margin": MARGIN,
            "gate_cost": {"mean": cost.mean, "interval": list(cost.interval), "equivalent": cost.equivalent},
            "paired_sd": spread,
            "power_at_zero": power,
            "seeds_needed": needed,
        },
    )


def _state(found: PairedDifference) -> str:
    """Neutral (equivalent to zero), an effect (not so, and the interval excludes zero), or open."""
    if found.equivalent:
        return "neutral"
    low, high = found.interval or (-1.0, 1.0)
    return "effect" if low > 0 or high < 0 else "open"


def not_run(needs: str, tokens: str) -> NotRun:
    """The outcome under a profile that does not train the arms; `needs`: the one that does."""
    return NotRun(
        quantity="difference of validation losses, nats per token",
        measured=None,
        reason=f"needs --profile {needs}: it trains {tokens} tokens for each arm and seed",
    )


def undecided(reason: str) -> Empirical:
    """INCONCLUSIVE, with nothing measured."""
    return Empirical(
        quantity="difference of validation losses, nats per token",
        measured=None,
        verdict=EmpiricalVerdict.INCONCLUSIVE,
        reason=reason,
    )


def planted_cells(*, gate_cost: float = 0.001, spread: float = 1.0, **losses: float) -> tuple[dict[str, Any], ...]:
    """Cells of five seeds as they might have been trained, with a planted loss for each arm and seed noise of 0.02.

    gate_cost: what shutting the gate costs. spread: a factor of each arm's own noise, whose paired sd is 0.0027 at
    1 and the 0.007 that the study measured at 2.5.
    """
    noise = (-0.025, 0.012, 0.02, -0.015, 0.008)
    own = (0.001, -0.002, 0.0015, -0.001, 0.0005)
    found = {
        (arm, seed): loss + noise[seed] + spread * own[(seed + number) % len(own)]
        for seed in range(len(noise))
        for number, (arm, loss) in enumerate(losses.items())
    }
    return tuple(
        {
            "arm": arm,
            "seed": seed,
            "validation_loss": loss,
            "closed_gate_loss": None if arm == "dense" else loss + gate_cost,
            "gate": None if arm == "dense" else 0.05,
            "feedback_ratio": None,
            "tokens": PAPER_TOKENS,
            "path": [],
            "seconds": 1.0,
        }
        for (arm, seed), loss in found.items()
    )
