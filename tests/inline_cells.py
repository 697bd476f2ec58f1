"""Cells in the process of the test: what a cell computes does not depend on where, and a worker imports torch first.

The workers themselves, their deaths, Ctrl-C and clusters have tests of their own (tests/verify/test_cells.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from verify.cells.cell import Cell, CellResult, execute

PLACE = "verify.cells.run.on_cores"


@contextmanager
def in_this_process(cells: Sequence[Cell], jobs: int) -> Iterator[Iterator[CellResult]]:
    """As `verify.cells.local_workers.on_cores`, one after the other."""
    yield (CellResult(cell, **execute(cell.work, cell.configuration)) for cell in cells)
