"""What a check found: an outcome of the type of its claim's tag, whose words it ends in, and the profile it ran at.

Exact        HOLDS or VIOLATED, by measured <= bound at rounding-scaled tolerance
Structural   also INCONCLUSIVE; HOLDS only with an interval
Empirical    CONSISTENT, INCONSISTENT or INCONCLUSIVE, with an effect size
Gap          MEASURED: a place where the network departs from the theory, and by how much
NotRun       NOT_RUN: its profile does not train what the check needs
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from network.arguments import Integer, Text
from verify.statistics.verdict import NOT_RUN, EmpiricalVerdict, ExactVerdict, GapVerdict, Verdict

PROFILES = ("quick", "paper", "scale")


@dataclass(frozen=True)
class Profile:
    """How much a check may spend, and with what.

    name: quick (a minute for all claims), paper (500k tokens: ten minutes) or scale (>= 10M tokens: hours). seeds: one
    trained model each; checks without training draw from the first. device: of what computes in batches. trained:
    results of the cells that the claim asked for (`Claim.cells`), filled in by the runner. rigorous: hold what can be
    enclosed against proven enclosures too (extra `rigorous`).

    Raises `ValueError` for an unknown name and for seeds that are not different integers >= 0.

    Examples:
        >>> from verify.claim import Profile
        >>> Profile("paper", seeds=(3, 4)).seed
        3
    """

    name: Text = "quick"
    seeds: tuple[Integer, ...] = (0,)
    device: str = "cpu"
    trained: tuple[dict[str, Any], ...] = ()
    rigorous: bool = False

    def __post_init__(self) -> None:
        if self.name not in PROFILES:
            raise ValueError(f"unknown profile {self.name!r}; there are {', '.join(PROFILES)}")
        valid = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in self.seeds)
        if not self.seeds or not valid or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different integers >= 0, at least one; got {list(self.seeds)}")

    @property
    def seed(self) -> int:
        """The first seed."""
        return self.seeds[0]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A measurement and what it is held against.

    quantity: what `measured` is, in words. bound: what theory allows or predicts. interval: of `measured`. reason: one
    sentence, always there where nothing could be concluded. details: tables behind the figure of the report, plain
    data.

    Examples:
        >>> from verify.claim import Exact, Outcome
        >>> isinstance(Exact(quantity="error", measured=0.0, bound=1e-15), Outcome)
        True
    """

    quantity: str
    measured: float | None
    bound: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    verdict: Text

    @property
    def refuted(self) -> bool:
        """Whether this outcome contradicts the claim."""
        return str(self.verdict) in ("VIOLATED", "INCONSISTENT")


@dataclass(frozen=True, kw_only=True)
class Exact(Outcome):
    """HOLDS if measured <= bound, otherwise VIOLATED: nobody chooses the word.

    Examples:
        >>> from verify.claim import Exact
        >>> str(Exact(quantity="error", measured=2e-15, bound=1e-15).verdict)
        'VIOLATED'
    """

    verdict: ExactVerdict = field(init=False)

    def __post_init__(self) -> None:
        if self.measured is None or self.bound is None:
            raise TypeError("an exact outcome needs both measured and bound")
        holds = self.measured <= self.bound  # false for NaN
        object.__setattr__(self, "verdict", ExactVerdict.HOLDS if holds else ExactVerdict.VIOLATED)


@dataclass(frozen=True, kw_only=True)
class Structural(Outcome):
    """A verdict with the interval that it rests on; INCONCLUSIVE needs a reason instead.

    Examples:
        >>> from verify.claim import Structural
        >>> from verify.statistics.verdict import Verdict
        >>> Structural(quantity="slope", measured=1.0, interval=(0.99, 1.01), verdict=Verdict.HOLDS).refuted
        False
    """

    verdict: Verdict

    def __post_init__(self) -> None:
        _require(self, Verdict)
        if self.verdict is Verdict.HOLDS and self.interval is None:
            raise TypeError("a structural outcome HOLDS only with an interval")
        if self.verdict is Verdict.INCONCLUSIVE and not self.reason:
            raise TypeError("an inconclusive outcome needs a reason")


@dataclass(frozen=True, kw_only=True)
class Empirical(Outcome):
    """Whether the data agree with a sentence, and the effect size found (None where nothing was measured).

    Examples:
        >>> from verify.claim import Empirical
        >>> from verify.statistics.verdict import EmpiricalVerdict
        >>> found = EmpiricalVerdict.CONSISTENT
        >>> Empirical(quantity="nats", measured=0.0, interval=(-0.01, 0.01), verdict=found, effect_size=0.0).refuted
        False
    """

    verdict: EmpiricalVerdict
    effect_size: float | None = None

    def __post_init__(self) -> None:
        _require(self, EmpiricalVerdict)
        if self.verdict is EmpiricalVerdict.INCONCLUSIVE and not self.reason:
            raise TypeError("an inconclusive outcome needs a reason")
        if self.verdict is not EmpiricalVerdict.INCONCLUSIVE and self.effect_size is None:
            raise TypeError("an empirical outcome that concludes something needs its effect size")


@dataclass(frozen=True, kw_only=True)
class Gap(Outcome):
    """A departure from the theory. bound: its resolution, below which a departure could not be told from none.

    Examples:
        >>> from verify.claim import Gap
        >>> str(Gap(quantity="distance", measured=0.6, bound=1e-7).verdict)
        'MEASURED'
    """

    verdict: GapVerdict = field(init=False, default=GapVerdict.MEASURED)

    def __post_init__(self) -> None:
        if self.measured is None or self.bound is None or not math.isfinite(self.measured):
            raise TypeError("a gap needs a finite size and its resolution (bound)")

    @property
    def refuted(self) -> bool:
        """Whether no departure was found: that is what an input without one must give."""
        return self.measured is not None and self.bound is not None and self.measured <= self.bound


@dataclass(frozen=True, kw_only=True)
class NotRun(Outcome):
    """Nothing was measured, because the profile does not train what the claim needs; the reason names one that does.

    An outcome of a check of any tag, and no verdict on the claim.

    Examples:
        >>> from verify.claim import NotRun
        >>> str(NotRun(quantity="loss", measured=None, reason="trained under the profile paper").verdict)
        'NOT_RUN'
    """

    verdict: str = field(init=False, default=NOT_RUN)

    def __post_init__(self) -> None:
        if not any(name in self.reason for name in PROFILES) or self.measured is not None:
            raise TypeError(f"an outcome that was not run names the profile that runs it, and measures nothing: {self}")


def _require(outcome: Outcome, vocabulary: type) -> None:
    if type(outcome.verdict) is not vocabulary:
        raise TypeError(f"{type(outcome).__name__} speaks {vocabulary.__name__}, not {outcome.verdict!r}")
