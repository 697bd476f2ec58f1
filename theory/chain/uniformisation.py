"""The master equation of a large sparse generator: p(t) = Σ_k e^{−qt}(qt)^k/k! · B^k p(0), B = I + A/q (Jensen 1953).

q is the largest exit rate, so B is a stochastic matrix and the sum has no negative term: it is the law of a chain B
observed at the jumps of a Poisson process of rate q. The weights come from the mode outwards by ratios and are
normalised (Fox and Glynn, *Comm. ACM* 31, 1988, 440). Every weight in the range of float64 is kept, not only those that
matter to the mass: a state that is left early or reached late lives on the tails alone. One pass over k serves
every time asked for. Cost: q t products with B.

Accuracy: B v in d + 2 roundings of positive numbers, d the largest number of jumps into a state, so the relative
error of an entry is at most about q t (d + 2) η, and far less in practice as roundings cancel; the mass is exact to
rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def uniformisation(rates: Any, exit_rate: Any, p0: Any, t: Any, *, max_products: int) -> np.ndarray:
    """p[k, n, b] at the times t[k] >= 0, ascending, from p0[n, b]; rates[n, n] sparse without diagonal, exit_rate[n].

    Raises `ValueError` where more than `max_products` products with B would be needed.
    """
    q = float(exit_rate.max())
    result = np.zeros((len(t), *p0.shape))
    if q == 0.0:
        return result + p0
    steps = q * float(t[-1])
    if not steps <= max_products:
        raise ValueError(
            f"uniformisation to t = {float(t[-1]):g} takes about q t = {steps:.3g} products with A (q = {q:g} is the "
            f"largest exit rate), more than max_products = {max_products}: raise it, shorten t, or take p_st where p "
            "has relaxed"
        )
    windows = [_poisson(q * float(time)) for time in t]
    forward, stay = rates.tocsr(), (1.0 - exit_rate / q)[:, None]
    mass = p0.sum(0)
    v, k = p0, 0
    # Both ends of the windows ascend with t: those before `done` are complete.
    done = 0
    while True:
        for j in range(done, len(windows)):
            first, weights = windows[j]
            if first > k:
                break
            result[j] += weights[k - first] * v
            if k - first == len(weights) - 1:
                done = j + 1
        if done == len(windows):
            return result
        v = forward @ (v / q) + stay * v
        v = v * (mass / v.sum(0))
        k += 1


def _poisson(mean: float) -> tuple[int, np.ndarray]:
    """(first, weights): the Poisson weights of first, first + 1, …, normalised; what is left out is below 1e-307."""
    if mean == 0.0:
        return 0, np.ones(1)
    # Chernoff: P(N >= mean + a) <= exp(−a²/(2 (mean + a/3))) and P(N <= mean − a) <= exp(−a²/(2 mean)). Entries that
    # are reached late, or left early, live on the tails alone.
    exponent = 707.0
    above = exponent / 3 + math.sqrt((exponent / 3) ** 2 + 2 * exponent * mean)
    first, last = max(0, math.floor(mean - math.sqrt(2 * exponent * mean))), math.ceil(mean + above)
    mode = math.floor(mean)
    with np.errstate(under="ignore"):
        rising = np.cumprod(mean / np.arange(mode + 1, last + 1))
        falling = np.cumprod(np.arange(mode, first, -1) / mean)[::-1]
    weights = np.concatenate([falling, [1.0], rising])
    last_positive = np.flatnonzero(weights)[-1]
    weights = weights[: last_positive + 1]
    return first, weights / weights.sum()
