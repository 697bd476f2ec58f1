"""What the report says, before it is set in HTML or in Markdown: one `Content` from the JSON of `python -m verify`.

Both forms are made from the same words and figures, so they cannot drift apart, and a claims.json written earlier gives
the page that its own run gave. Only how a claim is checked is read from the claim's file, where that can be found.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from verify.claim.discovery import BUILT_IN, BrokenClaim, FoundClaim
from verify.report.drawn import figures
from verify.report.pretrained import Network
from verify.report.svg import Figure
from verify.report.tables import Table, tables
from verify.report.text import NOTHING, duration, measured_in, number

TITLE = "Attention is Just Another Name for Coupling? Every claim, measured"
INTRODUCTION = (
    "The paper (Z. Gao, arXiv 2606.16730) reads a language model as a fast–slow ODE, ε dx/dt = f(x, y), dy/dt = "
    "g(x, y) with ε = 1/P, and marks each correspondence as exact, structural or heuristic. Here each of its "
    "sentences is a measurement with a bound, an interval where there is one, and a mutant: a deliberately broken "
    "input that the check has to refute. The tag limits the verdict. Exact claims HOLD or are VIOLATED at "
    "rounding-scaled tolerance; structural ones may also be INCONCLUSIVE; heuristic and empirical ones are "
    "CONSISTENT, INCONSISTENT or INCONCLUSIVE and never hold; a gap is MEASURED."
)
VERDICTS = ("HOLDS", "CONSISTENT", "MEASURED", "INCONCLUSIVE", "INCONSISTENT", "VIOLATED", "NOT_RUN", "ERROR")
TESTS = "tests/verify/claims/test_built_in_claims.py"


@dataclass(frozen=True)
class Section:
    """One claim: its facts in words, what is drawn of it, and the tables behind.

    facts: (label, words) of the measurement. row: its line in the table of all claims.
    """

    id: str
    tag: str
    verdict: str
    statement: str
    source: str
    row: dict[str, str]
    facts: tuple[tuple[str, str], ...]
    how: str
    place: str
    tested: str
    mutant: str
    figures: tuple[Figure, ...]
    undrawn: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Content:
    """The whole report. remarks: what a reader must not overlook. provenance: (key, value). networks: the pretrained
    ones."""

    summary: str
    counts: tuple[tuple[str, int], ...]
    made_with: str
    remarks: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...]
    networks: tuple[Network, ...] = ()

    @property
    def with_mutants(self) -> bool:
        """Whether any mutant was run."""
        return any(section.row["mutant"] != "not run" for section in self.sections)


def read(text: str) -> dict[str, Any]:
    """The JSON of a run; `ValueError` where `text` is something else."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    needed = {"id", "tag", "statement", "source", "verdict", "measured", "bound", "interval", "mutant_refuted"}
    if not isinstance(found, dict) or not isinstance(found.get("claims"), list) or "provenance" not in found:
        raise ValueError("no JSON of `python -m verify`: it has no claims and provenance")
    for claim in found["claims"]:
        if missing := sorted(needed - set(claim)):
            raise ValueError(f"a claim without {', '.join(missing)}: not the JSON of `python -m verify`")
    return found


def content(
    found: Mapping[str, Any], claims: Iterable[FoundClaim | BrokenClaim] = (), networks: tuple[Network, ...] = ()
) -> Content:
    """`found`: the JSON of a run, as `read` gives it. claims: where the checks of those claims can be read. networks:
    the pretrained ones that stand beside them."""
    known = {entry.id: entry for entry in claims if isinstance(entry, FoundClaim)}
    sections = tuple(_section(claim, known.get(claim["id"])) for claim in found["claims"])
    verdicts = [section.verdict for section in sections]
    counts = tuple((word, verdicts.count(word)) for word in VERDICTS if word in verdicts)
    said = ", ".join(f"{count} {word}" for word, count in counts)
    run = [claim["mutant_refuted"] for claim in found["claims"] if claim["mutant_refuted"] is not None]
    mutants = f" {sum(run)} of {len(run)} mutants refuted." if run else " Mutants were not run (--mutants)."
    made = found["provenance"]
    return Content(
        summary=f"{len(sections)} {'claim' if len(sections) == 1 else 'claims'}: {said}.{mutants}",
        counts=counts,
        made_with=_made_with(made),
        remarks=tuple(_remarks(found["claims"])),
        sections=sections,
        provenance=tuple((key, _flat(value)) for key, value in made.items()),
        networks=networks,
    )


def _section(claim: Mapping[str, Any], found: FoundClaim | None) -> Section:
    value, interval = measured_in(claim["measured"], claim["interval"])
    bound, cost = number(claim["bound"]), duration(claim.get("seconds", 0.0))
    refuted = {None: "not run", True: "refuted", False: "UNNOTICED"}[claim["mutant_refuted"]]
    facts = [("quantity", claim.get("quantity", "")), ("measured", value), ("bound", bound), ("interval", interval)]
    if claim.get("effect_size") is not None:
        facts.append(("effect size", number(claim["effect_size"])))
    facts.append(("reason", claim.get("reason", "")))
    details = claim.get("details") or {}
    drawn, undrawn = figures(claim)
    file = claim.get("file", "")
    built_in = found is not None and found.file.parent.resolve() == BUILT_IN.resolve()
    said = f": {claim['mutant_reason']}" if claim.get("mutant_reason") else ""
    return Section(
        id=claim["id"],
        tag=claim["tag"],
        verdict=claim["verdict"],
        statement=claim["statement"],
        source=claim["source"],
        row={
            "claim": claim["id"],
            "tag": claim["tag"],
            "verdict": claim["verdict"],
            "measured": value,
            "bound": bound,
            "interval": interval,
            "mutant": refuted,
            "cost": cost,
        },
        facts=tuple((label, words) for label, words in facts if words and words != NOTHING),
        how=how_checked(found) if found else "",
        place=f"verify/claims/{file}" if built_in else file,
        tested=TESTS if built_in else "",
        mutant=f"{claim['mutation']} — {refuted}{said}" if claim.get("mutation") else "",
        figures=drawn,
        undrawn=undrawn,
        tables=tables(details),
    )


def how_checked(found: FoundClaim) -> str:
    """The first paragraph of the docstring of the claim's check, on one line."""
    words = inspect.getdoc(found.claim.check) or ""
    return " ".join(words.split("\n\n")[0].split())


def _remarks(claims: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """(id, words) of whatever makes the run fail."""
    for claim in claims:
        undecided = claim["verdict"] == "INCONCLUSIVE" and claim["tag"] in ("exact", "structural")
        if claim["verdict"] in ("VIOLATED", "NOT_RUN", "ERROR") or undecided:
            yield claim["id"], f"{claim['verdict']}: {claim.get('reason') or 'no reason was given'}"
        if claim["mutant_refuted"] is False:
            yield claim["id"], f"its mutant went unnoticed: {claim.get('mutant_reason', '')}"


def _made_with(made: Mapping[str, Any]) -> str:
    """Profile, seeds and machine on one line; whatever the provenance does not hold is left out."""
    seeds = made.get("seeds")
    parts = [
        f"profile {made['profile']}" if "profile" in made else "",
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}" if seeds else "",
        f"device {made['device']}" if "device" in made else "",
        f"commit {made['commit']}" if "commit" in made else "",
        *(f"{name} {made['versions'][name]}" for name in ("fastslow", "torch") if name in made.get("versions", {})),
        f"{made['processor']}, {made.get('cores', '?')} cores" if "processor" in made else "",
    ]
    return " · ".join(part for part in parts if part)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return ", ".join(map(_flat, value)) if isinstance(value, list) else str(value)
