"""Cells on the local cores: each worker is a process of its own that serves one cell at a time.

One that is killed costs the time of its cell, which starts again in a fresh process (`ATTEMPTS` times in all), and
nothing of its neighbours'. A shared pool, as of joblib or concurrent.futures, ends all its workers when one dies.
Workers compute on one thread each.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from verify.cells.cell import Cell, CellResult, execute

ATTEMPTS = 2


def core_count() -> int:
    """The cores that this process may use.

    Examples:
        >>> from verify.cells import core_count
        >>> core_count() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that serves one cell at a time."""

    def __init__(self) -> None:
        # Spawned, not forked: torch's threads and a CUDA context do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.cell: Cell | None = None

    def begin(self, cell: Cell) -> None:
        self.cell = cell
        self.pipe.send((cell.work, cell.configuration))

    def end(self) -> None:
        """Ends in at most 5 seconds after `process.terminate()`."""
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers itself
    # By an exception, so that what a cell has opened is closed: a progress bar in a spawned process holds a named
    # semaphore, and one that is never unlinked is reported as leaked when the parent ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # This process is ours: read by OpenMP, MKL and numba when a cell first imports what uses them.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))
    while True:
        try:
            work, configuration = pipe.recv()
        except EOFError:
            return
        pipe.send(execute(work, configuration))


def _end_with_parent() -> None:
    """A parent that was killed can end nobody: without this its workers would compute on until their cells end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def on_cores(cells: Sequence[Cell], jobs: int) -> Iterator[Iterator[CellResult]]:
    """The results as they end, from at most `jobs` processes; leaving the context ends them."""
    workers: list[_Worker] = []
    try:
        yield _serve_all(deque(cells), workers, min(jobs, len(cells)))
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


def _serve_all(queue: deque[Cell], workers: list[_Worker], jobs: int) -> Iterator[CellResult]:
    deaths: dict[str, int] = {}
    workers.extend(_Worker() for _ in range(jobs))
    for worker in workers:
        worker.begin(queue.popleft())
    while busy := {worker.pipe: worker for worker in workers if worker.cell is not None}:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            cell = worker.cell
            if cell is None:
                raise RuntimeError("a worker without a cell has sent a result")
            worker.cell = None
            try:
                fields = worker.pipe.recv()
            except (EOFError, OSError):
                worker.end()
                workers[workers.index(worker)] = worker = _Worker()
                fields = _after_death(cell, queue, deaths)
            if queue:
                worker.begin(queue.popleft())
            if fields is not None:
                yield CellResult(cell, **fields)


def _after_death(cell: Cell, queue: deque[Cell], deaths: dict[str, int]) -> dict[str, Any] | None:
    """Queue the cell of a dead worker again, or give it up: then the fields of its failure."""
    deaths[cell.key] = deaths.get(cell.key, 0) + 1
    if deaths[cell.key] < ATTEMPTS:
        queue.appendleft(cell)
        return None
    error = f"its process died {ATTEMPTS} times without an exception: killed, out of memory, or a crash in native code"
    return {"result": None, "seconds": 0.0, "error": error, "traceback": ""}
