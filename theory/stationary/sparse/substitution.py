"""Through the factors of a sparse elimination, forwards and backwards: what a chain collects until it stops.

Elimination leaves s, the rate out of each state when it is taken out, U, the rates A_kj into it, and L, the shares
A_ik / s_k out of it, over the states behind it in its front. The last state is where the chain stops.

    visits:   y_k = (b_k + Σ_j A_kj y_j)/s_k     hands b on by L and gathers y by U;
    rewards:  m_k = (c_k + Σ_i m_i A_ik)/s_k     hands c on by U and gathers m by L.

Both are the same two sweeps, with the division in the one or in the other; no subtraction in either. Twice each: in
float64, and on numbers with exponents of their own where float64 may have lost one (`extended_fronts`).
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from theory.compiled import fused
from theory.stationary.sparse.elimination_tree import Fronts
from theory.stationary.sparse.extended_fronts import ExtendedFactors
from theory.stationary.sparse.extended_numbers import POWERS, Numbers, normal, plus
from theory.stationary.sparse.multifrontal import Factors


def visits(factors: Factors, start: np.ndarray) -> np.ndarray:
    """y[n, r] of b[n, r] >= 0 in the original numbering, 0 in the last state."""
    return _through(factors, start, (factors.L, np.ones_like(factors.s)), (factors.U, factors.s))


def rewards(factors: Factors, rate: np.ndarray) -> np.ndarray:
    """m[n, r] of c[n, r] >= 0 in the original numbering, 0 in the last state."""
    return _through(factors, rate, (factors.U, factors.s), (factors.L, np.ones_like(factors.s)))


def extended_visits(factors: ExtendedFactors, start: Numbers, last: float) -> Numbers:
    """As `visits`, with y of the last state given. L is read where b is not zero."""
    one = Numbers.of(np.ones(len(factors.plan.order)))
    return _through_extended(factors.plan, start, (factors.L, one), last, (factors.U, factors.s))


def extended_rewards(factors: ExtendedFactors, rate: Numbers) -> Numbers:
    """As `rewards`."""
    one = Numbers.of(np.ones(len(factors.plan.order)))
    return _through_extended(factors.plan, rate, (factors.U, factors.s), 0.0, (factors.L, one))


def _through(factors: Factors, given: np.ndarray, on: tuple, back: tuple) -> np.ndarray:
    plan = factors.plan
    v = given[plan.order]
    _hand_on(plan.first, plan.start, plan.states, *on, v)
    v[-1] = 0.0
    _gather(plan.first, plan.start, plan.states, *back, v)
    result = np.empty_like(v)
    result[plan.order] = v
    return result


def _through_extended(plan: Fronts, given: Numbers, on: tuple, last: float, back: tuple) -> Numbers:
    v, e = given.mantissa[plan.order], given.exponent[plan.order]
    if v.any():
        _hand_on_extended(plan.first, plan.start, plan.states, *on[0], *on[1], v, e, POWERS)
    v[-1], e[-1] = last, 0
    _gather_extended(plan.first, plan.start, plan.states, *back[0], *back[1], v, e, POWERS)
    result = Numbers(np.empty_like(v), np.empty_like(e))
    result.mantissa[plan.order], result.exponent[plan.order] = v, e
    return result


@fused
@no_type_check
def _hand_on(first, start, states, factor, over, v):
    """From the first state to the last but one: v_k /= over_k, then v_i += factor_ik v_k behind k."""
    n, r = v.shape
    head = 0
    for f in range(len(first) - 1):
        front = states[start[f] : start[f + 1]]
        for a in range(first[f + 1] - first[f]):
            if front[a] == n - 1:
                continue
            given = v[front[a]]
            for q in range(r):
                given[q] /= over[front[a]]
            for b in range(a + 1, len(front)):
                weight, row = factor[head], v[front[b]]
                head += 1
                if weight > 0.0:
                    for q in range(r):
                        row[q] += weight * given[q]


@fused
@no_type_check
def _gather(first, start, states, factor, over, v):
    """From the last state but one to the first: v_k = (v_k + Σ_i factor_ki v_i)/over_k over the states behind k."""
    n, r = v.shape
    head = len(factor)
    for f in range(len(first) - 2, -1, -1):
        front = states[start[f] : start[f + 1]]
        behind = len(front) - (first[f + 1] - first[f])
        for a in range(first[f + 1] - first[f] - 1, -1, -1):
            if front[a] == n - 1:
                behind += 1
                continue
            y = v[front[a]]
            head -= behind
            for b in range(behind):
                weight, row = factor[head + b], v[front[a + 1 + b]]
                if weight > 0.0:
                    for q in range(r):
                        y[q] += weight * row[q]
            for q in range(r):
                y[q] /= over[front[a]]
            behind += 1


@fused
@no_type_check
def _hand_on_extended(first, start, states, factor, factor_e, over, over_e, v, e, powers):
    n, r = v.shape
    head = 0
    for f in range(len(first) - 1):
        front = states[start[f] : start[f + 1]]
        for a in range(first[f + 1] - first[f]):
            k = front[a]
            if k == n - 1:
                continue
            for q in range(r):
                if v[k, q] > 0.0:
                    v[k, q], e[k, q] = normal(v[k, q] / over[k], e[k, q] - over_e[k])
            for b in range(a + 1, len(front)):
                if factor[head] > 0.0:
                    i = front[b]
                    for q in range(r):
                        if v[k, q] > 0.0:
                            v[i, q], e[i, q] = plus(
                                v[i, q], e[i, q], factor[head] * v[k, q], e[k, q] + factor_e[head], powers
                            )
                head += 1


@fused
@no_type_check
def _gather_extended(first, start, states, factor, factor_e, over, over_e, v, e, powers):
    n, r = v.shape
    head = len(factor)
    for f in range(len(first) - 2, -1, -1):
        front = states[start[f] : start[f + 1]]
        behind = len(front) - (first[f + 1] - first[f])
        for a in range(first[f + 1] - first[f] - 1, -1, -1):
            k = front[a]
            if k == n - 1:
                behind += 1
                continue
            head -= behind
            for q in range(r):
                y, t = v[k, q], e[k, q]
                for b in range(behind):
                    i = front[a + 1 + b]
                    y, t = plus(y, t, factor[head + b] * v[i, q], e[i, q] + factor_e[head + b], powers)
                v[k, q], e[k, q] = normal(y / over[k], t - over_e[k]) if y > 0.0 else (0.0, 0)
            behind += 1
