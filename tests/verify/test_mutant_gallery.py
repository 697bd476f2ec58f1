"""Every mutant of the gallery is seen on its cheapest input, where honest code holds."""

import json
from pathlib import Path

import pytest

from verify.claim.discovery import FoundClaim
from verify.claim.discovery import discover as discover_claims
from verify.mutants import Mutant, discover, replaced
from verify.mutants.gallery import SOUND, living, merged

MATRIX = Path(__file__).parents[2] / "benchmarks" / "results" / "mutants.json"
COMMITTED = json.loads(MATRIX.read_text())
CLAIMS = [found for found in discover_claims() if isinstance(found, FoundClaim)]
GALLERY = discover()
HONEST: dict[str, str] = {}


@pytest.fixture(autouse=True)
def nameless(monkeypatch):
    """No look asks git what it was made with: that takes as long as the look."""
    monkeypatch.setattr("verify.statistics.provenance.provenance", lambda **_: {})


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", GALLERY, ids=lambda mutant: mutant.id)
def test_the_mutant_is_seen_on_its_cheapest_input(mutant: Mutant):
    look = mutant.looks[0]
    control = look.honest
    if control.name not in HONEST:
        HONEST[control.name] = control.run()[0]
    assert HONEST[control.name] in SOUND
    verdict, reason = mutant.meet(look)
    assert mutant.seen_as(verdict), f"{mutant.breaks}: {verdict}, {reason}"


def expected():
    """(claim, mutant) of the gallery, and of the inputs that every claim brings along."""
    own = [(one.id, f"{one.id}/{name}") for one in CLAIMS for name in one.claim.gallery]
    return {*own, *((mutant.claim, mutant.id) for mutant in GALLERY)}


def test_the_committed_matrix_misses_no_mutant_and_none_lives_in_it():
    """A claim's rows are made anew by `python -m verify --mutants --claim ID --out DIR`, beside those DIR holds."""
    rows = COMMITTED["mutants"]
    assert {(row["claim"], row["mutant"]) for row in rows} == expected()
    assert [row["mutant"] for row in rows if not row["seen"]] == []


def test_what_must_hold_has_five_mutants_or_more_each_breaking_another_thing():
    for one in CLAIMS:
        if one.claim.tag in ("exact", "structural"):
            breaks = {row["breaks"] for row in COMMITTED["mutants"] if row["claim"] == one.id}
            assert len(breaks) >= 5, one.id


def test_rows_of_claims_that_are_not_run_now_are_kept():
    def of(claim, seen):
        row = {"claim": claim, "mutant": f"{claim}/mutant", "seen": seen}
        return {"mutants": [row], "claims": {claim: {"mutants": 1, "seen": int(seen)}}, "provenance": {"seed": 0}}

    whole = merged(of("b", True), of("a", True))
    assert [row["claim"] for row in whole["mutants"]] == list(whole["claims"]) == ["a", "b"]
    again = merged(of("b", False), whole)
    assert living(again) == ["b/mutant"] and len(again["mutants"]) == 2


def test_a_planted_fault_is_gone_afterwards_also_when_the_look_raises():
    import verify.observe.clock as clock

    honest = clock.settled_gap
    plant = replaced(("verify.observe.clock:settled_gap", lambda old: None))
    plant.__enter__()
    assert clock.settled_gap is None
    assert not plant.__exit__(KeyError, KeyError(), None)
    assert clock.settled_gap is honest
