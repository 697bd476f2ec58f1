"""What a claim is, how claims are found and run, and what a run of them says."""

from verify.claim.kinds import (
    TAGS,
    Claim,
    EmpiricalClaim,
    ExactClaim,
    GapClaim,
    HeuristicClaim,
    Mutant,
    StructuralClaim,
)
from verify.claim.outcome import PROFILES, Empirical, Exact, Gap, NotRun, Outcome, Profile, Structural

__all__ = [
    "PROFILES",
    "TAGS",
    "Claim",
    "Empirical",
    "EmpiricalClaim",
    "Exact",
    "ExactClaim",
    "Gap",
    "GapClaim",
    "HeuristicClaim",
    "Mutant",
    "NotRun",
    "Outcome",
    "Profile",
    "Structural",
    "StructuralClaim",
]
