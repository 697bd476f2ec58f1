"""First passage and hitting probabilities of large sparse chains, by one elimination each.

The graph decides first what needs no numbers: from where a target can be reached at all, and from where with certainty.
Only states that can reach a target are free in `StoppedChain`; jumps to the others stop the chain as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.generators.sparse import checked_rates
from theory.stationary.sparse.stopped import reaching, stopped


def sparse_hitting_probabilities(A: Any, sets: list[list[int]]) -> Tensor:
    """h[k, n], float64, of the scipy.sparse generator A; see `theory.chain.absorption.hitting_probabilities`."""
    found = checked_rates(A)
    n, k = A.shape[0], len(sets)
    h = np.zeros((k, n))
    by_row = found.rates.tocsr()
    taken = np.zeros(n, bool)
    for t, members in enumerate(sets):
        h[t, members] = 1.0
        taken[members] = True
    # a target is hit first along ways that avoid the others: edges out of targets do not count
    ways = by_row @ _diagonal(~taken)
    reaches = np.stack([reaching(ways, members) for members in sets])
    free = reaches.any(0) & ~taken
    if free.any():
        onto = np.stack([np.asarray(by_row[members][:, free].sum(axis=0)).ravel() for members in sets], 1)
        chain, _ = stopped(found, free)
        h[:, free] = chain.rewards(onto, reaches[:, free].T).T
    return torch.from_numpy(h)


def sparse_first_passage(A: Any, target: list[int]) -> Tensor:
    """m[n], float64: the expected time from each state of the scipy.sparse generator A to the set."""
    found = checked_rates(A)
    n = A.shape[0]
    by_row = found.rates.tocsr()
    taken = np.zeros(n, bool)
    taken[target] = True
    ways = by_row @ _diagonal(~taken)
    lost = ~reaching(ways, target)
    never = reaching(ways, np.flatnonzero(lost).tolist()) & ~taken if lost.any() else lost
    m = np.where(never, np.inf, 0.0)
    free = ~never & ~taken
    if free.any():
        chain, _ = stopped(found, free)
        m[free] = chain.rewards(np.ones((int(free.sum()), 1)), np.ones((int(free.sum()), 1), bool))[:, 0]
    return torch.from_numpy(m)


def _diagonal(kept: np.ndarray) -> Any:
    from scipy.sparse import diags_array

    return diags_array(kept.astype(np.float64)).tocsr()
