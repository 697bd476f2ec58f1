"""The folder of a run: what it is, and whose it is.

`config.json` describes the run (model, training, data) and is written once, after `tokenizer.json`, so a folder that
has it can be resumed. One process writes to a run at a time: it holds a lock on RUN/.lock, which the operating system
releases when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from network.atomic import write_atomic
from network.checkpoint import CheckpointError
from network.config import FastSlowConfig
from network.data import TokenData
from network.training_config import TrainConfig

_FORMAT = "fastslow run 1"
_CONFIG = "config.json"


def describe_run(model: FastSlowConfig, training: TrainConfig, data: TokenData) -> dict[str, Any]:
    """What a run is, as plain JSON values: a resumed run must agree with it."""
    return {
        "model": model.to_dict(),
        "training": training.to_dict(),
        "data": {"corpus": list(data.corpus), "bpe": data.bpe_vocab, "sha256": data.sha256},
    }


def read_run(run: str | Path) -> dict[str, Any]:
    """The description of the run in folder `run`; raises `CheckpointError` with the path where there is none."""
    path = Path(run) / _CONFIG
    try:
        stored = json.loads(path.read_text())
        if stored.pop("format") != _FORMAT:
            raise ValueError("its format is not that of a run")
        if not stored["data"].keys() >= {"corpus", "bpe", "sha256"}:
            raise ValueError("it does not say what the data are")
        return completed(stored)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} does not describe a run ({error}); pass the folder of a run") from None


def completed(description: dict[str, Any]) -> dict[str, Any]:
    """`description` of a run of this version or an older one, with what fields that came later mean for it.

    Raises `KeyError`, `TypeError` or `ValueError` where it is none.
    """
    model, training = FastSlowConfig.from_dict(description["model"]), TrainConfig.from_dict(description["training"])
    return {**description, "model": model.to_dict(), "training": training.to_dict()}


def write_run(run: Path, description: dict[str, Any], tokenizer: str) -> None:
    """Describe a new run in its folder."""
    write_atomic(run / "tokenizer.json", tokenizer.encode())
    write_atomic(run / _CONFIG, json.dumps({"format": _FORMAT, **description}, indent=1, allow_nan=False).encode())


@contextmanager
def claimed(run: Path | None, *, resume: bool) -> Iterator[None]:
    """A block in which no other process can write to `run` (None: nothing to claim).

    Raises `ValueError` where the folder cannot be written, another process is at it, or it holds a run and `resume` is
    off.
    """
    if run is None:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"the run folder {run} cannot be written: {error.strerror}; choose another") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing to the run {run}; choose another folder") from None
        if (run / _CONFIG).exists() and not resume:
            raise ValueError(f"{run} already holds a run; resume it, or choose another folder")
        yield
