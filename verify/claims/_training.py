"""Trained models as cells, and the statistics of paired seeds that the empirical claims share.

Arms of a seed share their initial fast weights and the order of the data: d_s = loss(arm, s) − loss(other, s) is free
of what the seed does to both. All intervals and tests are SciPy's, Student's t on the paired differences.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, Profile
from verify.statistics.paired import LEVEL, MARGIN, PairedDifference, paired_difference
from verify.statistics.verdict import EmpiricalVerdict

if TYPE_CHECKING:
    from network.training_config import TrainConfig
    from verify.cells import Cell

ARMS = ("dense", "frozen", "coupled", "blind", "local")
PAPER_TOKENS, SCALE_TOKENS = 500_000, 10_000_000


def paper_cells(profile: Profile) -> list[Cell]:
    """Every arm at 500k tokens of Shakespeare, P = 8, for each seed; none under `quick`."""
    from network.training_config import TrainConfig

    if profile.name == "quick":
        return []
    return _cells(profile, ARMS, TrainConfig(tokens=PAPER_TOKENS, evaluations=5, eval_tokens=32_768), "shakespeare")


def scale_cells(profile: Profile) -> list[Cell]:
    """Four arms at 10M tokens of source code for each seed, evaluated every 0.5M tokens; under `scale` alone."""
    from network.training_config import TrainConfig

    if profile.name != "scale":
        return []
    arms = [arm for arm in ARMS if arm != "frozen"]  # frozen is dense, bit for bit
    return _cells(profile, arms, TrainConfig(tokens=SCALE_TOKENS, evaluations=20, eval_tokens=65_536), "source")


def _cells(profile: Profile, arms: Sequence[str], training: TrainConfig, corpus: str) -> list[Cell]:
    """A cell per seed and arm, seeds outside: an early end leaves whole pairs.

    Raises `network.corpus.CorpusError` where the texts cannot be opened: their contents are part of the key.
    """
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from verify.trained.study import Study

    models = {arm: FastSlowConfig(arm=arm) for arm in arms}
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
    """Is coupled − dense nothing, and is the gate closed? By the paper's criterion and by the paired one.

    (a) |mean| within the dense arm's run-to-run standard deviation, the paper's; (b) equivalence to zero within
    ± MARGIN, and whether the paired interval excludes zero. The gate counts as closed while shutting it moves the loss
    by less than MARGIN. CONSISTENT where (a), (b) and the gate agree; INCONSISTENT where neither criterion calls it
    neutral, or the gate is open; INCONCLUSIVE, with the disagreement in words, otherwise.
    """
    found = paired(trained, "coupled", "dense")
    if found is None or found.interval is None:
        return undecided("at least two paired seeds of coupled and dense are needed")
    coupled = [cell for cell in trained if cell["arm"] == "coupled"]
    opened = statistics.fmean(cell["closed_gate_loss"] - cell["validation_loss"] for cell in coupled)
    gate = statistics.fmean(cell["gate"] for cell in coupled)
    noise = statistics.stdev(losses_of(trained, "dense").values())
    within_noise = abs(found.mean) <= noise
    excludes_zero = found.interval[0] > 0 or found.interval[1] < 0
    said_a = f"(a) {'within' if within_noise else 'beyond'} the run-to-run noise of {noise:.4f} nats"
    zero = "excludes" if excludes_zero else "contains"
    equal = "equivalent" if found.equivalent else "not shown equivalent"
    said_b = f"(b) the paired interval {zero} zero, {equal} to it within ± {MARGIN} nats"
    said_gate = f"mean |α| {gate:.2g}, and shutting the gate costs {opened:+.1g} nats"
    agree = "agree" if within_noise == (not excludes_zero) else "disagree, which is the finding"
    closed = abs(opened) < MARGIN
    if within_noise and found.equivalent and not excludes_zero and closed:
        verdict = EmpiricalVerdict.CONSISTENT
    elif (not within_noise and excludes_zero and not found.equivalent) or not closed:
        verdict = EmpiricalVerdict.INCONSISTENT
    else:
        verdict = EmpiricalVerdict.INCONCLUSIVE
    return Empirical(
        quantity="coupled − dense, nats per token",
        measured=found.mean,
        bound=0.0,
        interval=found.interval,
        verdict=verdict,
        effect_size=found.effect_size,
        reason=f"{found.seeds} paired seeds: {said_a}; {said_b}; the two criteria {agree}; {said_gate}",
        details={"cells": [dict(cell) for cell in trained], "noise": noise, "margin": MARGIN},
    )


def undecided(reason: str) -> Empirical:
    """INCONCLUSIVE, with nothing measured."""
    return Empirical(
        quantity="difference of validation losses, nats per token",
        measured=None,
        verdict=EmpiricalVerdict.INCONCLUSIVE,
        reason=reason,
    )


def planted_cells(**losses: float) -> tuple[dict[str, Any], ...]:
    """Cells of five seeds as they might have been trained, with a planted loss for each arm and seed noise of 0.02."""
    noise = (-0.025, 0.012, 0.02, -0.015, 0.008)
    own = (0.001, -0.002, 0.0015, -0.001, 0.0005)
    found = {
        (arm, seed): loss + noise[seed] + own[(seed + number) % len(own)]
        for seed in range(len(noise))
        for number, (arm, loss) in enumerate(losses.items())
    }
    return tuple(
        {
            "arm": arm,
            "seed": seed,
            "validation_loss": loss,
            "closed_gate_loss": None if arm == "dense" else loss + 0.001,
            "gate": None if arm == "dense" else 0.05,
            "feedback_ratio": None,
            "tokens": PAPER_TOKENS,
            "path": [],
            "seconds": 1.0,
        }
        for (arm, seed), loss in found.items()
    )
