"""A sparse chain that stops: expected rewards and visits until then, by one elimination, without a subtraction.

The free states j jump to each other at the rates A_ij and stop at the rate κ_j. With B = diag(exit rates) − A, which
is an M-matrix with a non-negative inverse when every free state stops sooner or later,

    rewards:  mᵀ B = cᵀ, the expected reward from each state until it stops, at the reward rates c >= 0;
    visits:   B x = b, the expected time spent in each state, from the starting weights b >= 0.

First passage, hitting probabilities, the group inverse and the adjoint of p_st are one or two of these each. The state
"stopped" is a last state of the graph; `multifrontal.factorise` takes the others out. Where a number may have left the
range of float64, the same is done with exponents (`extended_fronts`), once, when it is first needed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from theory.generators.sparse import SparseRates
from theory.stationary.sparse.extended_fronts import ExtendedFactors, eliminate_extended
from theory.stationary.sparse.extended_numbers import Numbers
from theory.stationary.sparse.multifrontal import TINY, Factors, factorise
from theory.stationary.sparse.planning import Plan
from theory.stationary.sparse.substitution import extended_rewards, extended_visits, rewards, visits

SAFE = 1e-200  # a smaller result may have been made of what underflowed


class StoppedChain:
    """rates (csc, off-diagonal, free states only) and stop[n] >= 0; every free state must be able to stop."""

    exit_rate: np.ndarray
    plan: Plan

    def __init__(self, rates: Any, stop: np.ndarray) -> None:
        from scipy.sparse import csc_array

        n = rates.shape[0]
        self.n = n
        self.exit_rate = np.asarray(rates.sum(axis=0)).ravel() + stop
        stops = np.flatnonzero(stop)
        chain = rates.tocoo()
        row = np.concatenate([chain.coords[0], np.full(len(stops), n)]).astype(np.int32)
        column = np.concatenate([chain.coords[1], stops]).astype(np.int32)
        self._rates = csc_array((np.concatenate([chain.data, stop[stops]]), (row, column)), shape=(n + 1, n + 1))
        self._rates.sort_indices()
        self._columns = self._rates.copy()  # shares of the jumps: rates of 1e150 and 1e-150 meet on equal terms
        self._columns.data /= np.repeat(np.append(self.exit_rate, 1.0), np.diff(self._rates.indptr))
        self._rows = self._columns.tocsr()
        self._rows.sort_indices()
        self.plan = Plan(self._columns, self._rows, last=n)

    @cached_property
    def factors(self) -> Factors:
        """L, U and exit rates in float64."""
        found = factorise(self._columns, self._rows, self.plan.fronts(copies=2))
        return found._replace(lost=found.lost or bool((self._columns.data < TINY).any()))

    @cached_property
    def _extended(self) -> ExtendedFactors:
        # The rates themselves: a share of 1e-350 is already 0 in the jump chain.
        return eliminate_extended(self._rates, self._rates.tocsr(), self.plan.fronts(copies=2), keep=True)

    def rewards(self, rate: np.ndarray, positive: np.ndarray | None = None) -> np.ndarray:
        """m[n, r] of the reward rates c[n, r] >= 0; inf where it passes the range of float64.

        positive: entries known not to be 0, wanted to full relative precision however small they are.
        """
        return self._solve(rate, True, positive)

    def visits(self, start: np.ndarray) -> np.ndarray:
        """x[n, r] of the starting weights b[n, r] >= 0."""
        return self._solve(start, False, None)

    def _solve(self, given: np.ndarray, before: bool, positive: np.ndarray | None) -> np.ndarray:
        D = np.append(self.exit_rate, 1.0)[:, None]
        padded = np.pad(given, ((0, 1), (0, 0)))
        if not self.factors.lost:
            with np.errstate(all="ignore"):
                found = rewards(self.factors, padded / D) if before else visits(self.factors, padded) / D
            found = found[:-1]
            if np.isfinite(found).all() and (positive is None or (found[positive] >= SAFE).all()):
                return found
        numbers = Numbers.of(padded)
        answer = extended_rewards(self._extended, numbers) if before else extended_visits(self._extended, numbers, 0.0)
        return answer.rounded()[:-1]


def stopped(found: SparseRates, free: np.ndarray) -> tuple[StoppedChain, np.ndarray]:
    """The chain on the free states (bool[n]), stopped when it leaves them, and their numbers."""
    states = np.flatnonzero(free)
    columns = found.rates[:, states].tocsr()
    leaving = np.asarray(columns[np.flatnonzero(~free)].sum(axis=0)).ravel()
    return StoppedChain(columns[states].tocsc(), leaving), states


def reaching(ways: Any, targets: list[int]) -> np.ndarray:
    """bool[n]: from where a target can be reached along the jumps j -> i stored in ways (csr) as [i, j]."""
    from scipy.sparse import csr_array, vstack
    from scipy.sparse.csgraph import breadth_first_order

    n = ways.shape[0]
    ways = ways.copy()
    ways.eliminate_zeros()
    first = csr_array((np.ones(len(targets)), (np.zeros(len(targets), int), targets)), shape=(1, n))
    graph = csr_array(vstack([ways, first]))
    graph = csr_array((graph.data, graph.indices, graph.indptr), shape=(n + 1, n + 1))
    seen = np.zeros(n + 1, bool)
    seen[breadth_first_order(graph, n, directed=True, return_predecessors=False)] = True
    return seen[:n]
