"""The folder of a run: what it is, and whose it is.

`config.json` describes the run (model, training, data) and is written once, after `tokenizer.json`, so a folder that
has it can be resumed. One process writes to a run at a time: it holds a lock on RUN/.lock, which the operating system
releases when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from network.atomic import write_atomic
from network.build import build_model
from network.checkpoint import CheckpointError, load_checkpoint
from network.config import FastSlowConfig
from network.data import TokenData
from network.distributed import checked_device
from network.generator_lm import GeneratorLM
from network.model import FastSlowLM
from network.training_config import TrainConfig

_FORMAT = "fastslow run 1"
_CONFIG = "config.json"


def describe_run(model: FastSlowConfig, training: TrainConfig, data: TokenData) -> dict[str, Any]:
    """What a run is, as plain JSON values: a resumed run must agree with it."""
    return {
        "model": model.to_dict(),
        "training": training.to_dict(),
        "data": {"corpus": list(data.corpus), "bpe": data.bpe_vocab, "sha256": data.sha256, **data.options},
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
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path} does not describe a run ({reason}); {_runs_beside(Path(run))}") from None


def _runs_beside(folder: Path) -> str:
    """What to pass instead of `folder`, which is no run."""
    if folder.parent.name == "checkpoints":
        return f"pass the folder of the run, {folder.parent.parent}"
    found = sorted(
        {path.parent for place in (folder.parent, folder, Path("runs")) for path in place.glob(f"*/{_CONFIG}")}
    )
    near = f"; there are {', '.join(map(str, found[:5]))}" if found else ""
    return f"pass the folder of a run, as network.train prints it at its end{near}"


def folder_of(path: str | Path) -> Path:
    """The folder of a run, given as itself or as one of its checkpoints."""
    folder = Path(path)
    return folder.parent.parent if (folder / "checkpoint.json").exists() else folder


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

    A block that ends by an error before it has described a run leaves no folder behind that was not there before.
    Raises `ValueError` where the folder cannot be written, another process is at it, or it holds a run and `resume` is
    off.
    """
    if run is None:
        yield
        return
    with made(run):
        try:
            lock = (run / ".lock").open("w")
        except OSError as error:
            raise ValueError(f"the run folder {run} cannot be written: {error.strerror}; choose another") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is writing to the run {run}; choose another folder") from None
            if (run / _CONFIG).exists() and not resume:
                raise ValueError(
                    f"{run} already holds a run: go on with it by --resume {run}, or name another folder with --out"
                )
            yield


@contextmanager
def made(run: Path) -> Iterator[None]:
    """A block for which the folder `run` is there; where it ends by an error without a run in it, what was made for it
    is removed again.

    Raises `ValueError` where the folder cannot be made or written.
    """
    missing = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run):
            pass
    except OSError as error:
        _remove(missing)
        what = "is a file" if run.is_file() else f"cannot be written ({error.strerror})"
        raise ValueError(
            f"--out {run}: {what}; name a folder that does not exist yet, as in --out runs/first"
        ) from None
    try:
        yield
    except BaseException:
        if not (run / _CONFIG).exists():
            if run in missing:
                for leftover in (".lock", "tokenizer.json"):
                    (run / leftover).unlink(missing_ok=True)
            _remove(missing)
        raise


def _remove(folders: list[Path]) -> None:
    """Those that are there and empty, innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def load_run(run: str | Path, device: str | torch.device = "cpu") -> FastSlowLM | GeneratorLM:
    """The model of the newest checkpoint in the folder `run` (or of that checkpoint), in the dtype it was trained in,
    ready to be read (`eval`).

    Raises `ValueError` where the device is not available, and `CheckpointError` with the path where there is no whole
    checkpoint or it does not hold a model of this version.

    Examples:
        >>> from network import load_run
        >>> load_run("no/such/run")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        network.checkpoint.CheckpointError: no/such/run ...
    """
    target = checked_device(device)
    checkpoint = load_checkpoint(run)
    try:
        config = FastSlowConfig.from_dict(checkpoint.config["model"])
        dtype = torch.float64 if checkpoint.config["training"]["dtype"] == "float64" else torch.float32
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} does not describe a model of this version: {error}") from None
    # The initial weights are overwritten: drawing them must not advance the caller's random state.
    model = build_model(config, generator=torch.Generator()).to(dtype)
    checkpoint.load_weights(model)
    return model.to(target).eval()
