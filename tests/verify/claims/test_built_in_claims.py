"""Every built-in claim: its mutant is refuted, its check is not, within the vocabulary of its tag. Issue 6."""

import pytest

from verify.claim import Profile
from verify.discovery import FoundClaim, discover
from verify.runner import VOCABULARY

CLAIMS = {found.id: found for found in discover() if isinstance(found, FoundClaim)}
SLOW = {  # more than a few seconds; `python -m verify` runs them all
    "learned_manifold_approaches",
    "slow_manifold_orders",
    "variational_minimisers",
    "wall_clock",
    "no_future_leak",
    "zero_gate_is_dense",
    "equilibrium_is_stationary",
    "trained_block_is_not_a_generator",
}


@pytest.mark.parametrize("name", CLAIMS)
def test_the_mutant_is_refuted(name):
    claim = CLAIMS[name].claim
    found = claim.run("mutant", Profile())
    assert found.refuted, found
    assert found.verdict in list(VOCABULARY[claim.tag])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CLAIMS]
)
def test_the_check_is_not_refuted(name):
    claim = CLAIMS[name].claim
    if name == "wall_clock":
        pytest.skip("a finding about this machine, whatever it is: not for a test to decide")
    found = claim.run("check", Profile())
    assert not found.refuted, found


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
            "neutral_at_500k": "empirical",
            "slow_dynamics_beyond_pooling": "empirical",
            "wall_clock": "empirical",
            "neutral_at_scale": "empirical",
        }.items()
    )


@pytest.mark.parametrize("name", ["neutral_at_500k", "slow_dynamics_beyond_pooling", "neutral_at_scale"])
def test_quick_says_which_profile_a_training_claim_needs(name):
    found = CLAIMS[name].claim.run("check", Profile())
    assert found.verdict == "INCONCLUSIVE" and found.reason.startswith("needs --profile ")
    assert CLAIMS[name].claim.cells(Profile()) == []
