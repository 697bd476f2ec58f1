"""What the runner found: the result of each claim, and the report of all of them with its exit code."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any

from verify.claim.kinds import EmpiricalClaim, ExactClaim, GapClaim, HeuristicClaim, StructuralClaim
from verify.command_line import strict_json
from verify.statistics.verdict import ERROR, Verdict

VOCABULARY: dict[str, type[enum.StrEnum]] = {
    kind.tag: kind.vocabulary for kind in (ExactClaim, StructuralClaim, HeuristicClaim, EmpiricalClaim, GapClaim)
}
MUST_HOLD = ("exact", "structural")
UNKNOWN_TAG = "unknown"  # of a file that holds no claim


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """One claim, what its check found, and whether the check refuted its mutant.

    verdict: a word of the tag's vocabulary, NOT_RUN or ERROR. quantity: what `measured` is; bound, interval,
    effect_size, details: see `verify.claim`. mutation: what the first mutant breaks; mutant_refuted: whether the check
    noticed every mutant (None: not run); mutant_reason: what it said, of those that went unnoticed where there are
    any; mutants: each with its name, what it breaks, whether it was refuted, and the reason. seconds: of the check.
    file: where the claim is defined. resumed: whether the check had been finished by an earlier run. traceback: of an
    ERROR.
    """

    id: str
    tag: str
    statement: str
    source: str
    verdict: str
    quantity: str = ""
    measured: float | None = None
    bound: float | None = None
    interval: tuple[float, float] | None = None
    effect_size: float | None = None
    mutation: str = ""
    mutant_refuted: bool | None = None
    mutant_reason: str = ""
    mutants: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    resumed: bool = False
    traceback: str = ""

    @property
    def failed(self) -> bool:
        """Whether the exit code must not be 0 on its account: violated, an error, or a mutant that went unnoticed."""
        inconclusive = self.tag in MUST_HOLD and self.verdict == Verdict.INCONCLUSIVE
        return self.verdict in (Verdict.VIOLATED, ERROR) or inconclusive or self.mutant_refuted is False

    def as_dict(self) -> dict[str, Any]:
        """The keys of the JSON."""
        left_out = ("traceback", "resumed")
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}


@dataclass(frozen=True)
class Report:
    """All results, in the order of the claims' ids, and what they were made with."""

    claims: tuple[ClaimResult, ...]
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """Strict JSON: claims and provenance."""
        return strict_json({"claims": [claim.as_dict() for claim in self.claims], "provenance": self.provenance})

    def exit_code(self) -> int:
        """1 if an exact or structural claim is VIOLATED; 3 if one is INCONCLUSIVE, any ended in ERROR, or a mutant went
        unnoticed; else 0."""
        if any(c.tag in MUST_HOLD and c.verdict == Verdict.VIOLATED for c in self.claims):
            return 1
        return 3 if any(c.failed for c in self.claims) else 0
