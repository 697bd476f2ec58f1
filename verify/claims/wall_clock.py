"""What a training step costs against the dense baseline, at equal fast depth and with one layer made slow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from verify.claim import Empirical, EmpiricalClaim, Profile
from verify.statistics.verdict import EmpiricalVerdict

PAPER_RATIO, TOLERANCE = 0.97, 0.10
LEVEL = 1.0 - 0.05 / 2  # Bonferroni, for two ratios
ROUNDS = {"quick": 100, "paper": 200, "scale": 200}
BATCH = 4

# name: (fast layers, slow layers)
SIZES = {"equal fast depth": (4, 1), "one layer made slow": (3, 1)}


def check(profile: Profile) -> Empirical:
    """Median ratio of step times, arms interleaved round by round.

    CONSISTENT if one interval lies within 0.97 ± 0.10, INCONSISTENT if both lie outside, else INCONCLUSIVE.
    """
    return _ratios(profile, SIZES, rounds=ROUNDS[profile.name])


def mutant(profile: Profile) -> Empirical:
    """Models of three times the depth pass for the coupled ones."""
    return _ratios(profile, {name: (3 * fast, 3 * slow) for name, (fast, slow) in SIZES.items()}, rounds=12)


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
    verdict, met = judge([(row["low"], row["high"]) for row in rows])
    nearest = rows[met] if met is not None else min(rows, key=lambda row: abs(math.log(row["ratio"] / PAPER_RATIO)))
    said = "; ".join(f"{r['name']}: {r['ratio']:.3f} in [{r['low']:.3f}, {r['high']:.3f}]" for r in rows)
    by = {
        EmpiricalVerdict.CONSISTENT: f"is met by {nearest['name']}",
        EmpiricalVerdict.INCONSISTENT: "is met by neither",
        EmpiricalVerdict.INCONCLUSIVE: "lies across an end of an interval: more rounds, or a quieter machine, can tell",
    }[verdict]
    return Empirical(
        quantity=f"step time over dense ({nearest['name']})",
        measured=nearest["ratio"],
        bound=PAPER_RATIO,
        interval=(nearest["low"], nearest["high"]),
        verdict=verdict,
        effect_size=math.log(nearest["ratio"] / PAPER_RATIO),
        reason=f"{said}; {PAPER_RATIO} ± {TOLERANCE} {by} ({rounds} rounds on {profile.device}, intervals at "
        f"{LEVEL:.1%} for two ratios)",
        details={"rows": rows, "seconds": seconds},
    )


def judge(intervals: Sequence[tuple[float, float]]) -> tuple[EmpiricalVerdict, int | None]:
    """The verdict on the `intervals` of the ratios, and which of them lies within the band, if one does."""
    least, most = PAPER_RATIO - TOLERANCE, PAPER_RATIO + TOLERANCE
    for number, (low, high) in enumerate(intervals):
        if least <= low and high <= most:
            return EmpiricalVerdict.CONSISTENT, number
    if all(high < least or low > most for low, high in intervals):
        return EmpiricalVerdict.INCONSISTENT, None
    return EmpiricalVerdict.INCONCLUSIVE, None


CLAIM = EmpiricalClaim(
    id="wall_clock",
    statement="Training the coupled model takes about 0.97 of the dense baseline's wall clock.",
    source="the paper's wall-clock comparison",
    check=check,
    mutant=mutant,
    mutation="models of three times the depth pass for the coupled ones",
)
