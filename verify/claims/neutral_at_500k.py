"""At 500k tokens the coupling is neutral and the gate stays closed."""

from __future__ import annotations

from verify.claim import Empirical, EmpiricalClaim, Profile
from verify.claims._training import judge_neutrality, paper_cells, planted_cells, undecided


def check(profile: Profile) -> Empirical:
    """coupled − dense over paired seeds, by the paper's criterion and by the paired interval."""
    if profile.name == "quick":
        return undecided("needs --profile paper: it trains 500k tokens for each arm and seed")
    return judge_neutrality(profile.trained)


def mutant(profile: Profile) -> Empirical:
    """Five planted pairs whose coupled arm is 0.1 nats better."""
    return judge_neutrality(planted_cells(dense=2.1, coupled=2.0))


CLAIM = EmpiricalClaim(
    id="neutral_at_500k",
    statement="At 500k tokens the coupling is neutral: the gate stays closed, and the coupled model is within "
    "run-to-run noise of the frozen one.",
    source="the paper's experiment at 500k tokens",
    check=check,
    mutant=mutant,
    mutation="losses with a planted gain of 0.1 nats for the coupled arm",
    cells=paper_cells,
)
