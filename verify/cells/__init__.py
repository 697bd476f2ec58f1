"""Cells: the units of a study, each keyed by its whole configuration, run once and kept.

A cell is a module-level function and a JSON-able configuration; its key is a hash of the two, so whatever changes the
result must be in the configuration (`source_fingerprint` puts the code there). A finished cell is written by one atomic
rename as it ends, and is read back, never computed again. What a cell raises is its own failure; the others go on, and
a failed cell is tried anew by the next run. They run on the local cores (`local_workers`) or, with `scheduler`, on a
Dask cluster (`dask_cluster`).
"""

from verify.cells.cell import Cell, CellResult
from verify.cells.local_workers import core_count
from verify.cells.run import read_cell, run_cells
from verify.cells.source_fingerprint import source_fingerprint

__all__ = ["Cell", "CellResult", "core_count", "read_cell", "run_cells", "source_fingerprint"]
