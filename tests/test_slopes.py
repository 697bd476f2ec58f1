"""The slope that the tests read off errors above a floor, on errors whose last points a floor has bent."""

import numpy as np
import pytest
from slopes import moved_by, slope_above

EPS = 2.0 ** -np.arange(1, 11)
# Distance of h (k = 2, `sodium_channel`) to trajectories, measured on a processor whose kernels put the two smallest
# errors off by up to 8e-16, what the reference's integrator leaves there.
BENT = [1.834e-6, 2.234e-7, 2.754e-8, 3.417e-9, 4.256e-10, 5.310e-11, 6.629e-12, 8.286e-13, 1.038e-13, 1.380e-14]


def test_the_last_points_of_a_measured_sequence_are_bent_and_left_out():
    two = np.polyfit(np.log(EPS[-2:]), np.log(BENT[-2:]), 1)[0]
    assert two == pytest.approx(2.911, abs=1e-3)  # what ten floors of 1e-15 let in
    for floor in (8e-16, 1.4e-15, 1e-14, 1e-13):
        assert slope_above(EPS, BENT, floor, 0.05) == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("floor", [1e-16, 1e-14, 1e-12])
def test_whatever_a_floor_does_to_each_point_the_slope_stays_within_the_tolerance(order, floor):
    exact = 0.1 * EPS**order
    for signs in np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (200, len(EPS))):
        error = np.maximum(exact + floor * signs, floor)
        assert slope_above(EPS, error, floor, 0.05) == pytest.approx(order, abs=0.025 + 1e-9)


def test_the_bound_is_attained():
    exact, floor = EPS[:3] ** 2, 1e-3
    worst = exact + floor * np.array([-1, 0, 1])
    moved = np.polyfit(np.log(EPS[:3]), np.log(worst), 1)[0] - 2
    assert 0.8 * moved_by(EPS[:3], exact, floor) < abs(moved) <= moved_by(EPS[:3], exact, floor)


def test_a_wrong_order_is_seen_and_too_few_clear_points_are_no_slope():
    assert abs(slope_above(EPS, EPS**1.5, 1e-12, 0.05) - 2) > 0.4
    with pytest.raises(AssertionError, match="no 3 points stand clear of the floor"):
        slope_above(EPS, 1e-9 * EPS**3, 1e-12, 0.05)
    with pytest.raises(AssertionError, match="local slopes disagree"):
        slope_above(EPS, EPS * [1, 1, 1, 1, 1, 1, 1, 1, 9, 1], 1e-16, 0.05)
