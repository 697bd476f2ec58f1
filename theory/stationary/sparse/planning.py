"""Whether a sparse chain can be eliminated, decided before the work: its fronts, or the reason and the way out.

The cost is known from the graph alone. Where it has no small separators, as a random digraph has none, the last fronts
hold a large part of all states: cost is cubic in them, and no order of elimination makes that cheap.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from theory.errors import NumericalError
from theory.stationary.sparse.elimination_tree import Fronts, fill, plan_fronts
from theory.stationary.sparse.nested_dissection import adjacency, nested_dissection

SLOW = 5e10  # operations that take about half a minute


class Plan:
    """The order of elimination of a sparse chain, and what it would cost; `fronts` is made when it is first asked for.

    columns (csc) = rows (csr): the off-diagonal rates. With `last`, that state is eliminated last.
    """

    entries: int
    operations: float
    widest: int

    def __init__(self, columns: Any, rows: Any, *, last: int | None = None) -> None:
        self._indptr, self._indices = adjacency(columns.indptr, columns.indices, rows.indptr, rows.indices)
        order = nested_dissection(self._indptr, self._indices)
        if last is not None:
            order = np.append(order[order != last], np.int32(last))
        self._order = order
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._room = 0.8 * memory / 8  # float64 numbers
        self.entries, self.operations, self.widest = fill(self._indptr, self._indices, order, int(self._room))

    @property
    def fits(self) -> bool:
        """Whether the factor fits into memory; `operations` is a lower bound where it does not."""
        return self.entries <= self._room

    @property
    def is_slow(self) -> bool:
        """Whether elimination would take long enough to look for another way first."""
        return not self.fits or self.operations > SLOW

    def fronts(self, copies: int = 1) -> Fronts:
        """The plan of the elimination; raises `NumericalError` where `copies` of its factor do not fit into memory."""
        if self.fits:
            found = plan_fronts(self._indptr, self._indices, self._order)
            if found.stack + copies * found.entries <= self._room:
                return found
            needed, widest = f"{8e-9 * (found.stack + copies * found.entries):.3g} GB", found.largest
        else:
            needed, widest = f"more than {8e-9 * self.entries:.3g} GB", self.widest
        raise NumericalError(
            f"the elimination needs {needed} of {1e-9 * 8 * self._room / 0.8:.3g} GB of memory: the chain has no small "
            f"separators (a front has {widest} states or more). theory.propagate(A, p0, t) needs no elimination: "
            "p(t) at a t beyond the relaxation time is p_st; or take fewer states, theory.lump(A, partition)"
        )
