"""Statistics of paired seeds: the mean difference, its t interval, and a test of equivalence to zero.

Runs of one seed share initial weights and data, so d_s = loss(arm, s) − loss(other, s) is free of what the seed does to
both. Under independent normal d_s the interval is Student's (Biometrika 6, 1908). That an interval contains zero shows
no equality; equivalence within ± margin is shown by two one-sided t tests (Schuirmann, J. Pharmacokin. Biopharm. 15,
1987), both at 5 %. All tests and intervals are SciPy's.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.95
MARGIN = 0.01  # nats per token within which two losses count as equal: half a per cent of a loss near 2


@dataclass(frozen=True)
class PairedDifference:
    """The mean of the differences over `seeds` pairs.

    interval: at the level asked for; None below two pairs. p_equivalence: the larger p value of the two one-sided
    tests against ± margin; equivalent: whether it is below 5 %. effect_size: mean over standard deviation (Cohen's
    d_z). All None below two pairs, the last also where the differences do not vary.
    """

    mean: float
    seeds: int
    interval: tuple[float, float] | None
    p_equivalence: float | None
    equivalent: bool | None
    effect_size: float | None


def paired_difference(
    differences: Sequence[float], *, margin: float = MARGIN, level: float = LEVEL
) -> PairedDifference | None:
    """The mean of `differences` with all that is known of it; None for no differences.

    Raises `ValueError` for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin!r}")
    if not differences:
        return None
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return PairedDifference(mean, count, None, None, None, None)
    interval = t_interval(differences, level)
    if min(differences) == max(differences):
        inside = abs(mean) < margin
        return PairedDifference(mean, count, interval, 0.0 if inside else 1.0, inside, None)
    from scipy import stats

    tests: list[Any] = [
        stats.ttest_1samp(differences, -margin, alternative="greater"),
        stats.ttest_1samp(differences, margin, alternative="less"),
    ]
    p = max(float(test.pvalue) for test in tests)
    return PairedDifference(mean, count, interval, p, p < 1 - LEVEL, mean / statistics.stdev(differences))


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval for the mean of `values`; None below two of them, a point where they do not vary."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    from scipy import stats

    test: Any = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(level)
    return float(low), float(high)
