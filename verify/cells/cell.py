"""A cell: a module-level function and a JSON-able configuration, the key that the two make, and how it ended."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from verify.command_line import strict_json


@dataclass(frozen=True)
class Cell:
    """work(configuration) -> result, both plain JSON data.

    name: what `work` is called in the key; give it where finished cells are kept longer than the code stays where it is
    (default: module and qualified name). label, stem: for people, on screen and in the name of the file; not part of
    the key.

    Examples:
        >>> from verify.cells import Cell
        >>> def square(configuration):
        ...     return configuration["x"] ** 2
        >>> cell = Cell(square, {"x": 3}, name="square")
        >>> cell.key == Cell(square, {"x": 3}, "another label", "square").key, len(cell.key)
        (True, 32)
    """

    work: Callable[[dict[str, Any]], Any]
    configuration: dict[str, Any]
    label: str = ""
    name: str = ""
    stem: str = ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key is the hash of, as JSON gives it back."""
        name = self.name or f"{self.work.__module__}:{self.work.__qualname__}"
        return json.loads(strict_json({"work": name, "configuration": self.configuration}))

    @cached_property
    def key(self) -> str:
        """The hash of the identity: equal cells have equal keys."""
        canonical = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @property
    def file(self) -> str:
        """Name of the file of the finished cell: the whole key, or what a person reads and the start of the key."""
        return f"{self.stem}-{self.key[:10]}.json" if self.stem else f"{self.key}.json"


@dataclass(frozen=True)
class CellResult:
    """How a cell ended. result: what it returned (None if it failed). error: what it raised, '' if nothing.

    seconds: what it took when it ran; resumed: whether that was in an earlier run.

    Examples:
        >>> from verify.cells import Cell, CellResult
        >>> CellResult(Cell(dict, {}), None, 0.0, error="ValueError: no").failed
        True
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


def execute(work: Callable[[dict[str, Any]], Any], configuration: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `CellResult`, as plain data: what travels between processes."""
    start = time.perf_counter()
    try:
        # As JSON gives it back: a resumed result must be the very same data.
        result, error, trace = json.loads(strict_json(work(configuration))), "", ""
    except Exception as raised:
        result, error, trace = None, f"{type(raised).__name__}: {raised}", traceback.format_exc()
    return {"result": result, "seconds": time.perf_counter() - start, "error": error, "traceback": trace}
