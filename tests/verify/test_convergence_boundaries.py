"""The slope's interval and its refusals, each constant held from both sides."""

import math

import numpy as np
import pytest
from scipy import stats

from verify.statistics.convergence import fit_slope, floor_limited

pytestmark = pytest.mark.numerical

EPS = 2.0 ** -np.arange(1, 8)


def bent(step):
    """Local slopes 1 and 1 + step."""
    return np.exp(np.concatenate([[0.0], np.cumsum([-math.log(2)] * 3 + [-(1 + step) * math.log(2)] * 3)]))


def test_the_interval_is_the_t_interval_plus_the_spread_over_windows():
    rng = np.random.default_rng(0)
    for count in (3, 4, 5, 8, 9):
        eps = 2.0 ** -np.arange(count)
        gap = eps * np.exp(0.02 * rng.standard_normal(count))
        x, y = np.log(eps)[::-1], np.log(gap)[::-1]
        fit = stats.linregress(x, y)
        half = stats.t.ppf(0.975, count - 2) * fit.stderr
        width = max(3, -(-count // 2))
        windows = [np.polyfit(x[a:b], y[a:b], 1)[0] for a in range(count) for b in range(a + width, count + 1)]
        result = fit_slope(eps, gap)
        assert result.slope == pytest.approx(fit.slope, abs=1e-12)
        assert result.interval[0] == pytest.approx(min(windows) - half, abs=1e-9)
        assert result.interval[1] == pytest.approx(max(windows) + half, abs=1e-9)
        assert result.local_slopes == pytest.approx(np.diff(y) / np.diff(x), abs=1e-12)


def test_the_points_own_noise_sets_the_width_where_it_is_larger():
    """A perfect line with 10 % on each point: z √(Σ c² σ²) of the least-squares weights c."""
    noise = np.linspace(0.05, 0.15, len(EPS))
    low, high = fit_slope(EPS, EPS, noise).interval
    x = np.log(EPS) - np.log(EPS).mean()
    half = stats.norm.ppf(0.975) * math.sqrt(((x / (x @ x)) ** 2 * noise**2).sum())
    assert (low, high) == pytest.approx((1 - half, 1 + half), abs=1e-12)


@pytest.mark.parametrize("step, claimed", [(0.25, True), (0.29, True), (0.31, False), (0.45, False), (-0.31, False)])
def test_local_slopes_may_differ_by_three_tenths(step, claimed):
    result = fit_slope(EPS, bent(step))
    assert (result.slope is not None) == claimed
    assert claimed or result.interval is None
    shown = sorted(result.local_slopes)
    assert shown[-1] - shown[0] == pytest.approx(abs(step), abs=1e-9)


def test_noise_explains_local_slopes_up_to_six_combined_standard_errors():
    """Two neighbours of relative noise s differ in log by √2 s; a factor of two apart, that is √2 s / log 2."""
    for noise, factor in ((0.01, 0.99), (0.01, 1.01), (0.05, 0.99), (0.05, 1.01)):
        allowed = 0.3 + 2 * 3 * math.sqrt(2) * noise / math.log(2)
        result = fit_slope(EPS, bent(factor * allowed), np.full(len(EPS), noise))
        assert (result.slope is not None) == (factor < 1)


def test_the_largest_noise_of_a_pair_counts():
    noise = np.zeros(len(EPS))
    noise[2] = 0.1
    allowed = 0.3 + 6 * 0.1 / math.log(2)
    assert fit_slope(EPS, bent(0.99 * allowed), noise).slope is not None
    assert fit_slope(EPS, bent(1.01 * allowed), noise).slope is None


def test_three_points_are_enough():
    result = fit_slope(EPS[:3], EPS[:3] ** 2)
    assert result.slope == pytest.approx(2.0, abs=1e-12) and result.reason == ""


def test_ten_times_the_floor_is_no_longer_limited():
    assert not floor_limited(10.0, 1.0) and floor_limited(math.nextafter(10.0, 0.0), 1.0)


@pytest.mark.parametrize(
    "eps, gap, noise, message",
    [
        ([0.1, 0.2, math.inf], [1, 1, 1], None, "epsilon must be positive and finite"),
        ([0.1, 0.2, -0.3], [1, 1, 1], None, "epsilon must be positive and finite"),
        ([0.1, 0.2, 0.3], [1, 0, 1], None, "gap must be positive and finite"),
        ([0.1, 0.2, 0.3], [1, 1, 1], [0, -0.1, 0], "relative_noise must be >= 0"),
        ([0.1, 0.2, 0.3], [1, 1, 1], [0, math.nan, 0], "relative_noise must be >= 0"),
        ([0.1, 0.2, 0.3], [1, 1, 1], [0, math.inf, 0], "relative_noise must be >= 0"),
        ([0.1, 0.2, 0.3], [1, 1, 1], [0, 0], "of one length"),
        ([[0.1, 0.2, 0.3]], [[1, 1, 1]], None, "of one length"),
        (["a", 0.2, 0.3], [1, 1, 1], None, "epsilon must hold real numbers"),
        ([0.1, 0.2, 0.3], [1j, 1, 1], None, "gap must hold real numbers"),
        ([0.1, 0.2, 0.3], None, None, "gap must be positive|of one length"),
        ([1e300, math.nextafter(1e300, 0), 1.0], [1, 1, 1], None, "an epsilon repeats"),
    ],
)
def test_bad_points_are_refused_by_name(eps, gap, noise, message):
    with pytest.raises(ValueError, match=message):
        fit_slope(eps, gap, noise)
