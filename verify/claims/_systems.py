"""One structural verdict from the measurements on every built-in system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from verify.claim import Structural
from verify.statistics.verdict import Verdict

if TYPE_CHECKING:
    from theory import FastSlowSystem

WIDEST = 0.2  # an interval wider than this says nothing about an order or a ratio


@dataclass(frozen=True)
class OnSystem:
    """What was measured on one system: a value with its interval against `predicted`, or a reason why there is none.

    tolerance: what a finite ε may add to the prediction; the interval has to come that near to it. rows: the points
    behind the value, plain data. judged: the verdict of a measurement that judges itself, by more than this interval.
    """

    system: str
    predicted: float
    measured: float | None
    interval: tuple[float, float] | None
    reason: str = ""
    tolerance: float = 0.0
    rows: Sequence[dict[str, Any]] = ()
    judged: Verdict | None = None

    @property
    def verdict(self) -> Verdict:
        """`judged`, or by the interval: INCONCLUSIVE without one, or with one too wide to exclude anything."""
        if self.judged is not None:
            return self.judged
        if self.interval is None or self.interval[1] - self.interval[0] > WIDEST:
            return Verdict.INCONCLUSIVE
        near = self.interval[0] - self.tolerance <= self.predicted <= self.interval[1] + self.tolerance
        return Verdict.HOLDS if near else Verdict.VIOLATED

    @property
    def why(self) -> str:
        """The reason given, or the width of an interval that is too wide."""
        if self.judged is None and self.verdict is Verdict.INCONCLUSIVE and self.interval is not None:
            return f"the interval [{self.interval[0]:.3f}, {self.interval[1]:.3f}] is wider than {WIDEST}"
        return self.reason


def over_systems(quantity: str, found: Sequence[OnSystem], *, relative: bool = False) -> Structural:
    """VIOLATED if a system violates; HOLDS if some conclude and all of those hold, the others being named with their
    reasons; INCONCLUSIVE if none concludes.

    The figures shown are those of the measurement farthest from its prediction; with `relative`, over the prediction.
    """
    concluded = [one for one in found if one.verdict is not Verdict.INCONCLUSIVE]
    open_ones = [one for one in found if one.verdict is Verdict.INCONCLUSIVE]
    violated = [one for one in concluded if one.verdict is Verdict.VIOLATED]
    details = {"systems": [asdict(one) | {"verdict": str(one.verdict), "reason": one.why} for one in found]}
    unsaid = "; ".join(f"{one.system}: {one.why}" for one in open_ones)
    if not concluded:
        return Structural(
            quantity=quantity,
            measured=None,
            bound=1.0 if relative else (found[0].predicted if found else None),
            verdict=Verdict.INCONCLUSIVE,
            reason=f"no system concludes: {unsaid}",
            details=details,
        )
    systems = list(dict.fromkeys(one.system.split(",")[0] for one in concluded))
    worst = max(violated or concluded, key=_distance)
    scale = worst.predicted if relative else 1.0
    says = f"holds on {', '.join(systems)}"
    if violated:
        says = "violated on " + ", ".join(f"{one.system}: {one.why}" if one.why else one.system for one in violated)
    return Structural(
        quantity=quantity,
        measured=None if worst.measured is None else worst.measured / scale,
        bound=worst.predicted / scale,
        interval=None if worst.interval is None else (worst.interval[0] / scale, worst.interval[1] / scale),
        verdict=Verdict.VIOLATED if violated else Verdict.HOLDS,
        reason=f"{says} (shown: {worst.system}, the farthest from prediction)"
        + (f"; INCONCLUSIVE on {unsaid}" if unsaid else ""),
        details=details,
    )


def _distance(one: OnSystem) -> float:
    return abs((one.measured if one.measured is not None else float("inf")) / one.predicted - 1.0)


def slow_epsilon(system: FastSlowSystem) -> float:
    """The ε at which the slowest relaxation, λ_min/ε, is as fast as y crosses its box: far below it ε is small."""
    from verify.observe.clock import crossing_rate, relaxation_rate

    y = system.uniform(256, seed=0)
    return float(relaxation_rate(system, y).min()) / crossing_rate(system, y)
