"""The slope and its interval: what is claimed on clean data, on noisy data, and when nothing is claimed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.statistics.convergence import fit_slope, floor_limited

pytestmark = pytest.mark.numerical

EPS = 2.0 ** -np.arange(1, 13)


@given(st.floats(-3, 3), st.floats(1e-12, 1e3))
def test_a_pure_power_law_is_found_to_rounding(order, constant):
    result = fit_slope(EPS, constant * EPS**order)
    assert result.slope == pytest.approx(order, abs=1e-10)
    low, high = result.interval
    assert low - 1e-9 <= order <= high + 1e-9
    assert high - low < 1e-8


def test_the_interval_holds_the_truth_where_the_standard_error_does_not():
    """gap = ε (1 + ε/2): noise-free, asymptotic slope 1; the regression's own ±2 standard errors exclude it."""
    from scipy import stats

    gap = EPS * (1 + 0.5 * EPS)
    fit = stats.linregress(np.log(EPS), np.log(gap))
    assert fit.slope - 2 * fit.stderr > 1
    low, high = fit_slope(EPS, gap).interval
    assert low <= 1 <= high
    assert high - low < 0.2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_points_give_no_slope(count):
    result = fit_slope(EPS[:count], EPS[:count])
    assert result.slope is None and result.interval is None
    assert f"only {count} usable points" in result.reason


def test_local_slopes_that_disagree_give_no_slope():
    gap = EPS + 1e-3  # bends into a plateau
    result = fit_slope(EPS, gap)
    assert result.slope is None
    assert "local slopes disagree" in result.reason


def test_noise_widens_the_interval_and_is_not_taken_for_curvature():
    rng = np.random.default_rng(0)
    noise = np.full(EPS.shape, 0.2)
    covered = 0
    for _ in range(200):
        gap = EPS * np.exp(noise * rng.standard_normal(EPS.shape))
        result = fit_slope(EPS, gap, noise)
        assert result.slope is not None, result.reason
        covered += result.interval[0] <= 1 <= result.interval[1]
    assert covered >= 179  # an interval that holds 95 % has fewer of 200 once in a thousand


def test_the_order_of_points_does_not_matter():
    shuffled = np.random.default_rng(1).permutation(len(EPS))
    gap = EPS * (1 + EPS)
    assert fit_slope(EPS[shuffled], gap[shuffled]) == fit_slope(EPS, gap)


@pytest.mark.parametrize(
    "eps, gap, message",
    [
        ([0.1, 0.2, 0.0], [1, 1, 1], "epsilon must be positive"),
        ([0.1, 0.2, 0.3], [1, float("nan"), 1], "gap must be positive"),
        ([0.1, 0.2, 0.2], [1, 1, 1], "repeats"),
        ([0.1, 0.2], [1, 1, 1], "of one length"),
    ],
)
def test_bad_points_are_refused(eps, gap, message):
    with pytest.raises(ValueError, match=message):
        fit_slope(eps, gap)


def test_floor_limited_means_within_ten_times_the_floor():
    assert floor_limited(9.9e-9, 1e-9) and not floor_limited(1.01e-8, 1e-9)
