"""Cells: the units of a study, each keyed by its whole configuration, run once and kept.

A cell is a module-level function and a JSON-able configuration; its key is a hash of the two, so whatever changes the
result must be in the configuration (`source_fingerprint` puts the code there). A finished cell is written by one atomic
rename as it ends, and is read back, never computed again. What a cell raises is its own failure; the others go on, and
a failed cell is tried anew by the next run.

On the local cores each worker is a process of its own that serves one cell at a time: one that is killed costs the time
of its cell, which starts again in a fresh process (`ATTEMPTS` times in all), and nothing of its neighbours'. A shared
pool, as of joblib or concurrent.futures, ends all its workers when one dies. Workers compute on one thread each.
With `scheduler` the cells go to a Dask cluster, which reschedules those of a lost worker by itself.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from verify.command_line import UsageError, strict_json, write_whole

ATTEMPTS = 2
CONNECT_TIMEOUT = 10.0  # seconds to reach a Dask scheduler


@dataclass(frozen=True)
class Cell:
    """work(configuration) -> result, both plain JSON data; `label` is for people and not part of the key."""

    work: Callable[[dict[str, Any]], Any]
    configuration: dict[str, Any]
    label: str = ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key is the hash of, as JSON gives it back."""
        name = f"{self.work.__module__}:{self.work.__qualname__}"
        return json.loads(strict_json({"work": name, "configuration": self.configuration}))

    @cached_property
    def key(self) -> str:
        """Name of the file of the finished cell."""
        canonical = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class CellResult:
    """How a cell ended. result: what it returned (None if it failed). error: what it raised, '' if nothing.

    seconds: what it took when it ran; resumed: whether that was in an earlier run.
    """

    cell: Cell
    result: Any
    seconds: float
    error: str = ""
    traceback: str = ""
    resumed: bool = False

    @property
    def failed(self) -> bool:
        """Whether the cell has no result."""
        return bool(self.error)


def run_cells(
    cells: Sequence[Cell],
    *,
    folder: Path | Callable[[Cell], Path],
    scheduler: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    progress: bool = False,
    finished: Callable[[CellResult], None] | None = None,
) -> list[CellResult]:
    """Run every cell that `folder` does not hold yet; the results in the order of `cells`, failures among them.

    folder: of all cells, or of each. scheduler: address of a Dask scheduler (None: `jobs` local processes, by default
    one a core). fresh: compute cells again that are there. finished: called in this process as each cell ends. Two
    cells of one key run once.

    Raises `UsageError` where the scheduler does not answer or dask.distributed is missing, and `ValueError` where a
    file of the folder is not the cell that its name says. Ctrl-C ends the workers and keeps what is finished.
    """
    from tqdm import tqdm

    unique = {cell.key: cell for cell in cells}
    folders = {key: folder if isinstance(folder, Path) else folder(cell) for key, cell in unique.items()}
    for place in set(folders.values()):
        place.mkdir(parents=True, exist_ok=True)
    done: dict[str, CellResult] = {}
    if not fresh:
        done = {key: kept for key, cell in unique.items() if (kept := read_cell(cell, folders[key])) is not None}
    todo = [cell for key, cell in unique.items() if key not in done]
    for kept in done.values():
        if finished is not None:
            finished(kept)
    executor = _on_dask(todo, scheduler) if scheduler else _on_cores(todo, jobs or core_count())
    bar = tqdm(total=len(unique), initial=len(done), unit="cell", file=sys.stderr, disable=not progress)
    with bar, executor as ended:
        for result in ended:
            if not result.failed:
                _write(result, folders[result.cell.key])
            done[result.cell.key] = result
            bar.set_postfix_str(result.cell.label, refresh=False)
            bar.update()
            if finished is not None:
                finished(result)
    return [done[cell.key] for cell in cells]


def read_cell(cell: Cell, folder: Path) -> CellResult | None:
    """The finished cell in `folder`, None where there is none; `ValueError` for a file that is not that cell."""
    path = folder / f"{cell.key}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("identity") != cell.identity or "result" not in content:
        raise ValueError(f"{path} is not the finished cell that its name says: delete it, and it is computed again")
    return CellResult(cell, content["result"], content["seconds"], resumed=True)


def source_fingerprint(*packages: str, without: Sequence[str] = ()) -> str:
    """A hash of the code of `packages`, found without importing them: what a result was made with.

    Comments and docstrings do not count. without: modules left out, as `"train"` or `"claims/wall_clock"`.
    """
    from importlib.util import find_spec

    digest = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the package {package!r} is not installed")
        root = Path(next(iter(spec.submodule_search_locations)))
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root).with_suffix("").as_posix()
            if name not in without:
                digest.update(f"{package}/{name}\0{_code(file)}\0".encode())
    return digest.hexdigest()[:16]


def _code(file: Path) -> str:
    """The syntax tree of a Python file without its docstrings, as text."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]
    return ast.dump(tree)


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(result: CellResult, folder: Path) -> None:
    content = {"identity": result.cell.identity, "result": result.result, "seconds": result.seconds}
    write_whole(folder / f"{result.cell.key}.json", strict_json(content) + "\n")


def _execute(work: Callable[[dict[str, Any]], Any], configuration: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `CellResult`, as plain data: what travels between processes."""
    start = time.perf_counter()
    try:
        # As JSON gives it back: a resumed result must be the very same data.
        result, error, trace = json.loads(strict_json(work(configuration))), "", ""
    except Exception as raised:
        result, error, trace = None, f"{type(raised).__name__}: {raised}", traceback.format_exc()
    return {"result": result, "seconds": time.perf_counter() - start, "error": error, "traceback": trace}


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
        pipe.send(_execute(work, configuration))


def _end_with_parent() -> None:
    """A parent that was killed can end nobody: without this its workers would compute on until their cells end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _on_cores(cells: Sequence[Cell], jobs: int) -> Iterator[Iterator[CellResult]]:
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


@contextmanager
def _on_dask(cells: Sequence[Cell], address: str) -> Iterator[Iterator[CellResult]]:
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
            futures[client.submit(_execute, cell.work, cell.configuration, key=f"cell-{cell.key}")] = cell
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
