"""Is a ratio one, to leading order in ε? An O(ε) term may move it, and no bias, however constant, may hide as one.

Given ratios r(ε) = 1 + aε + bε² + …, each with its uncertainty, for f in the finer half of them let c be the nearest
one with ε_c >= 1.9 ε_f and d the nearest with ε_d >= 1.9 ε_c. With w = ε_f/(ε_c − ε_f) the extrapolation

    R_f = r_f − w (r_c − r_f)

has lost a, while a bias β that ε does not shrink stays in it as β (1 + ε_f/ε_c), of its own sign. What remains of the
right theory is −b ε_f ε_c, and t = (R_c − R_f) ε_f/(ε_d − ε_f) is an estimate of just that. So R_f − 1 must meet
[min(0, 2t), max(0, 2t)], each bound widened by what is not known. The rule is signed: what the next order does not
explain in sign is not explained. It holds for periods that do not double.

Noise widens everything, and with it what passes. So a second, stricter form adds independent noise in squares and takes
t for known; refused by that one alone means that the power is lost, not that the theory is right.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

APART = 1.9  # of the ε of two ratios that are compared: nearer ones amplify what is not known
NEXT = 2.0  # how many times the estimate of what remains may remain


class Outcome(enum.Enum):
    """How one ratio ends."""

    PASSED = enum.auto()
    STRICTLY_REFUSED = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True)
class Ratio:
    """A measured over a predicted size at one ε: `certain` is the part of its uncertainty that is a bound, `noise`
    three standard errors; `tolerance` is what it may be off by for reasons that ε does not order (a layer, say)."""

    epsilon: float
    value: float
    certain: float = 0.0
    noise: float = 0.0
    tolerance: float = 0.0

    @property
    def error(self) -> float:
        """All that is not known of it."""
        return self.certain + self.noise

    @property
    def interval(self) -> tuple[float, float]:
        """value ± error."""
        return self.value - self.error, self.value + self.error


@dataclass(frozen=True)
class _Extrapolated:
    value: float
    certain: float
    noise: float
    quadrature: float
    tolerance: float


def judge_ratios(ratios: Sequence[Ratio]) -> tuple[Ratio | None, bool]:
    """(the finest ratio of the finer half that is not one, whether only the stricter form refuses it), or (None, False)
    where all are.

    Examples:
        >>> right = [Ratio(2.0**-k, 1 + 0.5 * 2.0**-k) for k in range(4, 10)]
        >>> judge_ratios(right)
        (None, False)
        >>> biased = [Ratio(2.0**-k, 1 + 0.5 * 2.0**-k + 0.01 * 2.0 ** (k - 9)) for k in range(4, 10)]
        >>> judge_ratios(biased)[0].epsilon == 2.0**-9
        True
    """
    ordered = sorted(ratios, key=lambda ratio: ratio.epsilon)
    strict = None
    for index in range((len(ordered) + 1) // 2):
        outcome = _judge(ordered, index)
        if outcome is Outcome.REFUSED:
            return ordered[index], False
        if outcome is Outcome.STRICTLY_REFUSED and strict is None:
            strict = ordered[index]
    return strict, strict is not None


def _judge(ordered: Sequence[Ratio], index: int) -> Outcome:
    f = ordered[index]
    c = _coarser(ordered, f)
    R = _extrapolate(f, c)
    t = t_linear = 0.0
    if c is not None and (d := _coarser(ordered, c)) is not None and d.epsilon >= APART * c.epsilon:
        R_c = _extrapolate(c, d)
        scale = f.epsilon / (d.epsilon - f.epsilon)
        t = (R_c.value - R.value) * scale
        t_linear = (R_c.certain + R_c.noise + R.certain + R.noise) * scale
    off = R.value - 1.0
    loose = R.certain + R.noise
    if _outside(off, loose, t, t_linear, R.tolerance):
        return Outcome.REFUSED
    return (
        Outcome.STRICTLY_REFUSED
        if _outside(off, R.certain + R.quadrature, t, 0.0, R.tolerance) and R.noise > 0
        else Outcome.PASSED
    )


def _outside(off: float, error: float, t: float, t_error: float, tolerance: float) -> bool:
    low = min(0.0, NEXT * (t - t_error)) - tolerance
    high = max(0.0, NEXT * (t + t_error)) + tolerance
    return not (off + error >= low and off - error <= high)  # true for NaN


def _coarser(ordered: Sequence[Ratio], f: Ratio) -> Ratio | None:
    """The nearest ratio far enough from f to extrapolate with; the coarsest there is where none is; None beyond."""
    apart = [one for one in ordered if one.epsilon >= APART * f.epsilon]
    if apart:
        return apart[0]
    return ordered[-1] if ordered[-1].epsilon > f.epsilon else None


def _extrapolate(f: Ratio, c: Ratio | None) -> _Extrapolated:
    if c is None:
        return _Extrapolated(f.value, f.certain, f.noise, f.noise, f.tolerance)
    w = f.epsilon / (c.epsilon - f.epsilon)
    return _Extrapolated(
        f.value - w * (c.value - f.value),
        (1 + w) * f.certain + w * c.certain,
        (1 + w) * f.noise + w * c.noise,
        math.hypot((1 + w) * f.noise, w * c.noise),
        (1 + w) * f.tolerance + w * c.tolerance,
    )
