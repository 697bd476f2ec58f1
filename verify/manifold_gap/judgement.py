"""From the rows of the headline to its verdict: what must agree within what, and every reason why nothing is claimed.

HOLDS needs a slope whose interval reaches 1 ± `SLOPE_TOLERANCE` and is no wider than `WIDEST_INTERVAL`; a measured gap
that agrees with the predicted one in each row of the finer half; and no test point beyond its certificate. The
prediction is a leading term: besides `RATIO_TOLERANCE` and what the row itself does not know (the floor, the sampling
error), a ratio may be off by what an O(ε) term explains, twice its linear extrapolation from the next coarser row.
Where no row knows its ratio to `RESOLVED`, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from verify.manifold_gap.error_budget import Row
from verify.statistics.convergence import Slope, fit_slope, floor_limited
from verify.statistics.verdict import Verdict

SLOPE_TOLERANCE = 0.01  # what finite ε may add to a slope of one
RATIO_TOLERANCE = 0.002  # and to a ratio of one: e^{-8} = 3e-4 of a block that has only just relaxed, and room
WIDEST_INTERVAL = 0.2
RESOLVED = 0.05


def slope_and_ratios(rows: Sequence[Row], floor: float) -> tuple[Slope, tuple[float, float] | None]:
    """The slope over the usable rows, and the range of measured over predicted gap there (None without a slope)."""
    usable = [row for row in rows if row.usable]
    slope = fit_slope(
        [row.epsilon for row in usable], [row.gap_tv for row in usable], [row.gap_error / row.gap_tv for row in usable]
    )
    if slope.slope is None or any(row.predicted_tv <= 0 for row in usable):
        return slope, None
    intervals = [_ratio(row, floor) for row in usable]
    return slope, (min(low for low, _ in intervals), max(high for _, high in intervals))


def _ratio(row: Row, floor: float) -> tuple[float, float]:
    """Measured over predicted gap of one row, as an interval: ± the floor and three standard errors of sampling."""
    uncertain = floor + 3.0 * row.gap_error
    return (row.gap_tv - uncertain) / row.predicted_tv, (row.gap_tv + uncertain) / row.predicted_tv


def judge(
    rows: Sequence[Row],
    slope: Slope,
    ratios: tuple[float, float] | None,
    floor: float,
    rounding: float,
    *,
    fixed: bool,
) -> tuple[Verdict, str]:
    """(verdict, reason). `rounding`: the part of the floor no fit can lower; `fixed`: one φ_θ was given for all P."""
    broken = [row.period for row in rows if not row.certified]
    if broken:
        return (
            Verdict.VIOLATED,
            f"the gap exceeds its certificate at P = {broken}: p_st or A(y) is not what theory says",
        )
    remarks = ""
    unconverged = [row.period for row in rows if not row.converged]
    if unconverged:
        remarks = f"; the fit has not converged at P = {unconverged}"
    if slope.slope is None or slope.interval is None:
        return Verdict.INCONCLUSIVE, _why_no_slope(rows, slope, rounding) + remarks
    low, high = slope.interval
    shown = f"slope {slope.slope:.4f} in [{low:.4f}, {high:.4f}]"
    if high < 0.5:
        why = " (one fixed φ_θ was measured at every P)" if fixed else ""
        return Verdict.VIOLATED, f"the gap does not shrink with ε: {shown}, where 1 is claimed{why}{remarks}"
    if high - low > WIDEST_INTERVAL:
        return Verdict.INCONCLUSIVE, f"the interval of the slope is too wide: {shown}{remarks}"
    if high < 1 - SLOPE_TOLERANCE or low > 1 + SLOPE_TOLERANCE:
        return Verdict.VIOLATED, f"the gap is not proportional to ε: {shown}{remarks}"
    if ratios is None:
        return Verdict.INCONCLUSIVE, f"{shown}, but the predicted gap is zero: no constant to compare with{remarks}"
    ratio = f"measured/predicted in [{ratios[0]:.4f}, {ratios[1]:.4f}]"
    usable = [row for row in rows if row.usable]
    wrong = _off_the_prediction(usable, floor)
    if wrong is not None:
        low, high = _ratio(wrong, floor)
        return (
            Verdict.VIOLATED,
            f"the gap is proportional to ε but not with the predicted constant: measured/predicted in "
            f"[{low:.4f}, {high:.4f}] at P = {wrong.period}; {shown}{remarks}",
        )
    if all(high - low > 2 * RESOLVED for low, high in (_ratio(row, floor) for row in usable)):
        return (
            Verdict.INCONCLUSIVE,
            f"{shown}, but no period knows its constant to {RESOLVED:.0%}: {ratio}{remarks}",
        )
    return Verdict.HOLDS, f"{shown}, {ratio}{remarks}"


def _off_the_prediction(usable: Sequence[Row], floor: float) -> Row | None:
    """The finest row of the finer half whose ratio is off by more than tolerance, its own interval and an O(ε) term."""
    finest_first = sorted(usable, key=lambda row: row.epsilon)
    for row, coarser in pairwise(finest_first[: (len(usable) + 1) // 2 + 1]):
        (low, high), (low_coarser, high_coarser) = _ratio(row, floor), _ratio(coarser, floor)
        change = 0.5 * abs(low_coarser + high_coarser - low - high)
        allowed = RATIO_TOLERANCE + 2.0 * change * row.epsilon / (coarser.epsilon - row.epsilon)
        if high < 1 - allowed or low > 1 + allowed:
            return row
    return None


def _why_no_slope(rows: Sequence[Row], slope: Slope, rounding: float) -> str:
    early = [row for row in rows if row.pre_asymptotic]
    floored = [row for row in rows if row.floor_limited]
    causes = [slope.reason]
    if early:
        worst = early[-1]
        causes.append(f"{len(early)} of {len(rows)} periods pre-asymptotic, at P = {worst.period}: {worst.why_not}")
    if floored:
        causes.append(f"{len(floored)} of {len(rows)} periods limited by the floor")
    if rows and all(row.predicted_tv <= rounding for row in rows):
        causes.insert(0, "no O(ε) term to measure: the predicted gap is rounding (does p_st depend on y, does y move?)")
    elif floored and len(floored) == len(rows) and not any(floor_limited(row.predicted_tv, row.gap_tv) for row in rows):
        expected = f"one learned from the data would be {rows[-1].predicted_tv:.1e} off at P = {rows[-1].period}"
        causes.insert(0, f"φ_θ is p_st itself, to the floor, where {expected}")
    return "; ".join(causes)
