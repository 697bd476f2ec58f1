"""The headline at the edges: one state, rates of 1e±6, a box far from 0, transient states; bad arguments are named."""

import math

import numpy as np
import pytest
import torch

from theory import FastSlowSystem, from_rates
from verify.manifold_gap import measurement as manifold_gap
from verify.statistics.verdict import Verdict

pytestmark = pytest.mark.numerical

PERIODS = [64, 256, 1024]


@pytest.fixture(autouse=True)
def fewer_points(monkeypatch):
    monkeypatch.setattr(manifold_gap, "TRAIN_PAIRS", 600)
    monkeypatch.setattr(manifold_gap, "TEST_POINTS", 60)


def chain(n, *, rate=1.0, low=0.0, width=1.0, transient=False):
    """n states whose rates turn with the place of y in its box; y falls back to the middle."""

    def generator(y):
        s = (y[..., :1, None] - low) / width
        rates = 1.0 + 0.5 * torch.sin(s + torch.arange(n * n, dtype=y.dtype).reshape(n, n))
        return rate * from_rates(rates.triu() if transient else rates)

    def slow(x, y):
        return rate * (low + 0.5 * width - y) + 0.1 * rate * width * (x[..., :1] - 1.0 / n)

    high = low + width
    return FastSlowSystem(
        generator=generator, slow=slow, n_states=n, n_slow=1, low=low, high=high, name=f"chain of {n}"
    )


@pytest.mark.parametrize(
    "system", [chain(3, rate=1e6), chain(3, rate=1e-6), chain(3, low=1e6), chain(2, low=-5e-7, width=1e-6)]
)
def test_the_unit_of_time_and_the_place_of_the_box_do_not_matter(system):
    result = manifold_gap.measure(system, PERIODS)
    assert result.verdict is Verdict.HOLDS, result.reason
    assert result.constant_ratio == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("system, why", [(chain(1), "one state"), (chain(3, transient=True), "p_st = e_0 for every y")])
def test_a_p_st_that_does_not_depend_on_y_has_nothing_to_measure(system, why):
    result = manifold_gap.measure(system, PERIODS)
    assert result.verdict is Verdict.INCONCLUSIVE, why
    assert "no O(ε) term to measure" in result.reason and result.slope is None
    assert all(row.gap_tv < 1e-12 for row in result.rows)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"system": None}, "system must be a FastSlowSystem or the name of one, got NoneType"),
        ({"theory_system": 3}, "theory_system must be a FastSlowSystem"),
        ({"system": "nope"}, "unknown system 'nope'"),
        ({"phi_theta": 3}, "phi_theta must be a function"),
        ({"periods": None}, "periods must be a list of integers"),
        ({"periods": 64}, "periods must be a list of integers"),
        ({"periods": ["64"]}, "periods must be integers >= 1, got '64'"),
        ({"periods": [math.nan]}, "periods must be integers >= 1"),
        ({"periods": [True]}, "periods must be integers >= 1"),
        ({"periods": [1.5]}, "periods must be integers >= 1"),
        ({"periods": []}, "periods is empty"),
        ({"seed": None}, "seed must be an integer >= 0"),
        ({"step": "0.1"}, "step must be positive and finite"),
        ({"device": "gpu"}, "--device gpu: not a device"),
        ({"samples": 5}, "samples is for sampled states"),
        ({"observe": "jumps", "samples": 0}, "samples must be an integer >= 1"),
        ({"observe": "jumps", "fit": "varpro"}, "varpro takes logarithms"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        manifold_gap.measure(**{"system": "two_state", "periods": [64]} | arguments)


def test_periods_of_any_kind_of_list():
    def exact(y):
        return torch.cat([2.0 - y, 1.0 + y], -1) / 3.0

    for periods in (iter([128, 64]), np.array([64, 128]), {64, 128}, [64.0, 128, 64]):
        result = manifold_gap.measure("two_state", periods, phi_theta=exact)
        assert [row.period for row in result.rows] == [64, 128]


@pytest.mark.thorough
def test_a_large_chain_has_fewer_points_and_eigenvalues_are_asked_for_at_the_test_points_alone(monkeypatch):
    from verify.observe import clock

    asked = []
    rate = clock.relaxation_rate
    monkeypatch.setattr(clock, "relaxation_rate", lambda system, y: asked.append(len(y)) or rate(system, y))
    monkeypatch.setattr(manifold_gap, "TRAIN_PAIRS", 3000)
    monkeypatch.setattr(manifold_gap, "TEST_POINTS", 500)
    result = manifold_gap.measure(chain(33), PERIODS)
    assert (result.provenance["train_pairs"], result.provenance["test_points"]) == (340, 60)
    assert result.verdict is Verdict.HOLDS, result.reason
    assert result.floor_tv < 1e-3 * result.rows[-1].gap_tv
    # the step's 256 points of the box, the rounding of the floor, and each row once
    assert asked == [256, 60] + [60] * len(PERIODS)
