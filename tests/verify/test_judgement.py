"""From rows to a verdict: small departures from the prediction are seen, and noise is not taken for one."""

import dataclasses
import math

import pytest
import torch

import theory
from verify.manifold_gap import measure
from verify.manifold_gap.error_budget import Row
from verify.manifold_gap.judgement import Circumstances, judge, slope_and_ratios
from verify.observe import clock
from verify.statistics.verdict import Verdict

pytestmark = pytest.mark.numerical

PERIODS = (64, 256, 1024, 4096, 16384)
TWO = theory.get_system("two_state")


def row(period, ratio=1.0, error=0.0, **fields):
    predicted = 0.3 / period
    gap = ratio * predicted
    given = {"gap_tv": gap, "pooling_tv": gap, "learning_tv": 0.0, "certificate_tv": 1.01 * gap, "gap_error": error}
    marks = {"floor_limited": False, "pre_asymptotic": False, "certified": True, "converged": True, "why_not": ""}
    rest = {"predicted_tv": predicted, "continuous_tv": predicted, "sampling_tv": 0.0}
    return Row(period=period, epsilon=1.0 / period, **(given | marks | rest | fields))


def verdict_of(rows, floor=1e-12):
    slope, ratios = slope_and_ratios(rows, floor)
    return judge(rows, slope, ratios, Circumstances(floor, 1e-15))


def test_the_prediction_met_to_its_own_accuracy_holds():
    assert verdict_of([row(P) for P in PERIODS])[0] is Verdict.HOLDS
    assert verdict_of([row(P, 1 + 3.0 / P + 20.0 / P**2) for P in PERIODS])[0] is Verdict.HOLDS


def test_an_order_epsilon_term_is_no_other_constant_but_hides_none_either():
    coarse = (64, 128, 256)
    assert verdict_of([row(P, 1 + 0.5 / P) for P in coarse])[0] is Verdict.HOLDS
    assert verdict_of([row(P, 1.02 + 0.5 / P) for P in coarse])[0] is Verdict.VIOLATED


@pytest.mark.parametrize("ratio", [0.5, 0.985, 0.9965, 1.0035, 1.016, 2.0])
def test_another_constant_is_violated_and_the_period_named(ratio):
    verdict, reason = verdict_of([row(P, ratio) for P in PERIODS])
    assert verdict is Verdict.VIOLATED
    assert "not with the predicted constant" in reason and "at P = 16384" in reason


def test_a_slope_of_0_995_is_not_one_though_its_ratios_pass_through_one():
    verdict, reason = verdict_of([row(P, (P / 1024) ** 0.005) for P in PERIODS])
    assert verdict is Verdict.VIOLATED, reason


def test_a_slope_beside_one_or_none_that_is_known_is_not_one():
    verdict, reason = verdict_of([row(P, (P / 64) ** 0.1) for P in PERIODS])
    assert verdict is Verdict.VIOLATED and "the gap is not proportional to ε" in reason
    verdict, reason = verdict_of([row(P, error=0.2 * 0.3 / P) for P in PERIODS[:3]])
    assert verdict is Verdict.INCONCLUSIVE and "the interval of the slope is too wide" in reason


def test_a_slope_without_a_predicted_gap_has_no_constant_to_compare_with():
    rows = [row(P) for P in PERIODS]
    slope, _ = slope_and_ratios(rows, 1e-12)
    verdict, reason = judge(rows, slope, None, Circumstances(1e-12, 1e-15))
    assert verdict is Verdict.INCONCLUSIVE and "no constant to compare with" in reason


def test_sampling_noise_is_not_taken_for_another_constant():
    noisy = [row(P, 1 + 0.01 * (-1) ** k, error=0.005 * 0.3 / P, pooling_tv=0.3 / P) for k, P in enumerate(PERIODS)]
    assert verdict_of(noisy)[0] is Verdict.HOLDS


def test_rows_that_do_not_know_their_constant_are_inconclusive():
    rows = [row(P, error=0.04 * 0.3 / P) for P in PERIODS]
    verdict, reason = verdict_of(rows)
    assert verdict is Verdict.INCONCLUSIVE and "knows its constant" in reason


def test_a_test_point_beyond_its_certificate_is_violated_whatever_the_slope():
    rows = [row(P, certified=P != 256) for P in PERIODS]
    verdict, reason = verdict_of(rows)
    assert verdict is Verdict.VIOLATED and "P = [256]" in reason


def leading_term_of(change):
    """The clock's pairs with another prediction: change(y, mean, step) -> (y_before, y, step) to predict from."""
    honest = clock.observe

    def observe(system, period, *, step, kernel, count, seed, device="cpu"):
        seen = honest(system, period, step=step, kernel=kernel, count=count, seed=seed, device=device)

        def leading_term(theory_system):
            before, y, h = change(theory_system, seen, step)
            return theory.predicted_gap(theory_system, before, y, period=period, step=h)

        return dataclasses.replace(seen, leading_term=leading_term)

    return observe


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda s, seen, h: (seen.y - 2 * h * s.g(seen.x, seen.y), seen.y - h * s.g(seen.x, seen.y), h),
            id="one block too early",
        ),
        pytest.param(lambda s, seen, h: (seen.y, seen.y + h * s.g(seen.x, seen.y), h), id="one block too late"),
        pytest.param(
            lambda s, seen, h: (seen.y - 1.2 * h * s.g(seen.x, seen.y), seen.y, 1.2 * h), id="a step 1.2 times too long"
        ),
    ],
)
def test_mutant_predictions_that_are_a_percent_off_are_violated(change, monkeypatch):
    monkeypatch.setattr(clock, "observe", leading_term_of(change))
    result = measure("two_state", [64, 512, 4096])
    assert result.verdict is Verdict.VIOLATED, result.reason
    assert math.isclose(result.slope, 1.0, abs_tol=0.01)


def test_mutant_a_mean_over_the_states_before_each_step_is_violated(monkeypatch):
    import importlib

    module = importlib.import_module("theory.clock.blocks")
    honest = module.block_mean

    def before_each_step(K, x, period):
        mean, end = honest(K, x, period)
        return mean + (x - end) / period, end

    monkeypatch.setattr(module, "block_mean", before_each_step)
    result = measure("two_state", [64, 512, 4096])
    assert result.verdict is Verdict.VIOLATED and "predicted constant" in result.reason


def test_mutant_pairs_that_were_shuffled_give_no_verdict(monkeypatch):
    from verify.fits import varpro

    honest = varpro.fit

    def shuffled(y, x, **options):
        return honest(y, x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))], **options)

    monkeypatch.setattr(varpro, "fit", shuffled)
    result = measure("two_state", [64, 512, 4096])
    assert result.verdict is Verdict.INCONCLUSIVE and result.slope is None
