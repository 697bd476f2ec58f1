"""From the rows of the headline to its verdict: what must agree within what, and every reason why nothing is claimed.

Three things are told apart. *Theory against the data*: the block mean x̄, before any fit, must be p_st plus the leading
term, as a vector (`residual`, within what the next order allows) and in size (pooling over predicted). Off: VIOLATED,
whatever the fit. *φ_θ against the data*: where x̄ is as predicted and φ_θ is not, a φ_θ that was fitted here could not
represent x̄(y): INCONCLUSIVE, and theory is not blamed; one that was given is what is measured: VIOLATED. *What cannot
be told*: too few rows, none that knows its constant, a certificate that proves nothing, a floor that does not explain
what φ_θ misses, test points that were trained on: INCONCLUSIVE.

A ratio of one is judged by `verify.statistics.next_order`: an O(ε) term may move it, a bias may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verify.manifold_gap.error_budget import LAYER_FACTOR, ROUNDING_FACTOR, Row
from verify.statistics.convergence import MINIMUM_POINTS, Slope, fit_slope, floor_limited
from verify.statistics.next_order import Ratio, judge_ratios
from verify.statistics.verdict import Verdict

SLOPE_TOLERANCE = 0.01  # what finite ε may add to a slope of one
RATIO_TOLERANCE = 1e-4  # and to a ratio of one, beyond its next order and what is left of the layer
WIDEST_INTERVAL = 0.2
RESOLVED = 0.05
EXPANSION = 0.2  # a residual limit above this is no expansion: such a row is not judged as a vector
INFORMATIVE = 10.0  # a certificate above this many gaps in every row proves nothing about them
EXPLAINED = 30.0  # φ_θ may miss x̄ by this many floors: fits of x̄ and of p_st(y) are not the same fit
CONTINUOUS_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Circumstances:
    """What the verdict must know beside the rows.

    floor, rounding: of the fit on exact pairs, and the part of it that no fit can lower. given: φ_θ was given, not
    fitted; fixed: one for all P. repeated: how many test points were trained on. share: of the box that the test
    points span. continuous: (distance of the clock's limit h → 0 from φ₁, its uncertainty), relative; None where there
    is no clock.
    """

    floor: float
    rounding: float
    given: bool = False
    fixed: bool = False
    repeated: int = 0
    share: float | None = None
    continuous: tuple[float, float] | None = None


def slope_and_ratios(rows: Sequence[Row], floor: float) -> tuple[Slope, tuple[float, float] | None]:
    """The slope over the usable rows, and the range of measured over predicted gap there (None without a slope)."""
    usable = [row for row in rows if row.usable]
    slope = fit_slope(
        [row.epsilon for row in usable], [row.gap_tv for row in usable], [row.gap_error / row.gap_tv for row in usable]
    )
    if slope.slope is None or any(row.predicted_tv <= 0 for row in usable):
        return slope, None
    intervals = [_ratio(row, floor).interval for row in usable]
    return slope, (min(low for low, _ in intervals), max(high for _, high in intervals))


def judge(
    rows: Sequence[Row],
    slope: Slope,
    ratios: tuple[float, float] | None,
    about: Circumstances,
) -> tuple[Verdict, str]:
    """(verdict, reason)."""
    broken = [row.period for row in rows if not row.certified]
    if broken:
        return (
            Verdict.VIOLATED,
            f"the gap exceeds its certificate at P = {broken}: p_st or A(y) is not what theory says",
        )
    against_data = _theory_against_data(rows, slope, about)
    if against_data:
        return Verdict.VIOLATED, against_data
    remarks = ""
    unconverged = [row.period for row in rows if not row.converged]
    if unconverged:
        remarks = f"; the fit has not converged at P = {unconverged}"
    if slope.slope is None or slope.interval is None:
        return Verdict.INCONCLUSIVE, _why_no_slope(rows, slope, about) + remarks
    low, high = slope.interval
    shown = f"slope {slope.slope:.4f} in [{low:.4f}, {high:.4f}]"
    of_phi = _phi_against_data(rows, slope, about)
    if of_phi and about.given:
        why = " (one fixed φ_θ was measured at every P)" if about.fixed else ""
        return Verdict.VIOLATED, f"{of_phi}: {shown}, where 1 is claimed{why}{remarks}"
    if of_phi:
        return Verdict.INCONCLUSIVE, f"{_cannot_represent(rows, of_phi)}; {shown}{remarks}"
    if high - low > WIDEST_INTERVAL:
        return Verdict.INCONCLUSIVE, f"the interval of the slope is too wide: {shown}{remarks}"
    if ratios is None:
        return Verdict.INCONCLUSIVE, f"{shown}, but the predicted gap is zero: no constant to compare with{remarks}"
    ratio = f"measured/predicted in [{ratios[0]:.4f}, {ratios[1]:.4f}]"
    unknown = _what_is_not_known(rows, about)
    if unknown:
        return Verdict.INCONCLUSIVE, f"{shown}, {ratio}, but {unknown}{remarks}"
    return Verdict.HOLDS, f"{shown}, {ratio}, {_rests_on(rows, about)}{remarks}"


def _theory_against_data(rows: Sequence[Row], slope: Slope, about: Circumstances) -> str:
    """How x̄ contradicts p_st + leading term, in words; empty where it does not. No φ_θ is looked at."""
    settled = [row for row in rows if not row.pre_asymptotic]
    unpredicted = [
        row
        for row in settled
        if row.predicted_tv == 0 and row.pooling_tv > LAYER_FACTOR * row.layer + ROUNDING_FACTOR * about.rounding
    ]
    if unpredicted:
        row = unpredicted[-1]
        lead = _of_the_slope(slope)
        return (
            f"{lead + ': ' if lead else ''}theory predicts no gap, and x̄ is {row.pooling_tv:.2e} from p_st at "
            f"P = {row.period}"
        )
    clear = [row for row in settled if row.predicted_tv > 0 and row.pooling_tv > ROUNDING_FACTOR * about.rounding]
    wrong, _ = judge_ratios([_pooled(row, about.rounding) for row in clear])
    if wrong is not None:
        low, high = wrong.interval
        return (
            f"{_of_the_slope(slope) or 'the gap of the block means is not with the predicted constant'}: "
            f"pooling/predicted in [{low:.4f}, {high:.4f}] at P = {round(1 / wrong.epsilon)}"
        )
    vectors = [row for row in settled if _judged_as_vector(row) and (row.residual or 0.0) > (row.residual_limit or 0.0)]
    if vectors:
        row = vectors[-1]
        return (
            f"x̄ is not p_st plus the predicted vector: ‖x̄ − p_st − leading term‖ is {row.residual:.2e} of the "
            f"leading term at P = {row.period}, where the next order allows {row.residual_limit:.1e}"
        )
    if about.continuous is not None and about.continuous[0] > CONTINUOUS_TOLERANCE + about.continuous[1]:
        return (
            f"the clock's gap does not tend to ε φ₁ as h → 0: its limit is off by {about.continuous[0]:.2e} of ε φ₁, "
            f"known to {about.continuous[1]:.1e}"
        )
    return ""


def _phi_against_data(rows: Sequence[Row], slope: Slope, about: Circumstances) -> str:
    """How φ_θ departs from what theory says of x̄, in words; empty where it does not."""
    usable = [row for row in rows if row.usable]
    of_slope = _of_the_slope(slope)
    if of_slope:
        return of_slope
    if any(row.predicted_tv <= 0 for row in usable):
        return ""
    wrong, only_strictly = judge_ratios([_ratio(row, about.floor) for row in usable])
    if wrong is None or only_strictly:
        return ""
    low, high = wrong.interval
    return (
        f"the gap is proportional to ε but not with the predicted constant: measured/predicted in [{low:.4f}, "
        f"{high:.4f}] at P = {round(1 / wrong.epsilon)}"
    )


def _of_the_slope(slope: Slope) -> str:
    """How a known slope is not one, in words; empty where it is, or is not known."""
    low, high = slope.interval or (1.0, 1.0)
    if high < 0.5:
        return "the gap does not shrink with ε"
    if high - low <= WIDEST_INTERVAL and (high < 1 - SLOPE_TOLERANCE or low > 1 + SLOPE_TOLERANCE):
        return "the gap is not proportional to ε"
    return ""


def _cannot_represent(rows: Sequence[Row], how: str) -> str:
    worst = max((row for row in rows if row.usable), key=lambda row: row.learning_tv / row.gap_tv)
    return (
        f"φ_θ does not represent x̄(y), and theory is not to blame: {how}, while pooling/predicted is "
        f"{worst.pooling_tv / worst.predicted_tv if worst.predicted_tv > 0 else float('nan'):.4f} there and "
        f"TV(φ_θ, x̄) is {worst.learning_tv:.1e} at P = {worst.period}; does y_before ↦ y jump or fold, or bend faster "
        "than the features of the fit?"
    )


def _what_is_not_known(rows: Sequence[Row], about: Circumstances) -> str:
    usable = [row for row in rows if row.usable]
    if about.repeated:
        return f"{about.repeated} test points are training points: they show nothing of φ_θ elsewhere"
    if all(_ratio(row, about.floor).error > RESOLVED for row in usable):
        return f"no period knows its constant to {RESOLVED:.0%}"
    strict, only_strictly = judge_ratios([_ratio(row, about.floor) for row in usable])
    if strict is not None and only_strictly:
        low, high = strict.interval
        return (
            f"noise hides whether the constant is the predicted one: [{low:.4f}, {high:.4f}] at "
            f"P = {round(1 / strict.epsilon)} passes for its own uncertainty alone"
        )
    if all(row.certificate_tv > INFORMATIVE * row.gap_tv for row in usable):
        return "the certificate proves nothing: in every row it is ten times the gap and more"
    finest = max(usable, key=lambda row: row.period)
    if not about.given and finest.learning_tv > EXPLAINED * about.floor:
        return (
            f"the floor {about.floor:.1e} does not explain TV(φ_θ, x̄) = {finest.learning_tv:.1e} at "
            f"P = {finest.period}: it is not the floor of this fit"
        )
    if finest.residual is not None and finest.residual_limit is not None and finest.residual_limit > RESOLVED:
        return f"the next order of ε leaves the vector x̄ − p_st unknown to {finest.residual_limit:.0%}"
    return ""


def _rests_on(rows: Sequence[Row], about: Circumstances) -> str:
    usable = [row for row in rows if row.usable]
    finest = max(usable, key=lambda row: row.period)
    text = f"over {len(usable)} of {len(rows)} periods"
    if finest.residual is not None:
        text += f", residual {finest.residual:.1e} at P = {finest.period}"
    if about.share is not None:
        text += f", test points over {about.share:.0%} of the box"
    return text


def _judged_as_vector(row: Row) -> bool:
    return row.residual is not None and row.residual_limit is not None and row.residual_limit <= EXPANSION


def _ratio(row: Row, floor: float) -> Ratio:
    """Measured over predicted gap of one row, ± the floor and three standard errors of sampling."""
    return _as_ratio(row, row.gap_tv, floor, 3.0 * row.gap_error)


def _pooled(row: Row, rounding: float) -> Ratio:
    """Pooling over predicted: no fit and no sampling is in it."""
    return _as_ratio(row, row.pooling_tv, ROUNDING_FACTOR * rounding, 0.0)


def _as_ratio(row: Row, measured: float, certain: float, noise: float) -> Ratio:
    scale = 1.0 / row.predicted_tv
    return Ratio(
        row.epsilon,
        measured * scale,
        certain * scale,
        noise * scale,
        RATIO_TOLERANCE + LAYER_FACTOR * row.layer,
    )


def _why_no_slope(rows: Sequence[Row], slope: Slope, about: Circumstances) -> str:
    early = [row for row in rows if row.pre_asymptotic]
    floored = [row for row in rows if row.floor_limited]
    usable = [row for row in rows if row.usable]
    causes = [slope.reason]
    if early:
        worst = early[-1]
        causes.append(f"{len(early)} of {len(rows)} periods pre-asymptotic, at P = {worst.period}: {worst.why_not}")
    if floored:
        causes.append(f"{len(floored)} of {len(rows)} periods limited by the floor")
    if rows and all(row.predicted_tv <= about.rounding for row in rows):
        causes.insert(0, "no O(ε) term to measure: the predicted gap is rounding (does p_st depend on y, does y move?)")
    elif floored and len(floored) == len(rows) and not any(floor_limited(row.predicted_tv, row.gap_tv) for row in rows):
        expected = f"one learned from the data would be {rows[-1].predicted_tv:.1e} off at P = {rows[-1].period}"
        causes.insert(0, f"φ_θ is p_st itself, to the floor, where {expected}")
    elif not about.given and len(usable) >= MINIMUM_POINTS:
        causes.insert(0, _cannot_represent(rows, "the gap follows no one slope"))
    return "; ".join(causes)
