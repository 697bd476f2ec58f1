"""Statistics of paired seeds: the mean difference, its t interval, and a test of equivalence to zero.

Runs of one seed share initial weights and data, so d_s = loss(arm, s) − loss(other, s) is free of what the seed does to
both. Under independent normal d_s the interval is Student's (Biometrika 6, 1908). That an interval contains zero shows
no equality; equivalence within ± margin is shown by two one-sided t tests (Schuirmann, J. Pharmacokin. Biopharm. 15,
1987), both at 5 %. All tests and intervals are SciPy's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.95
POWER = 0.9  # of a test of equivalence that is worth running
MARGIN = 0.01  # nats per token within which two losses count as equal: half a per cent of a loss near 2


@dataclass(frozen=True)
class PairedDifference:
    """The mean of the differences over `seeds` pairs.

    interval: at the level asked for; None below two pairs. p_equivalence: the larger p value of the two one-sided
    tests against ± margin; equivalent: whether it is below 5 %. effect_size: mean over standard deviation (Cohen's
    d_z). All None below two pairs, the last also where the differences do not vary and are not zero.
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
        return PairedDifference(mean, count, interval, 0.0 if inside else 1.0, inside, 0.0 if mean == 0 else None)
    from scipy import stats

    tests: list[Any] = [
        stats.ttest_1samp(differences, -margin, alternative="greater"),
        stats.ttest_1samp(differences, margin, alternative="less"),
    ]
    p = max(float(test.pvalue) for test in tests)
    return PairedDifference(mean, count, interval, p, p < 1 - LEVEL, mean / statistics.stdev(differences))


def t_interval(
    values: Sequence[float], level: float = LEVEL, *, within: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Student's interval for the mean of `values`; None below two of them, a point where they do not vary.

    within: between which numbers the mean must lie, as 0 and 1 for shares. The interval is cut there, which leaves its
    coverage as it is: the true mean is never cut off.
    """
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    from scipy import stats

    test: Any = stats.ttest_1samp(values, 0.0)
    low, high = (float(end) for end in test.confidence_interval(level))
    return (low, high) if within is None else (max(low, within[0]), min(high, within[1]))


def power_of_equivalence(seeds: int, deviation: float, *, margin: float = MARGIN) -> float:
    """The probability that `seeds` pairs whose differences have this standard deviation show equivalence within
    ± margin, both one-sided tests at 5 %, where the true difference is zero; normal differences.

    Given the sample's deviation s both tests reject where |mean| < margin − t s/√n: the probability of that is averaged
    over the law of s by its quantiles.
    """
    if seeds < 2:
        return 0.0
    from scipy import stats

    freedom = seeds - 1
    quantile = float(stats.t.ppf(LEVEL, freedom))
    levels = [(k + 0.5) / 400 for k in range(400)]
    spreads = [deviation * math.sqrt(float(chi2) / freedom) for chi2 in stats.chi2.ppf(levels, freedom)]
    error = deviation / math.sqrt(seeds)
    rooms = [max(0.0, margin - quantile * spread / math.sqrt(seeds)) for spread in spreads]
    return statistics.fmean(2.0 * float(stats.norm.cdf(room / error)) - 1.0 for room in rooms)


def seeds_for_equivalence(
    deviation: float, *, margin: float = MARGIN, power: float = POWER, most: int = 1000
) -> int | None:
    """The least number of pairs at which `power_of_equivalence` reaches `power`; None where `most` do not."""
    if deviation == 0.0:
        return 2
    low, high = 1, 2
    while power_of_equivalence(high, deviation, margin=margin) < power:
        low, high = high, 2 * high
        if low > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_of_equivalence(middle, deviation, margin=margin) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high
