"""What a claim is, how claims are found and run, and what a run of them says."""

from verify.claim.kinds import (
    PROFILES,
    TAGS,
    Claim,
    Empirical,
    EmpiricalClaim,
    Exact,
    ExactClaim,
    Gap,
    GapClaim,
    HeuristicClaim,
    Mutant,
    NotRun,
    Outcome,
    Profile,
    Structural,
    StructuralClaim,
)

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
