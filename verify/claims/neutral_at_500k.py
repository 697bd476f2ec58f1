"""At 500k tokens the coupling is neutral and the gate stays closed."""

from __future__ import annotations

from verify.claim import Empirical, EmpiricalClaim, Mutant, NotRun, Profile
from verify.claims._training import judge_neutrality, not_run, paper_cells, planted_cells


def check(profile: Profile) -> Empirical | NotRun:
    """coupled − dense over paired seeds, and what shutting the gate costs, by equivalence over paired seeds."""
    if profile.name == "quick":
        return not_run("paper", "500k")
    return judge_neutrality(profile.trained)


def mutant(profile: Profile) -> Empirical:
    """Five planted pairs, as noisy as those measured, whose coupled arm is 0.01 nats better: half a layer."""
    return judge_neutrality(planted_cells(dense=2.1, coupled=2.09, spread=2.5))


CLAIM = EmpiricalClaim(
    id="neutral_at_500k",
    statement="At 500k tokens the coupling is neutral: the gate stays closed, and the coupled model is within "
    "run-to-run noise of the frozen one.",
    source="the paper's experiment at 500k tokens",
    check=check,
    mutant=mutant,
    mutation="losses with a planted gain of 0.01 nats, the effect of half a layer, for the coupled arm",
    cells=paper_cells,
    mutants=(
        Mutant(
            "harm",
            "losses with a planted harm of 0.01 nats",
            lambda profile: judge_neutrality(planted_cells(dense=2.1, coupled=2.11, spread=2.5)),
        ),
        Mutant(
            "open_gate",
            "equal losses, and a gate that costs 0.011 nats if shut",
            lambda profile: judge_neutrality(planted_cells(dense=2.1, coupled=2.1, gate_cost=0.011)),
        ),
    ),
)
