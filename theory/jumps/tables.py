"""What the jump process draws from: mean waiting times, and for each state the alias table of where it goes next.

Dense generators have tables of whole rows, [G, n, n]; a sparse one has lists as long as its columns, so that a chain of
10⁵ states takes memory for its jumps and not for n² pairs of states.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from theory.generators.sparse import SparseRates


class Tables(NamedTuple):
    """Of G generators: dwell[G, n] mean waiting times, inf where a state is never left, and where it goes else.

    start is None: accept[G, n, n] and alias[G, n, n] by the state left. Otherwise accept[1, entries] and alias[1,
    entries], those of state j at start[j] … start[j + 1] − 1, with the destinations target[entries].
    """

    dwell: np.ndarray
    accept: np.ndarray
    alias: np.ndarray
    start: np.ndarray | None
    target: np.ndarray | None


def dense_tables(A: Tensor) -> Tables:
    """Of the checked generators A[..., n, n], float64 on the host."""
    from theory.jumps import kernels

    n = A.shape[-1]
    weights = np.array(A.reshape(-1, n, n).mT.contiguous().numpy())
    exit_rates = -np.array(weights[:, range(n), range(n)])
    weights[:, range(n), range(n)] = 0.0
    accept, alias = np.empty(weights.shape), np.empty(weights.shape, np.uint64)
    kernels.alias_tables(weights, accept, alias)
    return Tables(_dwell(exit_rates), accept, alias, None, None)


def sparse_tables(found: SparseRates) -> Tables:
    """Of one checked scipy.sparse generator, in memory and time linear in its rates."""
    from theory.jumps import kernels

    rates = found.rates
    accept, alias = np.empty(rates.nnz), np.empty(rates.nnz, np.int32)
    kernels.alias_lists(rates.data, rates.indptr, rates.indices, accept, alias)
    return Tables(_dwell(found.exit_rate[None]), accept[None], alias[None], rates.indptr, rates.indices)


def _dwell(exit_rates: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):  # inf is meant: a state that is never left
        return 1.0 / np.where(exit_rates > 0, exit_rates, 0.0)
