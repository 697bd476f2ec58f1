"""The record of a run: a JSONL log that survives kills, TensorBoard, and a progress bar.

    RUN/log.jsonl      one JSON object a line: {"kind": "step" | "evaluation" | "diverged", "step": …, values}
    RUN/tensorboard/   the same curves

`step` counts finished steps, from 1. A resumed run first cuts the log back to its checkpoint, in one atomic rewrite,
so that a log never holds a step twice and ends up the same as that of an uninterrupted run.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from network.atomic import write_atomic


class RunLog:
    """Writes the records of one run: to disk unless `run` is None, and to the terminal if `progress` is on."""

    records: list[dict[str, Any]]

    def __init__(self, run: Path | None, *, steps: int, step: int, tokens_per_step: int, progress: bool) -> None:
        self.records = read_log(run, until=step) if run is not None else []
        self._tokens_per_step = tokens_per_step
        self._file = self._board = self._bar = None
        if run is not None:
            path = run / "log.jsonl"
            write_atomic(path, "".join(_line(record) for record in self.records).encode())
            self._file = path.open("a", buffering=1)
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        if progress:
            from tqdm import tqdm

            total = steps * tokens_per_step
            self._bar = tqdm(total=total, initial=step * tokens_per_step, unit="tok", unit_scale=True, file=sys.stderr)

    def add(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Append one record; `values` must be finite numbers, strings or None."""
        record = {"kind": kind, "step": step, **values}
        self.records.append(record)
        if self._file is not None:
            self._file.write(_line(record))
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)
        if self._bar is not None and kind == "step":
            self._bar.update(self._tokens_per_step)
            self._bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
        elif self._bar is not None and kind == "evaluation":
            self._bar.write(f"step {step}: validation loss {values['validation_loss']:.4f}", file=sys.stderr)

    def flush(self) -> None:
        """Put everything written so far on the disk, so that no checkpoint is ever ahead of the log."""
        if self._file is not None and self._board is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._board.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in (self._bar, self._board, self._file):
            if sink is not None:
                sink.close()


def read_log(run: str | Path, *, until: float | int = math.inf) -> list[dict[str, Any]]:
    """The records of a run up to step `until`; a last line torn by a kill is left out. No log yet: an empty list."""
    path = Path(run) / "log.jsonl"
    if not path.exists():
        return []
    records = []
    lines = path.read_text().split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if record["step"] <= until:
                records.append(record)
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number} is not a log record: {line[:80]!r}") from None
    return records


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
