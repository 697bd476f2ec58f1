"""The paper's open question: does the coupling stay neutral from 0.5M to 10M tokens?"""

from __future__ import annotations

from dataclasses import replace

from verify.cells import Cell
from verify.claim import Empirical, EmpiricalClaim, Profile
from verify.claims._training import SCALE_TOKENS, judge_neutrality, planted_cells, training_cells, undecided

ARMS = ("dense", "coupled", "blind", "local")
EVALUATIONS = 20  # every 0.5M tokens


def cells(profile: Profile) -> list[Cell]:
    """Four arms at 10M tokens of source code for each seed, under `scale` alone."""
    if profile.name != "scale":
        return []
    return training_cells(profile, arms=ARMS, tokens=SCALE_TOKENS, corpus="source", evaluations=EVALUATIONS)


def check(profile: Profile) -> Empirical:
    """coupled − dense at 10M tokens over paired seeds; its path and the gate's are in the details."""
    if profile.name != "scale":
        return undecided("needs --profile scale: it trains 10M tokens for each arm and seed")
    found = judge_neutrality(profile.trained)
    path = [{"arm": cell["arm"], "seed": cell["seed"], "evaluations": cell["evaluations"]} for cell in profile.trained]
    return replace(found, details=found.details | {"path": path})


def mutant(profile: Profile) -> Empirical:
    """Five planted pairs whose coupled arm is 0.1 nats better."""
    return judge_neutrality(planted_cells(dense=1.5, coupled=1.4))


CLAIM = EmpiricalClaim(
    id="neutral_at_scale",
    statement="The coupling, neutral at 500k tokens, is still neutral at 10M: the paper leaves this open, and the path "
    "of the gate and of coupled − dense is measured.",
    source="the paper's open question at >= 10M tokens",
    check=check,
    mutant=mutant,
    mutation="losses with a planted gain of 0.1 nats for the coupled arm",
    cells=cells,
)
