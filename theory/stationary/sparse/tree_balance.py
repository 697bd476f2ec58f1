"""Detailed balance on a tree: p_st of a birth-death chain, or of any chain whose graph has no cycle, state by state.

If the jumps of an irreducible chain join its states to a tree, no probability can flow around, so every edge is in
balance by itself: A_ij p_j = A_ji p_i (Kelly, *Reversibility and Stochastic Networks*, 1979, lemma 1.5). From any root,
p follows by one quotient of rates per state.

A product over 10⁵ edges would gather 10⁵ roundings and leave the range of float64. So p is carried as (high + low) 2^e:
the unevaluated sum of two float64 (Dekker, *Numer. Math.* 18, 1971), rounded once at the end, and an integer exponent.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from theory.compiled import compiled

_SPLITTER = 2.0**27 + 1.0


def balance_on_tree(columns: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """(mantissa[n], exponent[n]) of p_st = mantissa · 2^exponent, not normalised; None if the graph is not a tree.

    columns: the off-diagonal rates > 0 (csc) of an irreducible chain.
    """
    n = columns.shape[0]
    if columns.nnz != 2 * (n - 1):
        return None
    mantissa, exponent, reached = _balance(columns.indptr, columns.indices, columns.data)
    return (mantissa, exponent) if reached == n else None


@compiled
@no_type_check
def _balance(indptr, indices, rates):
    """Breadth first from state 0; stops short of n states at an edge without its reverse."""
    n = len(indptr) - 1
    high = np.zeros(n)
    low = np.zeros(n)
    exponent = np.zeros(n, np.int64)
    queue = np.empty(n, np.int32)
    high[0], queue[0] = 0.5, 0
    stop = 1
    for head in range(n):
        if head == stop:
            break
        j = queue[head]
        for e in range(indptr[j], indptr[j + 1]):
            i = indices[e]
            if high[i] > 0.0:
                continue
            back = 0.0
            for r in range(indptr[i], indptr[i + 1]):
                if indices[r] == j:
                    back = rates[r]
            if back == 0.0:
                return high, exponent, stop
            a, a_exponent = math.frexp(rates[e])
            b, b_exponent = math.frexp(back)
            product, rest = _product(high[j], a)
            quotient = product / b
            again, lost = _product(quotient, b)
            correction = (((product - again) - lost) + (rest + low[j] * a)) / b
            total = quotient + correction
            high[i], shift = math.frexp(total)
            low[i] = math.ldexp(correction - (total - quotient), -shift)
            exponent[i] = exponent[j] + a_exponent - b_exponent + shift
            queue[stop] = i
            stop += 1
    return high, exponent, stop


@compiled
@no_type_check
def _product(a, b):
    """a·b exactly, as the rounded product and its rounding error (Dekker's product)."""
    t = _SPLITTER * a
    a1 = t - (t - a)
    a2 = a - a1
    t = _SPLITTER * b
    b1 = t - (t - b)
    b2 = b - b1
    product = a * b
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
