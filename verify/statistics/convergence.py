"""The order at which a gap closes: log-log slope over ε, with an interval that is one, and a refusal where there is
none.

On noise-free data the regression's standard error is not an interval: 1.000177 ± 1.1e-4 excludes the truth, because
what is left over is curvature and not noise. The interval is therefore the t interval *plus* the spread of the slope
over all fit windows of at least half the points (and at least three): a slope that drifts along the range has a wide
one.

No slope is claimed where fewer than three points are usable, or where local slopes (between neighbouring points)
disagree by more than `DISAGREE` plus what the points' own noise explains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOOR_FACTOR = 10.0
DISAGREE = 0.3
MINIMUM_POINTS = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slope:
    """A log-log slope with its interval and the local slopes; `slope` is None, with a `reason`, where none is
    claimed."""

    slope: float | None
    interval: tuple[float, float] | None
    local_slopes: tuple[float, ...]
    reason: str = ""


def floor_limited(gap: float, floor: float) -> bool:
    """Whether a gap is too near the floor to carry information: below `FLOOR_FACTOR` times it."""
    return gap < FLOOR_FACTOR * floor


def fit_slope(epsilon: Any, gap: Any, relative_noise: Any = None) -> Slope:
    """Slope of log gap over log ε, both [k]; `relative_noise` [k]: standard error over gap, default 0.

    Raises `ValueError` where lengths differ, an ε repeats (to within what its logarithm resolves), or a value is not
    positive and finite (the noise: negative, or not finite).
    """
    eps, values = _numbers(epsilon, "epsilon"), _numbers(gap, "gap")
    noise = np.zeros_like(values) if relative_noise is None else _numbers(relative_noise, "relative_noise")
    if not eps.shape == values.shape == noise.shape or eps.ndim != 1:
        raise ValueError(
            f"epsilon, gap and noise must be of one length, got {eps.shape}, {values.shape}, {noise.shape}"
        )
    for name, array in (("epsilon", eps), ("gap", values)):
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise ValueError(f"{name} must be positive and finite, got {array.tolist()}")
    if not (np.isfinite(noise).all() and (noise >= 0).all()):
        raise ValueError(f"relative_noise must be >= 0 and finite, got {noise.tolist()}")
    if len(np.unique(np.log(eps))) != len(eps):
        raise ValueError(f"an epsilon repeats in {eps.tolist()}")
    if len(eps) < MINIMUM_POINTS:
        return Slope(None, None, (), f"only {len(eps)} usable points; a slope needs {MINIMUM_POINTS}")
    order = np.argsort(eps)
    x, y, noise = np.log(eps[order]), np.log(values[order]), noise[order]
    steps = np.diff(x)
    local = np.diff(y) / steps
    local_noise = 3.0 * np.hypot(noise[1:], noise[:-1]) / steps
    spread = float(local.max() - local.min())
    if spread > DISAGREE + 2.0 * float(local_noise.max()):
        return Slope(
            None,
            None,
            tuple(local.tolist()),
            f"local slopes disagree, from {local.min():.2f} to {local.max():.2f}: no single slope is claimed",
        )
    slope, half = _regression(x, y, noise)
    smallest = max(MINIMUM_POINTS, math.ceil(len(x) / 2))
    windows = [_line(x[a:b], y[a:b])[0] for a in range(len(x) - smallest + 1) for b in range(a + smallest, len(x) + 1)]
    below, above = slope - min(windows), max(windows) - slope
    return Slope(slope, (slope - half - below, slope + half + above), tuple(local.tolist()))


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        return np.array(values, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None


def _regression(x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """(slope, half-width of its t interval or, if larger, of the interval that the points' own noise gives)."""
    from scipy.special import ndtri, stdtrit  # quantiles: scipy.stats alone takes half a second to import

    slope, residual = _line(x, y)
    centred = x - x.mean()
    sum_of_squares = (centred**2).sum()
    degrees = len(x) - 2
    # not scipy.stats.linregress: its standard error comes from 1 − r² and has lost half its digits at r = 1
    scatter = math.sqrt((residual**2).sum() / degrees / sum_of_squares)
    from_noise = math.hypot(*(centred / sum_of_squares * noise))  # without squares that overflow
    tail = 0.5 + CONFIDENCE / 2
    return slope, float(max(stdtrit(degrees, tail) * scatter, ndtri(tail) * from_noise))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Slope and residuals [k] of the least-squares line through (x[k], y[k])."""
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return slope, y - y.mean() - slope * centred
