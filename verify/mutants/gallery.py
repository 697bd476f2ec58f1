"""All mutants as cells, and the matrix claim × mutant that they make: `python -m verify --mutants`.

Each mutant meets every one of its looks, and the code without the fault must hold on the same input (the control). The
mutants that the claims bring along, one input each, are rows beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.cells import Cell, run_cells, source_fingerprint
from verify.mutants import Mutant, discover

if TYPE_CHECKING:
    from verify.claim.result import Report

SOUND = ("HOLDS", "CONSISTENT", "MEASURED")
_CONTROLS: dict[str, tuple[str, str]] = {}  # of this process: the same honest look stands beside many mutants


def meet(configuration: dict[str, Any]) -> dict[str, Any]:
    """The work of a cell: one mutant on all its looks, and the controls; plain data."""
    mutant = next(mutant for mutant in discover() if mutant.id == configuration["mutant"])
    sightings = []
    for look in mutant.looks:
        if look.honest.name not in _CONTROLS:
            _CONTROLS[look.honest.name] = look.honest.run()
        control, why = _CONTROLS[look.honest.name]
        verdict, reason = mutant.meet(look)
        sightings.append(
            {
                "look": look.name,
                "control": control,
                "verdict": verdict,
                "reason": reason if control in SOUND else f"without the fault: {why}",
                "seen": mutant.seen_as(verdict) and control in SOUND,
            }
        )
    return described(mutant) | {"sightings": sightings, "seen": all(one["seen"] for one in sightings)}


def described(mutant: Mutant) -> dict[str, Any]:
    """What a row says of the mutant itself."""
    return {
        "mutant": mutant.id,
        "claim": mutant.claim,
        "breaks": mutant.breaks,
        "part": mutant.part,
        "size": mutant.size,
    }


def run_gallery(report: Report, **options: Any) -> dict[str, Any]:
    """The matrix for the claims of `report`, which carries their own mutants: {"mutants": [row, …], "claims": …}.

    options: those of `verify.cells.run_cells`.
    """
    claims = [claim.id for claim in report.claims]
    code = source_fingerprint("theory", "network", "verify")
    made_with = {key: report.provenance[key] for key in ("versions", "platform", "processor")}
    cells = [
        Cell(meet, {"mutant": mutant.id, "code": code, "machine": made_with}, f"{mutant.claim}: {mutant.id}")
        for mutant in discover()
        if mutant.claim in claims
    ]
    rows = [row for claim in report.claims for row in _own(claim)]
    for result in run_cells(cells, **options) if cells else []:
        if not result.failed:
            rows.append(result.result | {"seconds": result.seconds})
            continue
        found = next(mutant for mutant in discover() if mutant.id == result.cell.configuration["mutant"])
        lost = {"look": "all", "control": "ERROR", "verdict": "ERROR", "reason": result.error, "seen": False}
        rows.append(described(found) | {"sightings": [lost], "seen": False, "seconds": result.seconds})
    rows.sort(key=lambda row: (row["claim"], row["mutant"]))
    return {"mutants": rows, "claims": _summary(rows, report), "provenance": report.provenance}


def _own(claim: Any) -> list[dict[str, Any]]:
    """The claim's own broken inputs as rows."""
    return [
        {
            "mutant": f"{claim.id}/{one['name']}",
            "claim": claim.id,
            "breaks": one["breaks"],
            "part": "statement",
            "size": "its own",
            "sightings": [
                {
                    "look": "the claim's own input",
                    "control": claim.verdict,
                    "verdict": one["reason"].partition(":")[0],
                    "reason": one["reason"],
                    "seen": bool(one["refuted"]),
                }
            ],
            "seen": bool(one["refuted"]),
            "seconds": 0.0,
        }
        for one in claim.mutants
    ]


def _summary(rows: Sequence[dict[str, Any]], report: Report) -> dict[str, Any]:
    found = {}
    for claim in report.claims:
        own = [row for row in rows if row["claim"] == claim.id]
        found[claim.id] = {
            "tag": claim.tag,
            "mutants": len(own),
            "seen": sum(row["seen"] for row in own),
            "parts": sorted({row["part"] for row in own}),
        }
    return found


def merged(found: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """`found` with the rows of an earlier matrix for the claims that were not run now."""
    kept = [row for row in earlier["mutants"] if row["claim"] not in found["claims"]]
    claims = {name: told for name, told in earlier["claims"].items() if name not in found["claims"]} | found["claims"]
    rows = sorted([*kept, *found["mutants"]], key=lambda row: (row["claim"], row["mutant"]))
    return found | {"mutants": rows, "claims": dict(sorted(claims.items()))}


def matrix(found: dict[str, Any]) -> str:
    """The matrix as text: a block a claim, a line a mutant with its verdict on each look."""
    lines = []
    for claim, told in found["claims"].items():
        lines.append(f"{claim} ({told['tag']}): {told['seen']} of {told['mutants']} mutants seen")
        for row in found["mutants"]:
            if row["claim"] == claim:
                verdicts = ", ".join(f"{one['look']}: {one['verdict']}" for one in row["sightings"])
                mark = "seen " if row["seen"] else "LIVES"
                lines.append(f"  {mark}  {row['mutant']:28} {row['part']:11} {row['size']:18} {verdicts}")
    return "\n".join(lines)


def living(found: dict[str, Any]) -> list[str]:
    """The mutants that no check saw."""
    return [row["mutant"] for row in found["mutants"] if not row["seen"]]
