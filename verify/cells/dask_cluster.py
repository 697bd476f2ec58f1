"""Cells on a Dask cluster, which reschedules those of a lost worker by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from verify.cells.cell import Cell, CellResult, execute
from verify.command_line import UsageError

CONNECT_TIMEOUT = 10.0  # seconds to reach a Dask scheduler


@contextmanager
def on_dask(cells: Sequence[Cell], address: str) -> Iterator[Iterator[CellResult]]:
    """The results as they end; `UsageError` where nothing answers at the address, or dask.distributed is missing."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UsageError("--scheduler needs dask.distributed: pip install 'fastslow[cluster]'") from None
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from None
    futures: dict[Any, Cell] = {}

    def ended() -> Iterator[CellResult]:
        for cell in cells:
            futures[client.submit(execute, cell.work, cell.configuration, key=f"cell-{cell.key}")] = cell
        for future in as_completed(list(futures), loop=client.loop):
            cell = futures.pop(future)
            lost = future.exception() if future.status == "error" else None
            if lost is not None or future.status != "finished":
                error = f"the cluster lost it: {type(lost).__name__}: {lost}" if lost else f"it was {future.status}"
                result = CellResult(cell, None, 0.0, error)
            else:
                result = CellResult(cell, **future.result())
            future.release()  # one that is held is computed again when the worker that holds its result dies
            yield result

    try:
        yield ended()
    finally:
        client.cancel(list(futures), force=True)
        client.close()
