"""A step of the collocation method, compiled: predicted, accepted with its outputs, or repeated with a smaller one.

The functions take plain arrays, those of one trajectory: a tuple of many arrays as an argument costs seconds of
compilation in each of them.
"""

from __future__ import annotations

from theory.compiled import inner
from theory.flow.collocation.newton import generator_defect
from theory.flow.collocation.state import (
    ACCEPTED,
    CODE,
    FAILURES,
    FINISHED,
    INSIDE,
    LEFT_DOMAIN,
    MASS_DRIFT,
    MAX_STEPS,
    NEWTON,
    NOT_FINITE,
    REFUSED,
    RUNNING,
    STEP,
    STEP_TOO_SMALL,
    TIME,
    UNDEFINED,
    WRITTEN,
)
from theory.flow.faces import NEVER, place, polynomial, withdraw


@inner
def predict(whole, nodes, points, ends, barycentric, offset, ratio):
    """Start the next attempt from the polynomial of the last one, at offset + c_j ratio in its own unit of time."""
    for j in range(nodes.shape[0]):
        polynomial(points, 0, ends, barycentric, offset + ends[j + 1] * ratio, nodes[j])
    whole[NEWTON] = 0


@inner
def keep_polynomial(u, nodes, points):
    """points from the start of the step and the nodes."""
    for c in range(u.shape[0]):
        points[0, c] = u[c]
        for j in range(nodes.shape[0]):
            points[j + 1, c] = nodes[j, c]


@inner
def retry(real, whole, u, nodes, points, ends, barycentric, factor_, keep, most):
    """Repeat the step with a smaller h: predicted from the refused attempt if `keep`, else from the start value.

    After `most` refusals in a row the trajectory ends, or when the step falls below rounding.
    """
    whole[REFUSED] += 1
    whole[FAILURES] += 1
    real[STEP] *= factor_
    if whole[FAILURES] > most or real[STEP] <= 1e-15 * real[TIME] or real[STEP] < 1e-290:
        whole[CODE] = NOT_FINITE if whole[UNDEFINED] else STEP_TOO_SMALL
    if keep:
        keep_polynomial(u, nodes, points)
        predict(whole, nodes, points, ends, barycentric, 0.0, factor_)
        return
    for j in range(nodes.shape[0]):
        for c in range(u.shape[0]):
            nodes[j, c] = u[c]
    whole[NEWTON] = 0


@inner
def write_output(real, whole, points, output, t, ends, barycentric, part, seen):
    """Fill the output times of the accepted step, of which y is in the box up to `part` (as `departure` has it)."""
    h, start = real[STEP], real[TIME]
    reach = start + h
    if part != NEVER:
        reach = start + part * h if part >= 0.0 else real[INSIDE]
    if seen >= 0.0:
        real[INSIDE] = start + seen * h
    k = whole[WRITTEN]
    while k < t.shape[0] and t[k] <= reach * (1 + 4e-16):
        polynomial(points, 0, ends, barycentric, (t[k] - start) / h, output[k])
        k += 1
    whole[WRITTEN] = k
    if part != NEVER:
        real[INSIDE] = reach
        whole[WRITTEN] = withdraw(output, t, whole[WRITTEN], real[INSIDE])


@inner
def sound(u, nodes, A, low, high, rtol, atol, w):
    """Whether A is a generator at the nodes, up to where y leaves the box; u is the node where it is not. w[2, N] is
    room."""
    n = A.shape[1]
    for j in range(A.shape[0]):
        if place(nodes[j, n:], low, high, rtol, atol) == 2:
            return True  # the trajectory ends before this node
        if generator_defect(A[j], w[0], w[1]):
            for c in range(u.shape[0]):
                u[c] = nodes[j, c]
            return False
    return True


@inner
def arrive(u, slope, nodes, a_inverse, h, n):
    """Move u and the slope to the end of the step; returns the mass there and the lowest x on the way."""
    s = nodes.shape[0]
    mass = 0.0
    lowest = 0.0
    for c in range(n):
        mass += nodes[s - 1, c]
    for j in range(s):
        for c in range(n):
            lowest = min(lowest, nodes[j, c])
    for c in range(u.shape[0]):
        acc = 0.0
        for k in range(s):
            acc += a_inverse[s - 1, k] * (nodes[k, c] - u[c])
        slope[c] = acc / h
    for c in range(u.shape[0]):
        u[c] = nodes[s - 1, c]
    return mass, lowest


@inner
def ending(real, whole, part, drifted, control):
    """How the trajectory stands after an accepted step."""
    if part != NEVER:
        real[TIME] = real[INSIDE]
        return LEFT_DOMAIN
    if drifted:
        return MASS_DRIFT
    if whole[WRITTEN] >= control.t.shape[0] or control.t[-1] <= real[TIME]:
        return FINISHED
    return MAX_STEPS if whole[ACCEPTED] >= control.max_steps else RUNNING


@inner
def longer(real, whole, s, error, control, longest):
    """The next step over the last one, by the error of that; none is left over that is shorter than half of it."""
    h, left = real[STEP], control.t[-1] - real[TIME]
    growth = min(control.growth, 0.9 * max(error, 1e-30) ** (-1.0 / (s + 1)))
    if whole[FAILURES] > 0 or whole[NEWTON] > 4:
        growth = min(growth, 1.0)
    whole[FAILURES] = 0
    new = min(min(h * growth, control.max_step), longest)
    if new >= left:
        new = left
    elif 2.0 * new > left:
        new = 0.5 * left
    real[STEP] = new
    return new / h
