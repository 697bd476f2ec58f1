"""The slope of an error over ε where rounding, or a reference's own error, is a floor under it.

A floor f moves log e by at most −log(1 − f/e), and a fitted slope is a sum of the logarithms with known weights: so how
far the floor can move the slope is a number, and a window of points is taken only where that is half the tolerance of
the comparison or less. (For three points, each ε half of the one before, and ± 0.05: a smallest error of 30 floors. Ten
floors let 0.08 in.) The other half is for the next order of ε.
"""

import numpy as np

from verify.statistics.convergence import fit_slope, floor_limited

POINTS = 3


def slope_above(epsilon, error, floor: float, tolerance: float) -> float:
    """The slope over the POINTS smallest ε that `floor` moves by at most tolerance / 2; the line is `fit_slope`'s."""
    order = np.argsort(epsilon)
    eps, values = np.asarray(epsilon, float)[order], np.asarray(error, float)[order]
    for first in range(len(eps) - POINTS + 1):
        window = slice(first, first + POINTS)
        if moved_by(eps[window], values[window], floor) <= tolerance / 2:
            slope = fit_slope(eps[window], values[window])
            assert slope.slope is not None, slope.reason
            return slope.slope
    raise AssertionError(f"no {POINTS} points stand clear of the floor {floor:.1e}: {values.tolist()}")


def moved_by(eps: np.ndarray, error: np.ndarray, floor: float) -> float:
    """The most that an error of `floor` in each point can change the least-squares slope of log error over log ε."""
    if any(floor_limited(float(value), floor) for value in error):
        return np.inf
    centred = np.log(eps) - np.log(eps).mean()
    weights = np.abs(centred) / (centred @ centred)
    return float(weights @ -np.log1p(-floor / error))
