"""The stationary distribution of a large sparse generator: A p = 0, 1ᵀp = 1, p >= 0, right in every entry.

1. A is checked, and its recurrent classes are found (strongly connected components that no jump leaves). One class: its
   complement is transient and gets exact zeros. More: p is not unique.
2. Where the jumps form a tree (a birth-death chain above all), p follows from detailed balance edge by edge.
3. Otherwise states are eliminated by GTH in a nested-dissection order: no subtraction, so entries of 1e-120 are as
   accurate as the largest. An LU factorisation has residuals as small and is wrong in them by any factor.
4. What could still go wrong is looked for. Elimination without subtraction loses a rate only by underflow, and the flow
   through each state when it is eliminated tells whether one that mattered was lost. The p found must balance, inflow
   against outflow, in each state by itself. A p that fails either is refused, with the state and the reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.errors import NotUniqueError, NumericalError
from theory.generators.sparse import checked_rates

_UNDERFLOW = 1e-300  # 10²³ times the smallest float64: a sum of 10⁹ lost terms is below 1e-13 of it
_NEGLIGIBLE, _OPEN = 1e-304, 1e-6
_BALANCE = 1e-12  # in one state, of the flow through it
_SHOWN = 5


def sparse_stationary_distribution(A: Any) -> np.ndarray:
    """p_st[n] of the scipy.sparse generator A[n, n] (any format), in A's dtype (float64 for integers).

    Entries >= 1e-300 are right to about 1e-13 of themselves, smaller ones to 1e-304; transient states get exact zeros.
    A graph without small separators is iterated instead, where that proves each entry to 1e-8 of itself (it is mostly
    right to 1e-14). float32 input is computed in float64 and rounded at the end. A is not changed.

    Raises `GeneratorError` where A is no generator, `NotUniqueError` with the recurrent classes where there are
    several, and `NumericalError`, before the work, where the elimination would not fit into memory.
    """
    from scipy.sparse.csgraph import connected_components

    rates, exit_rate, dtype = checked_rates(A)
    n = rates.shape[0]
    count, label = connected_components(rates, directed=True, connection="strong")
    if count == 1:
        return _irreducible(rates, exit_rate, np.arange(n)).astype(dtype)
    of_column = np.repeat(label, np.diff(rates.indptr))
    closed = np.ones(count, dtype=bool)
    closed[of_column[of_column != label[rates.indices]]] = False
    if np.count_nonzero(closed) > 1:
        raise _not_unique(label, closed)
    states = np.flatnonzero(closed[label])
    p = np.zeros(n, dtype)
    p[states] = _irreducible(rates[:, states].tocsr()[states].tocsc(), exit_rate[states], states)
    return p


def _irreducible(rates: Any, exit_rate: np.ndarray, names: np.ndarray) -> np.ndarray:
    from theory.stationary.sparse.tree_balance import balance_on_tree

    if rates.shape[0] == 1:
        return np.ones(1)
    rates.sort_indices()
    balanced = balance_on_tree(rates)
    p = _by_elimination(rates, exit_rate) if balanced is None else _normalised(*balanced)
    _check_balance(rates, exit_rate, p, names)
    return p


def _by_elimination(rates: Any, exit_rate: np.ndarray) -> np.ndarray:
    from theory.stationary.sparse.extended_fronts import eliminate_extended
    from theory.stationary.sparse.extended_numbers import Numbers
    from theory.stationary.sparse.iteration import iterate
    from theory.stationary.sparse.multifrontal import eliminate
    from theory.stationary.sparse.planning import Plan
    from theory.stationary.sparse.substitution import extended_visits

    jump_chain = rates.copy()  # columns that sum to one: rates of 1e150 and 1e-150 meet on equal terms
    jump_chain.data /= np.repeat(exit_rate, np.diff(rates.indptr))
    by_row = jump_chain.tocsr()
    plan = Plan(jump_chain, by_row)
    if plan.is_slow and jump_chain.data.min() >= _UNDERFLOW:
        found = iterate(by_row)
        if found is not None:
            return _divided(Numbers.of(found[0]), exit_rate)
    fronts = plan.fronts()
    x, s = eliminate(jump_chain, by_row, fronts)
    x /= x.max()
    s[fronts.order[-1]] = 1.0
    # What underflow takes is below 2^-1074, and it changes p_k by its share of s_k x_k, the flow through k when it is
    # eliminated. A smaller flow is no harm where p_k is as good as 0 and the way out of k is open.
    ceiling = _divided(Numbers.of(np.maximum(x, _UNDERFLOW)), exit_rate)
    lost = (s * x < _UNDERFLOW) & ((ceiling >= _NEGLIGIBLE) | (s < _OPEN))
    if not lost.any():
        return _divided(Numbers.of(x), exit_rate)
    # The rates themselves: a share of 1e-350 is already 0 in the jump chain.
    factors = eliminate_extended(rates, rates.tocsr(), fronts, keep=False)
    nothing = Numbers.of(np.zeros((len(x), 1)))
    mantissa, exponent = extended_visits(factors, nothing, 1.0)
    return _normalised(mantissa[:, 0], exponent[:, 0])


def _divided(x: Any, exit_rate: np.ndarray) -> np.ndarray:
    below, down = np.frexp(exit_rate)
    return _normalised(x.mantissa / below, x.exponent - down)


def _normalised(mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    value = np.ldexp(mantissa, np.maximum(exponent - exponent[mantissa > 0].max(), -2000).astype(np.int32))
    return value / value.sum()


def _check_balance(rates: Any, exit_rate: np.ndarray, p: np.ndarray, names: np.ndarray) -> None:
    sources = np.bincount(rates.indices, minlength=len(p))
    inflow = rates @ p
    # Entries below the range of float64 stand in p as 0, and yet may feed others through a large rate; flows below it
    # are off by half the smallest number each.
    unseen = rates @ np.where(p < _NEGLIGIBLE, _NEGLIGIBLE, 0.0) + sources * np.finfo(np.float64).smallest_subnormal
    allowed = (_BALANCE + 4 * np.finfo(np.float64).eps * sources) * p + unseen / exit_rate + _NEGLIGIBLE
    bad = ~(np.abs(inflow / exit_rate - p) <= allowed)
    if bad.any():
        k = int(np.argmax(bad))
        raise NumericalError(
            f"the probability {p[k]:.6g} found for state {names[k]} does not balance, {inflow[k]:.6g} flows in and "
            f"{p[k] * exit_rate[k]:.6g} out. This should not happen: please report the matrix"
        )


def _not_unique(label: np.ndarray, closed: np.ndarray) -> NotUniqueError:
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(label))[:-1])
    classes = sorted(groups[c].tolist() for c in np.flatnonzero(closed))
    shown = ", ".join(
        str(c) if len(c) <= _SHOWN else "[" + ", ".join(map(str, c[:_SHOWN])) + f", … {len(c)} states]"
        for c in classes[:_SHOWN]
    )
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return NotUniqueError(
        f"A has {len(classes)} recurrent classes, hence no unique stationary distribution: {shown}{more}. "
        "theory.stationary_distributions(A) gives each one's, with the probability of ending there",
        classes,
    )
