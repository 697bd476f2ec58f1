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
from typing import Any, no_type_check

import numpy as np

from theory.compiled import fused
from theory.generators.sparse import SparseRates
from theory.stationary.sparse.extended_fronts import (
    ExtendedFactors,
    Numbers,
    eliminate_extended,
    rewards,
    visits,
)
from theory.stationary.sparse.multifrontal import TINY, Factors, factorise
from theory.stationary.sparse.planning import Plan

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
        D = self.exit_rate[:, None]
        if not self.factors.lost:
            with np.errstate(all="ignore"):
                found = self._plain(given / D, _rewards) if before else self._plain(given, _visits) / D
            if np.isfinite(found).all() and (positive is None or (found[positive] >= SAFE).all()):
                return found
        padded = Numbers.of(np.pad(given, ((0, 1), (0, 0))))
        answer = rewards(self._extended, padded) if before else visits(self._extended, padded, 0.0)
        return answer.rounded()[:-1]

    def _plain(self, given: np.ndarray, kernel: Any) -> np.ndarray:
        plan, s, U, L, _ = self.factors
        v = np.pad(given, ((0, 1), (0, 0)))[plan.order]
        kernel(plan.first, plan.start, plan.states, s, U, L, v)
        result = np.empty_like(v)
        result[plan.order] = v
        return result[:-1]


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


@fused
@no_type_check
def _visits(first, start, states, s, U, L, b):
    """b[n, r] becomes y with y_k = (b_k + Σ_j A_kj y_j)/s_k; 0 in the last state."""
    n, r = b.shape
    head = 0
    for f in range(len(first) - 1):
        front = states[start[f] : start[f + 1]]
        m = len(front)
        for a in range(first[f + 1] - first[f]):
            given = b[front[a]]
            for c in range(a + 1, m):
                share, row = L[head], b[front[c]]
                head += 1
                if share > 0.0:
                    for q in range(r):
                        row[q] += share * given[q]
    b[n - 1] = 0.0
    head = len(U)
    for f in range(len(first) - 2, -1, -1):
        front = states[start[f] : start[f + 1]]
        m = len(front)
        for a in range(first[f + 1] - first[f] - 1, -1, -1):
            head -= m - a - 1
            k = front[a]
            if k == n - 1:
                continue
            y = b[k]
            for c in range(m - a - 1):
                rate, row = U[head + c], b[front[a + 1 + c]]
                if rate > 0.0:
                    for q in range(r):
                        y[q] += rate * row[q]
            for q in range(r):
                y[q] /= s[k]


@fused
@no_type_check
def _rewards(first, start, states, s, U, L, c):
    """c[n, r] becomes m with m_k = (c_k + Σ_i m_i A_ik)/s_k; 0 in the last state."""
    n, r = c.shape
    head = 0
    for f in range(len(first) - 1):
        front = states[start[f] : start[f + 1]]
        m = len(front)
        for a in range(first[f + 1] - first[f]):
            k = front[a]
            if k == n - 1:
                continue
            earned = c[k]
            for q in range(r):
                earned[q] /= s[k]
            for b in range(a + 1, m):
                rate, row = U[head], c[front[b]]
                head += 1
                if rate > 0.0:
                    for q in range(r):
                        row[q] += rate * earned[q]
    c[n - 1] = 0.0
    head = len(U)
    for f in range(len(first) - 2, -1, -1):
        front = states[start[f] : start[f + 1]]
        m = len(front)
        for a in range(first[f + 1] - first[f] - 1, -1, -1):
            head -= m - a - 1
            y = c[front[a]]
            for b in range(m - a - 1):
                share, row = L[head + b], c[front[a + 1 + b]]
                if share > 0.0:
                    for q in range(r):
                        y[q] += share * row[q]
