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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from verify.claim.outcome import Empirical, Exact, Gap, NotRun, Outcome, Profile, Structural
from verify.statistics.verdict import EmpiricalVerdict, ExactVerdict, GapVerdict, Verdict

TAGS = ("exact", "structural", "heuristic", "empirical", "gap")

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
