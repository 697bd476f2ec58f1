"""The structural claims on small systems: what they measure, and each reason for which they measure nothing."""

import dataclasses

import pytest
import torch

import theory
from theory import FastSlowSystem, from_rates, get_system, stationary_distribution
from verify.claim import Profile
from verify.claims import (
    _minimised,
    learned_manifold_approaches,
    manifold_gap_is_first_order,
    slow_manifold_orders,
    variational_minimisers,
)
from verify.manifold_gap import measure
from verify.statistics.verdict import Verdict

pytestmark = pytest.mark.numerical


def only(monkeypatch, *names):
    monkeypatch.setattr(theory, "list_systems", lambda: list(names))


def chain(rates, *, name="chain", moving=0.0):
    """A chain with the given rates[n, n], times 1 + `moving` y by the target state; y falls to zero."""
    rates = torch.tensor(rates, dtype=torch.float64)
    n = len(rates)

    def generator(y):
        share = 1.0 + moving * y[..., :1] * torch.arange(n, dtype=y.dtype) / n
        return from_rates(rates * share[..., :, None])

    return FastSlowSystem(
        generator=generator, slow=lambda x, y: 0.1 - y, n_states=n, n_slow=1, low=0.0, high=1.0, name=name
    )


THREE = [[0.0, 1.0, 0.5], [0.7, 0.0, 0.2], [0.4, 0.9, 0.0]]


def by_label(found):
    return {entry["system"]: entry for entry in found.details["systems"]}


@pytest.mark.thorough
def test_every_objective_has_p_st_as_its_minimiser_and_cross_entropy_p_epsilon(monkeypatch):
    only(monkeypatch, "two_state", "driven_cycle")
    found = variational_minimisers.check(Profile())
    assert found.verdict is Verdict.HOLDS
    entries = by_label(found)
    assert len(entries) == 12  # logits at single points and a φ_θ of y, by three objectives, on two systems
    for label, entry in entries.items():
        assert entry["verdict"] == "HOLDS", entry
        if "φ_θ" in label:  # what a network represents is held against its own measured floor
            continue
        assert entry["measured"] == pytest.approx(1.0, abs=1e-5 if "cross" in label else 1e-8)


def test_a_p_st_with_a_zero_has_no_softmax_for_its_minimiser():
    system = chain([[0.0, 1.0, 0.5], [0.7, 0.0, 0.2], [0.0, 0.0, 0.0]])  # nothing comes into state 2
    assert not bool((stationary_distribution(system.A(system.uniform(1, seed=0))) > 0).all())
    found = _minimised.minimise(system, "residual", _minimised.residual_argmin, 0)
    assert found.verdict is Verdict.INCONCLUSIVE and "boundary of the simplex" in found.why


def test_wells_that_hardly_see_each_other_are_flat_and_said_to_be():
    wells = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1e-18, 0.0], [0.0, 1e-18, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    found = _minimised.minimise(chain(wells), "residual", _minimised.residual_argmin, 0)
    assert found.verdict is Verdict.INCONCLUSIVE and "two starts end" in found.why
    assert all(row["tv"] <= row["certificate_tv"] for row in found.rows)


def test_a_minimiser_beyond_its_certificate_violates_the_claim(monkeypatch):
    monkeypatch.setattr(theory, "certificate", lambda A, q: torch.zeros_like(q[..., 0]))
    argmin = _minimised.transposed_argmin  # its end is the uniform distribution, not p_st
    found = _minimised.minimise(chain(THREE), "residual", argmin, 0)
    assert found.verdict is Verdict.VIOLATED and "exceeds its certificate" in found.why


def test_the_nested_minimisation_is_not_tried_on_large_systems():
    found = _minimised.minimise_rate(get_system("double_well"), 0)
    assert found.verdict is Verdict.INCONCLUSIVE and "not tried: 64 states" in found.why


def test_cross_entropy_says_where_there_is_no_gap_and_where_the_fast_states_have_not_settled():
    nothing = _minimised.minimise_cross_entropy(chain(THREE), 0)
    assert nothing.measured is None and "no O(ε) term" in nothing.why
    slow_fast = dataclasses.replace(chain(THREE, moving=0.5), slow=lambda x, y: 1e4 * (0.1 - y))
    unsettled = _minimised.minimise_cross_entropy(slow_fast, 0)
    assert unsettled.measured is None and "not relaxed within its block" in unsettled.why


@pytest.mark.thorough
@pytest.mark.parametrize("profile, periods", [("quick", "QUICK"), ("paper", "DEFAULT_PERIODS")])
def test_the_learned_manifold_is_that_of_the_main_command(monkeypatch, profile, periods):
    only(monkeypatch, "two_state")
    monkeypatch.setattr(learned_manifold_approaches, "QUICK", (64, 256, 1024))
    monkeypatch.setattr("verify.manifold_gap.options.DEFAULT_PERIODS", (64, 128, 256))
    monkeypatch.setattr("verify.manifold_gap.measurement.TRAIN_PAIRS", 400)
    found = learned_manifold_approaches.check(Profile(profile))
    used = {"QUICK": (64, 256, 1024), "DEFAULT_PERIODS": (64, 128, 256)}[periods]
    direct = measure("two_state", used)
    (entry,) = found.details["systems"]
    assert [row["period"] for row in entry["rows"]] == list(used)
    assert found.verdict is Verdict.HOLDS and entry["measured"] == direct.slope


def test_a_large_system_whose_longest_quick_period_does_not_settle_is_not_trained(monkeypatch):
    only(monkeypatch, "double_well")
    monkeypatch.setattr("verify.manifold_gap.measure", lambda *a, **k: pytest.fail("trained for nothing"))
    monkeypatch.setattr(learned_manifold_approaches, "QUICK_LARGE", (64, 128))
    found = learned_manifold_approaches.check(Profile())
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no period settles, the longest being P = 128" in found.reason


def test_orders_of_the_slow_manifold_on_one_system(monkeypatch):
    only(monkeypatch, "two_state")
    found = slow_manifold_orders.check(Profile())
    assert found.verdict is Verdict.HOLDS
    slopes = [entry["measured"] for entry in found.details["systems"]]
    assert slopes == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.05)


def test_a_p_st_that_does_not_move_has_no_order_to_measure():
    still = chain(THREE)
    (found,) = slow_manifold_orders._slopes(still, still, 0)
    assert found.verdict is Verdict.INCONCLUSIVE and "p_st does not move with y" in found.why


def test_residuals_at_the_rounding_are_counted_in_the_reason():
    rows = [{"epsilon": 0.5**k, "residual": 1e-16, "rounding": 1e-16, "floor_limited": k > 0} for k in range(5)]
    found = slow_manifold_orders._slope("ring, k = 3", 3, rows, rows[:1])
    assert found.measured is None and "4 of 5 residuals at the rounding of A p_st" in found.why


def test_with_two_values_of_epsilon_the_gap_has_no_slope_and_no_constant(monkeypatch):
    monkeypatch.setattr(manifold_gap_is_first_order, "COUNT", 2)
    (found,) = manifold_gap_is_first_order._measure(get_system("two_state"), 0, manifold_gap_is_first_order._phi_1)
    assert found.system == "two_state, slope" and found.measured is None and "a slope needs 3" in found.why
