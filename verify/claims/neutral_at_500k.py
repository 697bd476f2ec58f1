"""At 500k tokens the coupling is neutral and the gate stays closed.

The verdict is on the paper's gate, a scalar. Beside it stand the other forms (`verify.trained.control.FORMS`), and for
each what the same form does at the same number of tokens on the positive control: neutral *and* able to open, or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, EmpiricalClaim, Mutant, NotRun, Profile
from verify.claims._training import (
    ARMS,
    PAPER_TOKENS,
    judge_neutrality,
    not_run,
    paper_cells,
    planted_cells,
    text_cells,
)
from verify.statistics.paired import MARGIN, PairedDifference, paired_difference

if TYPE_CHECKING:
    from verify.cells import Cell

Cells = Sequence[dict[str, Any]]


def cells(profile: Profile) -> list[Cell]:
    """For each seed every arm on the text, the coupled arm with each other form of the gate, and the control's arms:
    dense, then coupled with each form; none under `quick`."""
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig
    from verify.trained.control import FORMS, WEAK, control_cell

    found = paper_cells(profile)
    if not found:
        return []
    for gate, objective in list(FORMS.values())[1:]:
        training = TrainConfig(tokens=PAPER_TOKENS, evaluations=5, eval_tokens=32_768, coupling_loss=objective)
        found += text_cells(profile, {"coupled": FastSlowConfig(gate=gate)}, training)
    for arm, (gate, objective) in [("dense", FORMS["scalar"]), *(("coupled", form) for form in FORMS.values())]:
        how: dict[str, Any] = {"gate": gate, "objective": objective, "tokens": PAPER_TOKENS, "device": profile.device}
        found += [control_cell(arm, seed, s=WEAK, **how) for seed in profile.seeds]
    return found


def check(profile: Profile) -> Empirical | NotRun:
    """coupled − dense over paired seeds, and what shutting the gate costs, by equivalence over paired seeds."""
    if profile.name == "quick":
        return not_run("paper", "500k")
    count = len(profile.seeds)
    text, rest = profile.trained[: count * len(ARMS)], profile.trained[count * len(ARMS) :]
    found = judge_neutrality(text)
    parts = [rest[k : k + count] for k in range(0, len(rest), count)]
    return with_forms(found, text, parts)


def with_forms(found: Empirical, text: Cells, parts: Sequence[Cells]) -> Empirical:
    """`found` with what each form of the gate does on the `text` and on the control.

    parts: cells over the seeds, of the forms but the first on the text, of dense on the control, and of every form
    there. Nothing is added where no pair of seeds is there.
    """
    from verify.trained.control import FORMS

    names = list(FORMS)
    others, control = parts[: len(names) - 1], parts[len(names) - 1 :]
    if len(control) != len(names) + 1:
        groups = f"{len(parts)} groups of cells for {len(names)} forms of the gate"
        raise ValueError(f"{groups}: {2 * len(names)} are needed")
    dense = [cell for cell in text if cell["arm"] == "dense"]
    of_text = [[cell for cell in text if cell["arm"] == "coupled"], *others]
    rows = [
        row
        for name, on_text, known in zip(names, of_text, control[1:], strict=True)
        if (row := _form(name, on_text, dense, known, control[0])) is not None
    ]
    said = "; ".join(row.pop("said") for row in rows)
    told = f"{found.reason}. By form, text, then the control at as many tokens: {said}" if rows else found.reason
    return replace(found, reason=told, details=found.details | {"forms": rows})


def _form(name: str, text: Cells, dense: Cells, known: Cells, known_dense: Cells) -> dict[str, Any] | None:
    """One form of the gate: paired differences on both, its gate, and in how many seeds it opens on the control."""
    here, there = _paired(text, dense), _paired(known, known_dense)
    if here is None or there is None:
        return None
    costs = [cell["closed_gate_loss"] - cell["validation_loss"] for cell in known]
    opened = sum(cost > MARGIN for cost in costs)
    gate = sum(cell["gate"] for cell in text) / len(text)
    neutral = "equivalent to zero" if here.equivalent else "not shown equivalent to zero"
    seen = f"then {_told(there)}, open in {opened} of {len(known)}"
    return {
        "form": name,
        "text": asdict(here),
        "gate": gate,
        "control": asdict(there),
        "opened": opened,
        "control_seeds": len(known),
        "said": f"{name} {_told(here)}, {neutral}, |α| {gate:.2g}, {seen}",
    }


def _paired(one: Cells, other: Cells) -> PairedDifference | None:
    losses = [{cell["seed"]: cell["validation_loss"] for cell in cells} for cells in (one, other)]
    shared = sorted(losses[0].keys() & losses[1].keys())
    return paired_difference([losses[0][seed] - losses[1][seed] for seed in shared]) if len(shared) > 1 else None


def _told(found: PairedDifference) -> str:
    low, high = found.interval or (float("nan"),) * 2
    return f"{found.mean:+.4f} in [{low:+.4f}, {high:+.4f}]"


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
    cells=cells,
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
