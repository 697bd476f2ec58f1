"""Every built-in claim: its mutant is refuted, its check is not, within the vocabulary of its tag, and on as many
random generators, configurations and systems as it says. Issue 6."""

import dataclasses
import functools

import pytest
from torch.utils.flop_counter import FlopCounterMode

from theory.systems import list_systems
from verify.claim import Profile
from verify.claim.discovery import FoundClaim, discover
from verify.claim.result import VOCABULARY

pytestmark = pytest.mark.numerical

CLAIMS = {found.id: found for found in discover() if isinstance(found, FoundClaim)}
SLOW = {  # more than a few seconds; `python -m verify` runs them all
    "learned_manifold_approaches",
    "slow_manifold_orders",
    "variational_minimisers",
    "wall_clock",
    "trained_block_is_not_a_generator",
}
THOROUGH = {"no_future_leak", "manifold_gap_is_first_order", "full_attention_leaks"}  # seconds; `make test-thorough`
ON_TEXT = ("identity_on_text", "trained_network_approaches")  # of a trained network: nothing is drawn at random
LEAST = {"generators": 1000, "configurations": 100}


def tagged(*tags, leave_out=()):
    """The claims so tagged, those marked slow or thorough whose check is."""
    names = [name for name, found in CLAIMS.items() if found.claim.tag in tags and name not in leave_out]
    marks = {name: [pytest.mark.slow] for name in SLOW} | {name: [pytest.mark.thorough] for name in THOROUGH}
    return [pytest.param(name, marks=marks.get(name, [])) for name in names]


@functools.cache
def checked(name):
    claim, profile = CLAIMS[name].claim, Profile()
    if name in SLOW and claim.cells is not None:
        profile = dataclasses.replace(profile, trained=[cell.work(cell.configuration) for cell in claim.cells(profile)])
    return claim.run("check", profile)


@pytest.fixture
def few_leaking_models(monkeypatch):
    """Six random models in the place of twenty."""
    monkeypatch.setattr("verify.claims.full_attention_leaks.COUNT", 6)


@pytest.fixture
def steps_take_their_flops(monkeypatch):
    """The floating-point operations of a step in the place of its seconds, which are those of a loaded machine too."""

    def counted(steps, *, rounds, device):
        operations = {}
        for name, step in steps.items():
            with FlopCounterMode(display=False) as counter:
                step()
            operations[name] = [float(counter.get_total_flops())] * rounds
        return operations

    monkeypatch.setattr("verify.trained.step_time.interleaved", counted)


@pytest.mark.parametrize("name, role", [(name, role) for name, found in CLAIMS.items() for role in found.claim.gallery])
@pytest.mark.usefixtures("few_leaking_models", "steps_take_their_flops")
def test_every_mutant_is_refuted(name, role):
    claim = CLAIMS[name].claim
    found = claim.run(role, Profile())
    assert found.refuted, found
    assert found.verdict in list(VOCABULARY[claim.tag])


@pytest.mark.parametrize("name", tagged(*VOCABULARY))
def test_the_check_is_not_refuted(name):
    if name == "wall_clock":
        pytest.skip("a finding about this machine, whatever it is: not for a test to decide")
    assert not checked(name).refuted, checked(name)


@pytest.mark.parametrize("name", tagged("exact", leave_out=ON_TEXT))
def test_an_exact_claim_holds_on_as_many_random_inputs_as_it_says(name):
    found = checked(name)
    (kind,) = LEAST.keys() & found.details.keys()
    assert found.verdict == "HOLDS" and found.details[kind] >= LEAST[kind]
    assert f"{found.details[kind]} random" in found.reason


@pytest.mark.parametrize("name", tagged("structural", leave_out=ON_TEXT))
def test_a_structural_claim_contains_its_prediction_on_every_system_or_says_why_not(name):
    entries = checked(name).details["systems"]
    assert {entry["system"].split(",")[0] for entry in entries} == set(list_systems())
    for entry in entries:
        if entry["verdict"] == "INCONCLUSIVE":
            assert entry["reason"].strip(), entry
        else:
            assert entry["verdict"] == "HOLDS", entry
            assert entry["interval"][0] <= entry["predicted"] <= entry["interval"][1], entry
    assert {entry["verdict"] for entry in entries} >= {"HOLDS"}


def test_the_table_of_the_design_is_covered():
    tags = {name: found.claim.tag for name, found in CLAIMS.items()}
    assert (
        tags.items()
        >= {
            "equilibrium_is_stationary": "exact",
            "unique_and_attracting": "exact",
            "manifold_gap_is_first_order": "structural",
            "slow_manifold_orders": "structural",
            "token_clock": "exact",
            "variational_minimisers": "structural",
            "learned_manifold_approaches": "structural",
            "zero_gate_is_dense": "exact",
            "no_future_leak": "exact",
            "full_attention_leaks": "gap",
            "slow_attention_cost": "exact",
            "attention_is_generator": "exact",
            "identity_on_text": "exact",
            "trained_network_approaches": "structural",
            "trained_gap_on_text": "gap",
            "neutral_at_500k": "empirical",
            "coupling_is_seen_where_it_exists": "empirical",
            "slow_dynamics_beyond_pooling": "empirical",
            "wall_clock": "empirical",
            "neutral_at_scale": "empirical",
        }.items()
    )


@pytest.mark.parametrize(
    "name",
    ["neutral_at_500k", "slow_dynamics_beyond_pooling", "neutral_at_scale", "coupling_is_seen_where_it_exists"],
)
def test_quick_says_which_profile_a_training_claim_needs(name):
    found = CLAIMS[name].claim.run("check", Profile())
    assert found.verdict == "NOT_RUN" and found.reason.startswith("needs --profile ")
    assert CLAIMS[name].claim.cells(Profile()) == []
