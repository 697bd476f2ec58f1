"""Every mutant of the gallery is seen on its cheapest input, where honest code holds."""

import json
from pathlib import Path

import pytest

from verify.claim.discovery import FoundClaim
from verify.claim.discovery import discover as discover_claims
from verify.mutants import Mutant, discover, replaced
from verify.mutants.gallery import SOUND

MATRIX = Path(__file__).parents[2] / "benchmarks" / "results" / "mutants.json"
GALLERY = discover()
HONEST: dict[str, str] = {}


@pytest.mark.parametrize("mutant", GALLERY, ids=lambda mutant: mutant.id)
def test_the_mutant_is_seen_on_its_cheapest_input(mutant: Mutant):
    look = mutant.looks[0]
    control = look.honest
    if control.name not in HONEST:
        HONEST[control.name] = control.run()[0]
    assert HONEST[control.name] in SOUND
    verdict, reason = mutant.meet(look)
    assert mutant.seen_as(verdict), f"{mutant.breaks}: {verdict}, {reason}"


def test_the_committed_matrix_misses_no_mutant_and_none_lives_in_it():
    rows = {row["mutant"]: row for row in json.loads(MATRIX.read_text())["mutants"]}
    assert {mutant.id for mutant in GALLERY} <= set(rows)
    assert [name for name, row in rows.items() if not row["seen"]] == []


def test_the_committed_matrix_is_of_one_claim_and_every_other_brings_mutants_that_the_command_adds():
    committed = {row["claim"] for row in json.loads(MATRIX.read_text())["mutants"]}
    assert committed == {mutant.claim for mutant in GALLERY} == {"learned_manifold_approaches"}
    others = [found.claim for found in discover_claims() if isinstance(found, FoundClaim) and found.id not in committed]
    assert others and all(one.breaks.strip() for claim in others for one in claim.gallery.values())


def test_a_planted_fault_is_gone_afterwards_also_when_the_look_raises():
    import verify.observe.clock as clock

    honest = clock.settled_gap
    plant = replaced(("verify.observe.clock:settled_gap", lambda old: None))
    plant.__enter__()
    assert clock.settled_gap is None
    assert not plant.__exit__(KeyError, KeyError(), None)
    assert clock.settled_gap is honest
