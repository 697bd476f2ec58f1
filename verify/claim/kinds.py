"""What a claim is: one sentence of the paper, the check that measures it, and a mutant that the check must refute.

A claim is one file that defines `CLAIM`, with the file's name as its id. Its class is its tag, and the tag fixes the
type of outcome that its check may return, hence the words that it may end in:

    exact                 `Exact`       HOLDS or VIOLATED, by measured <= bound at rounding-scaled tolerance
    structural            `Structural`  also INCONCLUSIVE; HOLDS only with an interval
    heuristic, empirical  `Empirical`   CONSISTENT, INCONSISTENT or INCONCLUSIVE, with an effect size
    gap                   `Gap`         MEASURED: a place where the network departs from the theory, and by how much

A check of any tag may end NOT_RUN instead, where its profile does not train what it needs: `NotRun`.

`mutant` runs the same measurement on a deliberately broken input, `mutants` on more of them, each of another kind and
of the smallest size that matters. An outcome says through `refuted` whether it noticed: a check that cannot fail is no
check.

Nothing here imports torch, and a claim's file imports it inside its functions only, so that claims can be listed at
once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from network.arguments import Integer, Text
from verify.statistics.verdict import NOT_RUN, EmpiricalVerdict, ExactVerdict, GapVerdict, Verdict

PROFILES = ("quick", "paper", "scale")
TAGS = ("exact", "structural", "heuristic", "empirical", "gap")


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


O = TypeVar("O", bound=Outcome)  # noqa: E741


@dataclass(frozen=True)
class Mutant(Generic[O]):
    """One more broken input of a claim: its name within the claim, what it breaks, and the measurement on it.

    Examples:
        >>> from verify.claim import Exact, Mutant
        >>> broken = Mutant("twice", "the error is doubled", lambda _: Exact(quantity="e", measured=2.0, bound=1.0))
        >>> broken.run(None).refuted
        True
    """

    name: str
    breaks: str
    run: Callable[[Profile], O]


@dataclass(frozen=True, kw_only=True)
class Claim(Generic[O]):
    """One sentence and its check.

    id: the name of its file. statement: what the paper says. source: the theorem or the part of the paper that it rests
    on. check: the measurement. mutant: the same on a broken input, `mutation` says which. cells: what must have been
    trained first, `verify.cells.Cell`s for a profile (their results arrive in `profile.trained`). mutants: further
    broken inputs.

    Examples:
        >>> from verify.claim import Claim, ExactClaim
        >>> issubclass(ExactClaim, Claim), ExactClaim.tag
        (True, 'exact')
    """

    tag: ClassVar[str]
    outcome: ClassVar[type[Outcome]]
    vocabulary: ClassVar[type[enum.StrEnum]]

    id: str
    statement: str
    source: str
    check: Callable[[Profile], O | NotRun]
    mutant: Callable[[Profile], O]
    mutation: str
    cells: Callable[[Profile], list[Any]] | None = None
    mutants: tuple[Mutant[O], ...] = ()

    def __post_init__(self) -> None:
        for name in ("id", "statement", "source", "mutation"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"a claim's {name} must be a non-empty string, got {getattr(self, name)!r}")
        for name in ("check", "mutant"):
            if not callable(getattr(self, name)):
                raise ValueError(f"claim {self.id}: {name} must be a function of a Profile")
        names = [one.name for one in self.mutants]
        if len({*names, "mutant", "check"}) != len(names) + 2:
            raise ValueError(f"claim {self.id}: its mutants need names of their own, got {names}")

    @property
    def gallery(self) -> dict[str, Mutant[O]]:
        """Every mutant by its role: `mutant`, then the further ones by name."""
        return {"mutant": Mutant("mutant", self.mutation, self.mutant)} | {one.name: one for one in self.mutants}

    def run(self, role: str, profile: Profile) -> O | NotRun:
        """The outcome of `check` or of a mutant; `TypeError` where it or its verdict is not of the type of the tag, nor
        a check that was not run."""
        found = (self.check if role == "check" else self.gallery[role].run)(profile)
        if role == "check" and isinstance(found, NotRun):
            return found
        if type(found) is not self.outcome:
            raise TypeError(
                f"claim {self.id} is {self.tag}: its {role} must return {self.outcome.__name__}, not "
                f"{type(found).__name__}"
            )
        if type(found.verdict) is not self.vocabulary:
            raise TypeError(f"claim {self.id} is {self.tag}: its {role} cannot end in {found.verdict!r}")
        return found


class ExactClaim(Claim[Exact]):
    """An identity: HOLDS or VIOLATED.

    Examples:
        >>> from verify.claim import Exact, ExactClaim, Profile
        >>> def error(sum_of_columns):
        ...     return lambda profile: Exact(quantity="sum of columns", measured=abs(sum_of_columns), bound=1e-15)
        >>> claim = ExactClaim(
        ...     id="columns", statement="Columns sum to zero.", source="a book", check=error(0.0), mutant=error(0.1),
        ...     mutation="a column that sums to 0.1",
        ... )
        >>> str(claim.run("check", Profile()).verdict), str(claim.run("mutant", Profile()).verdict)
        ('HOLDS', 'VIOLATED')
    """

    tag: ClassVar[str] = "exact"
    outcome: ClassVar[type[Outcome]] = Exact
    vocabulary: ClassVar[type[enum.StrEnum]] = ExactVerdict


class StructuralClaim(Claim[Structural]):
    """A statement about a limit, an order or a constant: HOLDS, VIOLATED or INCONCLUSIVE.

    Examples:
        >>> from verify.claim import StructuralClaim
        >>> StructuralClaim.tag, [str(word) for word in StructuralClaim.vocabulary]
        ('structural', ['HOLDS', 'VIOLATED', 'INCONCLUSIVE'])
    """

    tag: ClassVar[str] = "structural"
    outcome: ClassVar[type[Outcome]] = Structural
    vocabulary: ClassVar[type[enum.StrEnum]] = Verdict


class HeuristicClaim(Claim[Empirical]):
    """An analogy: CONSISTENT, INCONSISTENT or INCONCLUSIVE.

    Examples:
        >>> from verify.claim import HeuristicClaim
        >>> HeuristicClaim.tag, "HOLDS" in [str(word) for word in HeuristicClaim.vocabulary]
        ('heuristic', False)
    """

    tag: ClassVar[str] = "heuristic"
    outcome: ClassVar[type[Outcome]] = Empirical
    vocabulary: ClassVar[type[enum.StrEnum]] = EmpiricalVerdict


class EmpiricalClaim(Claim[Empirical]):
    """A finding of an experiment: CONSISTENT, INCONSISTENT or INCONCLUSIVE.

    Examples:
        >>> from verify.claim import EmpiricalClaim
        >>> EmpiricalClaim.tag, "HOLDS" in [str(word) for word in EmpiricalClaim.vocabulary]
        ('empirical', False)
    """

    tag: ClassVar[str] = "empirical"
    outcome: ClassVar[type[Outcome]] = Empirical
    vocabulary: ClassVar[type[enum.StrEnum]] = EmpiricalVerdict


class GapClaim(Claim[Gap]):
    """A departure of the network from the theory: MEASURED.

    Examples:
        >>> from verify.claim import GapClaim
        >>> GapClaim.tag, [str(word) for word in GapClaim.vocabulary][:1]
        ('gap', ['MEASURED'])
    """

    tag: ClassVar[str] = "gap"
    outcome: ClassVar[type[Outcome]] = Gap
    vocabulary: ClassVar[type[enum.StrEnum]] = GapVerdict


def _require(outcome: Outcome, vocabulary: type) -> None:
    if type(outcome.verdict) is not vocabulary:
        raise TypeError(f"{type(outcome).__name__} speaks {vocabulary.__name__}, not {outcome.verdict!r}")
