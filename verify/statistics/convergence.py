"""The order at which a gap closes: log-log slope over ε, with an interval that is one, and a refusal where there is
none.

On noise-free data the regression's standard error is not an interval: 1.000177 ± 1.1e-4 excludes the truth, because
what is left over is curvature and not noise. The interval is therefore the t interval *plus* the spread of the slope
over all fit windows of at least half the points (and at least three): a slope that drifts along the range has a wide
one. It is conservative: it held the slope of the exact gaps in all of 1,500 simulated runs
(`benchmarks/coverage_slope.py`).

Where every point brings its own noise, independent of the others', and that noise explains the scatter about the line,
the interval is that of the noise alone, and of the spread over windows only what three standard errors of the
difference leave over: scatter counted once, not three times. It then covers in the 95 % that it states.

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
UNEXPLAINED = 1e-3  # chance of so much scatter below which a point's noise does not explain it


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
    return bool(gap < FLOOR_FACTOR * floor)  # not a NumPy bool


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
    slope, half, known = _regression(x, y, noise)
    smallest = max(MINIMUM_POINTS, math.ceil(len(x) / 2))
    weights = _weights(x)
    below = above = 0.0
    for a in range(len(x) - smallest + 1):
        for b in range(a + smallest, len(x) + 1):
            part = np.zeros_like(x)
            part[a:b] = _weights(x[a:b])
            explained = 3.0 * math.hypot(*((part - weights) * noise)) if known else 0.0
            change = _line(x[a:b], y[a:b])[0] - slope
            below, above = max(below, -change - explained), max(above, change - explained)
    return Slope(slope, (slope - half - below, slope + half + above), tuple(local.tolist()))


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        return np.array(values, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None


def _regression(x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> tuple[float, float, bool]:
    """(slope, half-width of its interval, whether the points' own noise explains their scatter about the line).

    The interval is that of the noise where it explains the scatter, else the wider of the two.
    """
    from scipy.special import chdtrc, ndtri, stdtrit  # quantiles: scipy.stats alone takes half a second to import

    slope, residual = _line(x, y)
    degrees = len(x) - 2
    tail = 0.5 + CONFIDENCE / 2
    weights = _weights(x)
    from_noise = float(ndtri(tail)) * math.hypot(*(weights * noise))  # without squares that overflow
    # not scipy.stats.linregress: its standard error comes from 1 − r² and has lost half its digits at r = 1
    scatter = float(stdtrit(degrees, tail)) * math.sqrt((residual**2).sum() / degrees) * math.hypot(*weights)
    if not (noise > 0).all():
        return slope, max(scatter, from_noise), False
    known = bool(chdtrc(degrees, float(((residual / noise) ** 2).sum())) > UNEXPLAINED)
    return slope, from_noise if known else max(scatter, from_noise), known


def _weights(x: np.ndarray) -> np.ndarray:
    """The weights [k] with which the points enter the slope of their line."""
    centred = x - x.mean()
    return centred / (centred @ centred)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Slope and residuals [k] of the least-squares line through (x[k], y[k])."""
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return slope, y - y.mean() - slope * centred
