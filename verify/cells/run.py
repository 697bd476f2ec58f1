"""Run the cells that a folder does not hold yet, and read back those that it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from verify.cells.cell import Cell, CellResult
from verify.cells.dask_cluster import on_dask
from verify.cells.local_workers import core_count, on_cores
from verify.command_line import strict_json, write_whole


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

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from verify.cells import run_cells
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(run_cells([], folder=Path(folder)))
        []
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
    executor = on_dask(todo, scheduler) if scheduler else on_cores(todo, jobs or core_count())
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
    """The finished cell in `folder`, None where there is none; `ValueError` for a file that is not that cell.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from verify.cells import Cell, read_cell
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(read_cell(Cell(dict, {"x": 1}), Path(folder)))
        None
    """
    path = folder / cell.file
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("identity") != cell.identity or "result" not in content:
        raise ValueError(f"{path} is not the finished cell that its name says: delete it, and it is computed again")
    return CellResult(cell, content["result"], content["seconds"], resumed=True)


def _write(result: CellResult, folder: Path) -> None:
    content = {"identity": result.cell.identity, "result": result.result, "seconds": result.seconds}
    write_whole(folder / result.cell.file, strict_json(content) + "\n")
