"""What a training step costs against the dense baseline: the paper's sentence at equal fast depth, judged once.

Two readings of "the coupled model" are measured, and one of them is judged, named before the measurement: a coupled
model of the baseline's own fast depth, which is the baseline with a slow path added. The other, with one fast layer
made slow, stands beside it. Were both judged and either enough, the sentence would have two chances.
"""

from __future__ import annotations

import math

from verify.claim import Empirical, EmpiricalClaim, Mutant, Profile
from verify.statistics.verdict import EmpiricalVerdict

PAPER_RATIO, TOLERANCE = 0.97, 0.10
LEVEL = 0.95
ROUNDS = {"quick": 100, "paper": 200, "scale": 200}
FEW = 12  # rounds of a mutant
BATCH = 4

# name: (fast layers, slow layers); the first is the one that is judged
SIZES = {"equal fast depth": (4, 1), "one layer made slow": (3, 1)}


def check(profile: Profile) -> Empirical:
    """Median ratio of step times, arms interleaved round by round, at equal fast depth.

    CONSISTENT if its interval lies within 0.97 ± 0.10, INCONSISTENT if it lies outside, else INCONCLUSIVE.
    """
    return _ratios(profile, SIZES, rounds=ROUNDS[profile.name])


def mutant(profile: Profile) -> Empirical:
    """One fast layer more than the baseline has."""
    return _ratios(profile, {"equal fast depth": (5, 1)}, rounds=FEW)


def _ratios(profile: Profile, sizes: dict[str, tuple[int, int]], *, rounds: int) -> Empirical:
    import torch

    from network.config import FastSlowConfig
    from verify.trained.step_time import interleaved, ratio, training_step

    device = torch.device(profile.device)
    models = {"dense": FastSlowConfig(arm="dense")} | {
        name: FastSlowConfig(arm="coupled", n_layer=fast, n_slow_layer=slow) for name, (fast, slow) in sizes.items()
    }
    steps = {name: training_step(model, batch=BATCH, device=device) for name, model in models.items()}
    seconds = interleaved(steps, rounds=rounds, device=device)
    rows = []
    for name in sizes:
        found = ratio(seconds[name], seconds["dense"], level=LEVEL)
        if found.low is None or found.high is None:
            raise RuntimeError(f"{rounds} rounds are too few for an interval of the median")
        rows.append({"name": name, "ratio": found.median, "low": found.low, "high": found.high})
    judged = rows[0]
    verdict = judge((judged["low"], judged["high"]))
    said = "; ".join(f"{r['name']}: {r['ratio']:.3f} in [{r['low']:.3f}, {r['high']:.3f}]" for r in rows)
    by = {
        EmpiricalVerdict.CONSISTENT: "is met",
        EmpiricalVerdict.INCONSISTENT: "is not met",
        EmpiricalVerdict.INCONCLUSIVE: "lies across an end of it: more rounds, or a quieter machine, can tell",
    }[verdict]
    return Empirical(
        quantity=f"step time over dense ({judged['name']})",
        measured=judged["ratio"],
        bound=PAPER_RATIO,
        interval=(judged["low"], judged["high"]),
        verdict=verdict,
        effect_size=math.log(judged["ratio"] / PAPER_RATIO),
        reason=f"{said}; judged is {judged['name']} alone: {PAPER_RATIO} ± {TOLERANCE} {by} ({rounds} rounds on "
        f"{profile.device}, {LEVEL:.0%} intervals)",
        details={"rows": rows, "seconds": seconds},
    )


def judge(interval: tuple[float, float]) -> EmpiricalVerdict:
    """The verdict on the interval of the one ratio that is judged."""
    low, high = interval
    least, most = PAPER_RATIO - TOLERANCE, PAPER_RATIO + TOLERANCE
    if least <= low and high <= most:
        return EmpiricalVerdict.CONSISTENT
    return EmpiricalVerdict.INCONSISTENT if high < least or low > most else EmpiricalVerdict.INCONCLUSIVE


CLAIM = EmpiricalClaim(
    id="wall_clock",
    statement="Training the coupled model takes about 0.97 of the dense baseline's wall clock.",
    source="the paper's wall-clock comparison",
    check=check,
    mutant=mutant,
    mutation="the coupled model has one fast layer more than the baseline",
    mutants=(
        Mutant(
            "two_layers_fewer",
            "the coupled model has two fast layers fewer than the baseline",
            lambda profile: _ratios(profile, {"equal fast depth": (2, 1)}, rounds=FEW),
        ),
    ),
)
