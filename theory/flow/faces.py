"""When y leaves its box, judged on the dense output of a step and within the tolerances of the integration, compiled.

On a face that the flow cannot cross (y = 1 of ẏ = y(1 − y)) a numerical solution overshoots by the order of its
tolerances, some of which may add up. So a point counts as beyond the box only when it passes a face by more than ten
times atol + rtol max|y|, the error that a step may have; A and g are evaluated on the box. A trajectory that does pass
it has left, and did so when it last crossed the face itself. Between the nodes of a step the polynomial is looked at on
a grid, and at the vertices of the parabolas through it, so that a short excursion is found too.

A step far beyond what is stable, or smooth, may pass its error estimate all the same, and its dense output then swings
beyond a face although the flow keeps to it. So a departure is doubted first: the step is repeated at half its length,
and the trajectory has left where a step 2^`DOUBTS` times shorter than the first one finds it so too, before the end of
that.

Any dense output is a polynomial: it comes as its values at `nodes`, the first of which is 0 and the last 1.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from theory.compiled import inner, kernel

ROUNDING = 1e-12  # of the width of the box, as in `theory.fast_slow`
MARGIN = 10.0  # local errors that may add up at a face, as for x below zero
NEVER = 2.0
DOUBTS = 8
_BELIEVED = 2.0**-DOUBTS * (1.0 + 1e-7)  # a length is halved with rounding
_RELEASE = 1.25  # of the longest step allowed after a doubt, for every step without one
_PARTS = 4

# of doubt[3], one row per trajectory: the length of the step first doubted, its end, and the longest step allowed since
LENGTH, CLAIM, LONGEST = range(3)


def no_doubt(b: int) -> np.ndarray:
    """doubt[B, 3] of trajectories that have not moved yet."""
    return np.array([[0.0, 0.0, np.inf]]).repeat(b, 0)


@inner
def doubtful(doubt, part, start, step):
    """Whether what `departure` found of the step from `start` is to be doubted: then it is to be repeated at half its
    length, `doubt[LONGEST]`. To be asked once for every step that is otherwise to be accepted."""
    if part == NEVER:
        doubt[LONGEST] *= _RELEASE
        if doubt[LONGEST] > doubt[LENGTH]:
            doubt[LONGEST] = np.inf
        return False
    if start >= doubt[CLAIM]:
        doubt[LENGTH] = step
        doubt[CLAIM] = start + step
    if step <= doubt[LENGTH] * _BELIEVED:
        return False
    doubt[LONGEST] = 0.5 * step
    return True


@inner
def left_after_all(doubt, inside, now):
    """Whether a trajectory that cannot go on has left: a doubted departure is open, and y is beyond its face already,
    if only within the tolerance. There A may have no value, or no derivative."""
    return now < doubt[CLAIM] and inside < now


@inner
def withdraw(output, t, written, inside):
    """Take back what is written of output[k, d] after the time `inside`; returns how many outputs are left."""
    while written > 1 and t[written - 1] > inside * (1.0 + 4e-16):
        written -= 1
        for c in range(output.shape[1]):
            output[written, c] = np.nan
    return written


@inner
def hold(y, low, high, base, period):
    """y[m] on the box: brought to its face, or for a phase into its period."""
    for k in range(y.shape[0]):
        if period[k] > 0.0:
            y[k] -= period[k] * np.floor((y[k] - base[k]) / period[k])
        elif y[k] > high[k]:
            y[k] = high[k]
        elif y[k] < low[k]:
            y[k] = low[k]


@inner
def place(y, low, high, rtol, atol):
    """0 inside the box up to rounding, 1 beyond it within the tolerance, 2 beyond that; y[m]."""
    worst, largest = 0, 0.0
    for k in range(low.shape[0]):
        if np.isfinite(low[k]):
            largest = max(largest, abs(y[k]))
    slack = MARGIN * (atol + rtol * largest)
    for k in range(low.shape[0]):
        beyond = max(y[k] - high[k], low[k] - y[k])
        rounding = ROUNDING * (high[k] - low[k])
        if beyond > rounding:
            worst = max(worst, 1)
            if not beyond <= rounding + slack:
                worst = 2
    return worst


@inner
def polynomial(points, first, nodes, weights, theta, out):
    """The polynomial through points[K, first:] at nodes[K], at theta, by the barycentric formula, into out[d]."""
    for c in range(out.shape[0]):
        out[c] = 0.0
    total = 0.0
    for k in range(nodes.shape[0]):
        gap = theta - nodes[k]
        if gap == 0.0:
            for c in range(out.shape[0]):
                out[c] = points[k, first + c]
            return
        weight = weights[k] / gap
        total += weight
        for c in range(out.shape[0]):
            out[c] += weight * points[k, first + c]
    for c in range(out.shape[0]):
        out[c] /= total


@inner
def crossing(points, first, nodes, weights, inside, outside, low, high, value):
    """The last part of the step, after `inside` and before `outside`, that lies in the box itself."""
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        polynomial(points, first, nodes, weights, middle, value)
        if place(value, low, high, 0.0, 0.0) == 0:
            inside = middle
        else:
            outside = middle
    return inside


@inner
def turning(values, k, before, here, after, middle):
    """Where the parabola through values[:3, k] at three parts of the step turns, if the second is the most, or the
    least, of them on that side of `middle`; else -1."""
    up = values[1, k] >= values[0, k] and values[1, k] >= values[2, k] and values[1, k] > middle
    down = values[1, k] <= values[0, k] and values[1, k] <= values[2, k] and values[1, k] < middle
    first = (values[1, k] - values[0, k]) / (here - before)
    second = (values[2, k] - values[1, k]) / (after - here)
    if not (up or down) or first == second:
        return -1.0
    left, right = 0.5 * (before + here), 0.5 * (here + after)
    vertex = left + (right - left) * first / (first - second)
    return vertex if before < vertex < after else -1.0


@inner
def departure(points, first, nodes, weights, low, high, rtol, atol, room):
    """(part of the step at which y leaves, `NEVER` if it does not; last part seen in the box itself, -1 if none).

    y[m] are points[K, first:] at nodes[K]; room[4, m].
    """
    K, m = points.shape[0], low.shape[0]
    far = True
    for k in range(m):
        least, most = points[0, first + k], points[0, first + k]
        for j in range(1, K):
            least, most = min(least, points[j, first + k]), max(most, points[j, first + k])
        spread = 2.0 * (most - least)  # no polynomial through these nodes reaches further beyond its values
        far = far and most + spread < high[k] and least - spread > low[k]
    if far:
        return NEVER, 1.0
    value = room[3]
    seen = -1.0
    before, here, after = 0.0, 0.0, 0.0  # three parts of the step, one after the other, and y there in room[:3]
    count = 0
    for j in range(K):
        for q in range(_PARTS if j < K - 1 else 1):
            theta = nodes[j] if q == 0 else nodes[j] + (nodes[j + 1] - nodes[j]) * q / _PARTS
            polynomial(points, first, nodes, weights, theta, value)
            for k in range(m):
                room[0, k], room[1, k], room[2, k] = room[1, k], room[2, k], value[k]
            before, here, after = here, after, theta
            count += 1
            if count >= 3:
                for k in range(m):
                    vertex = turning(room, k, before, here, after, 0.5 * (low[k] + high[k]))
                    if vertex < 0.0:
                        continue
                    polynomial(points, first, nodes, weights, vertex, value)
                    if place(value, low, high, rtol, atol) == 2:
                        if seen < 0.0:
                            return -1.0, seen
                        start = min(seen, here if here < vertex else before)
                        return crossing(points, first, nodes, weights, start, vertex, low, high, value), seen
                for k in range(m):
                    value[k] = room[2, k]
            where = place(value, low, high, rtol, atol)
            if where == 0:
                seen = theta
            elif where == 2:
                if seen < 0.0:
                    return -1.0, -1.0
                return crossing(points, first, nodes, weights, seen, theta, low, high, value), seen
    if 0.0 <= seen < 1.0:
        seen = crossing(points, first, nodes, weights, seen, 1.0, low, high, value)
    return NEVER, seen


@kernel
def leaving(points, nodes, weights, low, high, rtol, atol):
    """As `departure`, for y at points[K, m]."""
    return departure(points, 0, nodes, weights, low, high, rtol, atol, np.empty((4, low.shape[0])))


@cache
def nodes(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev points of [0, 1] and their barycentric weights, for polynomials of this degree."""
    points = 0.5 - 0.5 * np.cos(np.pi * np.arange(degree + 1) / degree)
    weights = (-1.0) ** np.arange(degree + 1)
    weights[[0, -1]] *= 0.5
    return points, weights
