"""The headline and its mutants: what must hold holds, and each deliberately wrong input is caught with its reason."""

import dataclasses
import itertools
import json

import pytest
import torch

import theory
from network import PhiTheta
from verify.manifold_gap import measure
from verify.manifold_gap.table import gap_table
from verify.statistics.verdict import Verdict

pytestmark = pytest.mark.numerical

RING = theory.get_system("driven_cycle")
PERIODS = [64, 256, 1024, 8192, 65536]


@pytest.fixture(scope="module")
def headline():
    return measure("driven_cycle", PERIODS)


def test_the_headline_holds_with_its_interval_and_its_constant(headline):
    assert headline.verdict is Verdict.HOLDS
    assert headline.slope == pytest.approx(1.0, abs=0.005)
    low, high = headline.slope_interval
    assert low <= 1.0 <= high and high - low < 0.01
    assert headline.constant_ratio == pytest.approx(1.0, abs=1e-4)
    assert headline.floor_tv < 1e-9


def test_every_row_is_under_its_certificate_and_on_the_predicted_line(headline):
    for row in headline.rows:
        assert row.certified and row.gap_tv <= row.certificate_tv
        assert row.gap_tv == pytest.approx(row.predicted_tv, rel=1e-3)
        assert row.pooling_tv == pytest.approx(row.gap_tv, rel=1e-6)
        assert row.learning_tv < 1e-9
        assert not row.floor_limited and not row.pre_asymptotic


def test_the_step_limit_tends_to_the_continuous_constant(headline):
    errors = [1 - limit["ratio"] for limit in headline.step_limit]
    assert all(0 < b < 0.6 * a for a, b in itertools.pairwise(errors))
    assert headline.rows[0].continuous_tv == pytest.approx(headline.rows[0].predicted_tv, rel=0.15)


def test_the_json_has_the_keys_of_the_design_and_no_nan(headline):
    data = json.loads(headline.to_json(), parse_constant=pytest.fail)
    wanted = (
        "system observe fit step kernel rows slope slope_interval constant_ratio floor_tv verdict reason provenance"
    )
    assert set(wanted.split()) <= set(data)
    row = "period epsilon gap_tv predicted_tv pooling_tv learning_tv certificate_tv floor_limited pre_asymptotic"
    assert set(row.split()) <= set(data["rows"][0])


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_json_and_another_seed_other_points():
    first = measure("driven_cycle", PERIODS)
    assert measure("driven_cycle", PERIODS).to_json() == first.to_json()
    other = measure("driven_cycle", PERIODS, seed=1)
    assert other.rows[0].gap_tv != first.rows[0].gap_tv
    assert other.verdict is Verdict.HOLDS


def test_the_euler_kernel_holds_too_with_its_own_constant(headline):
    euler = measure("driven_cycle", PERIODS, kernel="euler")
    assert euler.verdict is Verdict.HOLDS and euler.constant_ratio == pytest.approx(1.0, abs=1e-4)
    assert euler.step_limit[0]["ratio"] != pytest.approx(headline.step_limit[0]["ratio"], rel=1e-3)


def test_mutant_an_untrained_phi_does_not_shrink_and_the_verdict_says_so():
    phi = PhiTheta(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = measure("driven_cycle", PERIODS, phi_theta=phi)
    assert result.verdict is Verdict.VIOLATED and "does not shrink" in result.reason
    assert result.slope == pytest.approx(0.0, abs=0.01)


def test_phi_set_to_p_st_is_at_round_off():
    result = measure("driven_cycle", PERIODS, phi_theta=RING.stationary)
    assert max(row.gap_tv for row in result.rows) < 1e-15
    assert result.verdict is Verdict.INCONCLUSIVE and "floor" in result.reason and result.slope is None


def test_a_phi_per_period_is_asked_for_each_period():
    asked = []

    def phi(*, period):
        asked.append(period)
        return lambda y: theory.slow_manifold(RING, 1)(y, 1.0 / period)

    result = measure("driven_cycle", PERIODS, phi_theta=phi)
    assert asked == PERIODS and result.slope == pytest.approx(1.0, abs=0.01)


def test_mutant_g_scaled_by_five_percent_is_violated():
    wrong = dataclasses.replace(RING, slow=lambda x, y: 1.05 * RING.slow(x, y))
    result = measure("driven_cycle", PERIODS, theory_system=wrong)
    assert result.verdict is Verdict.VIOLATED and "not with the predicted constant" in result.reason
    assert result.constant_ratio == pytest.approx(1 / 1.05, abs=1e-3)


def test_mutant_p_st_replaced_by_the_uniform_distribution_is_violated():
    uniform = theory.from_rates(torch.ones(5, 5, dtype=torch.float64))
    wrong = dataclasses.replace(RING, generator=lambda y: uniform.expand(*y.shape[:-1], 5, 5) + 0 * y[..., :1, None])
    result = measure("driven_cycle", PERIODS, theory_system=wrong)
    assert result.verdict is Verdict.VIOLATED and "does not shrink" in result.reason


def test_mutant_a_transposed_generator_is_refused_with_the_hint():
    wrong = dataclasses.replace(RING, generator=lambda y: RING.generator(y).transpose(-1, -2))
    with pytest.raises(theory.GeneratorError, match=r"at y = .*looks transposed.*from_row_convention"):
        measure(wrong, PERIODS)


def test_mutant_a_generator_that_ignores_y_is_inconclusive():
    fixed = RING.generator(torch.zeros(2, dtype=torch.float64))
    wrong = dataclasses.replace(RING, generator=lambda y: fixed.expand(*y.shape[:-1], 5, 5) + 0 * y[..., :1, None])
    result = measure(wrong, PERIODS)
    assert result.verdict is Verdict.INCONCLUSIVE and result.slope is None
    assert "no O(ε) term" in result.reason
    assert '"slope": null' in result.to_json()


@pytest.mark.thorough
def test_a_slow_map_that_ignores_x_is_legitimate():
    system = dataclasses.replace(RING, slow=lambda x, y: 0.5 - y)
    assert measure(system, PERIODS).verdict is Verdict.HOLDS


def test_a_metastable_system_is_inconclusive_for_that_stated_reason():
    slow_switch = theory.from_rates(torch.tensor([[0.0, 1e-7], [1e-7, 0.0]], dtype=torch.float64))
    two = theory.get_system("two_state")
    system = dataclasses.replace(
        two, generator=lambda y: slow_switch * (1 + y[..., None]), stationary=None, spectral_gap=None
    )
    result = measure(system, [64, 128, 256, 512])
    assert result.verdict is Verdict.INCONCLUSIVE and "not relaxed within its block" in result.reason
    assert all(row.pre_asymptotic for row in result.rows)


def test_a_poor_optimiser_is_seen_at_its_floor_and_said_to_be_unconverged(monkeypatch):
    from verify.fits import lbfgs

    monkeypatch.setattr(lbfgs, "ITERATIONS", 5)
    result = measure("two_state", [1024, 2048, 4096, 8192], fit="lbfgs")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert all(row.floor_limited for row in result.rows) and "floor" in result.reason
    assert "not converged" in result.reason


def test_trajectories_that_leave_the_box_are_set_aside_and_said_so():
    two = theory.get_system("two_state")
    system = dataclasses.replace(
        two, slow=lambda x, y: 0.3 + 0 * y, generator=lambda y: two.generator(y.clamp(0, 1)), stationary=None
    )
    result = measure(system, [64, 128, 256], step=0.1)
    assert any("left the box" in note for note in result.notes)
    runaway = dataclasses.replace(system, slow=lambda x, y: 100.0 + 0 * y)
    with pytest.raises(ValueError, match=r"left the box.*check the sign of g"):
        measure(runaway, [64], step=0.1)


def test_unsorted_and_repeated_periods_are_sorted_and_said_so():
    result = measure("two_state", [256, 64, 128, 64])
    assert [row.period for row in result.rows] == [64, 128, 256]
    assert any("sorted and made unique" in note for note in result.notes)


def test_fewer_than_three_periods_are_inconclusive():
    result = measure("two_state", [64, 128])
    assert result.verdict is Verdict.INCONCLUSIVE and "only 2 usable points" in result.reason


def test_p_st_given_as_phi_is_told_from_one_that_was_learned():
    system = theory.get_system("two_state")
    result = measure(system, [64, 256, 1024], phi_theta=lambda y: theory.stationary_distribution(system.A(y)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith(
        "φ_θ is p_st itself, to the floor, where one learned from the data would be 1.3e-05"
    )
    assert "floor (rounding alone)" in gap_table(result) and not any("fit at" in note for note in result.notes)


def test_a_slow_variable_at_rest_leaves_nothing_to_measure():
    system = dataclasses.replace(theory.get_system("two_state"), slow=lambda x, y: torch.zeros_like(y))
    assert measure(system, [64, 256, 1024]).reason.startswith(
        "no O(ε) term to measure: the predicted gap is rounding (does p_st depend on y, does y move?)"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"periods": [0]}, "periods must be integers >= 1, got 0"),
        ({"periods": [2.5]}, r"periods must be integers >= 1, got 2\.5"),
        ({"periods": []}, "periods is empty"),
        ({"periods": [2], "kernel": "rk4"}, "unknown kernel 'rk4'"),
        ({"periods": [2], "step": float("nan")}, "step must be positive"),
        ({"periods": [2], "fit": "sgd"}, "unknown fit"),
        ({"periods": [2], "observe": "eyes"}, "unknown observation"),
        ({"periods": [2], "kernel": "euler", "step": 10.0}, "take the exp kernel"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure("two_state", **arguments)


def test_the_table_shows_every_row_the_interval_and_the_verdict(headline):
    text = gap_table(headline)
    assert all(f"{row.period:>7} " in text for row in headline.rows)
    for part in ("slope of log gap", "interval", "floor (same fit, exact pairs)", "verdict: HOLDS"):
        assert part in text


def test_trajectories_of_the_stiff_ode_lie_on_the_continuous_prediction():
    result = measure("driven_cycle", [64, 512, 4096, 65536], observe="ode")
    assert result.verdict is Verdict.HOLDS and result.step is None
    assert result.slope == pytest.approx(1.0, abs=0.01)
    assert result.constant_ratio == pytest.approx(1.0, abs=0.02)
    assert all(row.predicted_tv == row.continuous_tv for row in result.rows)


@pytest.mark.thorough
def test_sampled_states_show_the_gap_where_sampling_allows_and_say_where_not():
    result = measure("driven_cycle", [16, 32, 64, 128, 16384], observe="jumps")
    assert result.fit == "multinomial" and result.verdict is Verdict.HOLDS
    assert [row.floor_limited for row in result.rows] == [False, False, False, False, True]
    assert result.slope == pytest.approx(1.0, abs=0.02)
    assert all(row.gap_error > 0 for row in result.rows)


@pytest.mark.thorough
@pytest.mark.all_pairs
def test_the_sampling_floor_falls_as_one_over_the_square_root_of_the_samples():
    floors = [measure("two_state", [64], observe="jumps", samples=n) for n in (10**5, 10**7)]
    assert floors[0].floor_tv / floors[1].floor_tv == pytest.approx(10.0, rel=0.7)
    assert floors[0].rows[0].sampling_tv / floors[1].rows[0].sampling_tv == pytest.approx(10.0, rel=0.01)


def test_logarithms_of_sampled_frequencies_are_refused():
    with pytest.raises(ValueError, match="biased for sampled states"):
        measure("two_state", [64], observe="jumps", fit="varpro")
    with pytest.raises(ValueError, match="samples is for sampled states"):
        measure("two_state", [64], samples=10)
