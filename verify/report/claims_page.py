"""The claims as documentation, from the claims themselves: nothing measured, so nothing that goes stale."""

from __future__ import annotations

import re
from collections.abc import Iterable

from verify.claim import TAGS, Profile
from verify.claim.discovery import FoundClaim
from verify.report.content import TESTS, how_checked
from verify.report.mapping import LINKS, node
from verify.report.markdown import grid
from verify.report.text import as_markdown

HEAD = """# The claims

<!-- Generated from verify/claims/ by `python -m verify.report --docs docs/claims.md`; a test compares them. -->

One sentence of the paper each, with the check that measures it and the mutant that the check must refute. What was
measured is not here: `python -m verify --mutants` measures it and writes `report.html`, `report.md` and `claims.json`.
The tag limits what a claim may end in:

| tag | ends in |
| --- | --- |
| exact | HOLDS or VIOLATED, at rounding-scaled tolerance |
| structural | HOLDS with an interval, VIOLATED, or INCONCLUSIVE with a reason |
| heuristic, empirical | CONSISTENT or INCONSISTENT with an effect size, or INCONCLUSIVE; never HOLDS |
| any | NOT_RUN where the profile does not train what the claim needs |
| gap | MEASURED: its size is the result |
"""
SHORTEST = 30  # letters of a statement that is cut at its first colon or semicolon


def claims_page(claims: Iterable[FoundClaim]) -> str:
    """docs/claims.md: a table of all, then a section for each, by tag and name."""
    ordered = _ordered(claims)
    parts = [HEAD, claims_table(ordered)]
    for found in ordered:
        claim = found.claim
        lines = [
            f"- *Tag:* {claim.tag}",
            f"- *Source:* {as_markdown(claim.source)}",
            f"- *Check:* {as_markdown(how_checked(found))}",
            f"- *Mutant, to be refuted:* {as_markdown(claim.mutation)}",
            f"- *Profile:* {as_markdown(profile_needed(found))}",
            f"- *Code:* [`verify/claims/{found.file.name}`](../verify/claims/{found.file.name}), "
            f"tested in [`{TESTS}`](../{TESTS})",
        ]
        if found.id in LINKS:
            one, other = (as_markdown(node(name).name) for name in LINKS[found.id])
            lines.insert(1, f"- *Links:* {one} and {other}")
        parts.append(f"## {found.id}\n\n> {as_markdown(claim.statement)}\n\n" + "\n".join(lines))
    return "\n".join([parts[0], "\n\n".join(parts[1:])]) + "\n"


def claims_table(claims: Iterable[FoundClaim], *, link: str = "") -> str:
    """A Markdown table of claim, tag and statement in short, for any page; `link`: the way from there to the page."""
    rows = [
        f"| [`{found.id}`]({link}#{found.id}) | {found.claim.tag} | {as_markdown(in_short(found.claim.statement))} |"
        for found in _ordered(claims)
    ]
    return "\n".join([grid(("claim", "tag", "statement"), []), *rows])


def in_short(statement: str) -> str:
    """The statement up to its first colon or semicolon outside parentheses that does not come too early."""
    for match in re.finditer("[:;] ", statement):
        start = statement[: match.start()]
        if len(start) >= SHORTEST and start.count("(") == start.count(")"):
            return start
    return statement.removesuffix(".")


def profile_needed(found: FoundClaim) -> str:
    """Which profile can measure the claim: any, or what its check says under `quick` without a trained model."""
    if found.claim.cells is None or found.claim.cells(Profile()):
        return "any; quick does"
    outcome = found.claim.run("check", Profile())
    return outcome.reason if str(outcome.verdict) == "NOT_RUN" else "any; quick does"


def _ordered(claims: Iterable[FoundClaim]) -> list[FoundClaim]:
    return sorted(claims, key=lambda found: (TAGS.index(found.claim.tag), found.id))
