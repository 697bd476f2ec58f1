"""The paper's open question: does the coupling stay neutral from 0.5M to 10M tokens?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from verify.claim import Empirical, EmpiricalClaim, Mutant, NotRun, Profile
from verify.claims._training import judge_neutrality, not_run, planted_cells, scale_cells


def check(profile: Profile) -> Empirical | NotRun:
    """coupled − dense at 10M tokens over paired seeds; its path and the gate's are in the details."""
    if profile.name != "scale":
        return not_run("scale", "10M")
    found = judge_neutrality(profile.trained)
    return replace(found, details=found.details | {"path": _path(profile.trained)})


def mutant(profile: Profile) -> Empirical:
    """Five planted pairs, as noisy as those measured, whose coupled arm is 0.01 nats better: half a layer."""
    return judge_neutrality(planted_cells(dense=1.5, coupled=1.49, spread=2.5))


def _path(trained: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """coupled − dense and the gate along the way, means over the seeds that have both arms."""
    paths = {(cell["arm"], cell["seed"]): cell["path"] for cell in trained}
    seeds = [seed for arm, seed in paths if arm == "coupled" and ("dense", seed) in paths]
    rows = []
    for k in range(min((len(paths["coupled", seed]) for seed in seeds), default=0)):
        coupled, dense = ([paths[arm, seed][k] for seed in seeds] for arm in ("coupled", "dense"))
        differences = [c["validation_loss"] - d["validation_loss"] for c, d in zip(coupled, dense, strict=True)]
        opened = [c["closed_gate_loss"] - c["validation_loss"] for c in coupled]
        rows.append(
            {
                "tokens": coupled[0]["tokens"],
                "coupled − dense": statistics.fmean(differences),
                "gate": statistics.fmean(c["gate"] for c in coupled),
                "cost of shutting the gate": statistics.fmean(opened),
                "seeds": len(seeds),
            }
        )
    return rows


CLAIM = EmpiricalClaim(
    id="neutral_at_scale",
    statement="The coupling, neutral at 500k tokens, is still neutral at 10M: the paper leaves this open, and the path "
    "of the gate and of coupled − dense is measured.",
    source="the paper's open question at >= 10M tokens",
    check=check,
    mutant=mutant,
    mutation="losses with a planted gain of 0.01 nats, the effect of half a layer, for the coupled arm",
    cells=scale_cells,
    mutants=(
        Mutant(
            "harm",
            "losses with a planted harm of 0.01 nats",
            lambda profile: judge_neutrality(planted_cells(dense=1.5, coupled=1.51, spread=2.5)),
        ),
        Mutant(
            "open_gate",
            "equal losses, and a gate that costs 0.011 nats if shut",
            lambda profile: judge_neutrality(planted_cells(dense=1.5, coupled=1.5, gate_cost=0.011)),
        ),
    ),
)
