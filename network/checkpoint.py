"""Checkpoints of a run: whole or absent, checked by sha256, and free of pickled code.

    RUN/config.json                       what the run is: model, training, data
    RUN/tokenizer.json                    how its text became tokens
    RUN/checkpoints/00000250/
        model.safetensors                 the weights
        training.pt                       optimizer and random state: tensors and plain values, read with `weights_only`
        checkpoint.json                   step, counters, the configuration, and the sha256 of the two files above

A checkpoint is filled under a temporary name and renamed, so a process killed at any moment leaves the previous ones
whole (`network.atomic`); the older ones are removed only after that. A file that is truncated, foreign or altered is
refused with its path, never skipped in favour of an older one: that is the user's decision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from network.atomic import new_folder, remove_folder, sweep

WEIGHTS, TRAINING, HEADER = "model.safetensors", "training.pt", "checkpoint.json"
_FORMAT = "fastslow checkpoint 1"


class NotSaved(RuntimeError):
    """A checkpoint could not be written: a full disk, most often. The message says what is whole."""


class CheckpointError(ValueError):
    """The checkpoint is missing, damaged, foreign, or belongs to another configuration; the message names the path."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files have been found whole: where it lies and what its header says."""

    path: Path
    step: int
    config: dict[str, Any]
    counters: dict[str, Any]

    def load_weights(self, model: nn.Module) -> None:
        """Copy the weights into `model`, on whatever device it is; a `CheckpointError` lists what does not fit."""
        path, stored = self.path / WEIGHTS, self.weights()
        own = dict(_distinct(model))
        problems = [f"missing {name}" for name in own.keys() - stored.keys()]
        problems += [f"extra {name}" for name in stored.keys() - own.keys()]
        for name in own.keys() & stored.keys():
            for aspect in ("shape", "dtype"):
                has, needs = getattr(stored[name], aspect), getattr(own[name], aspect)
                if has != needs:
                    problems.append(f"{name} has {aspect} {_plain(has)} where the model has {_plain(needs)}")
        if problems:
            raise CheckpointError(f"{path} does not fit this model: {'; '.join(sorted(problems))}")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(stored[name])

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, on the CPU; `CheckpointError` where the file holds none."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path / WEIGHTS
        try:
            return load_file(path, device="cpu")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} holds no safetensors weights: {error}") from None

    def training_state(self) -> dict[str, Any]:
        """Optimizer and random state, on the CPU."""
        path = self.path / TRAINING
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path} holds no training state that is safe to read: {_first_line(error)}"
            ) from None

    def require(self, config: Mapping[str, Any], *, ignoring: tuple[str, ...] = ()) -> None:
        """`require_same` of the stored configuration and `config`."""
        require_same(self.path, self.config, config, ignoring=ignoring)


def require_same(
    path: Path,
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    ignoring: tuple[str, ...] = (),
    remedy: str = "",
) -> None:
    """Raise `CheckpointError` listing every entry in which two configurations differ, nested names joined by dots."""
    differences = [
        f"{name}: {before!r} in the checkpoint, {now!r} asked for"
        for name, before, now in _differences(stored, given)
        if name not in ignoring
    ]
    if differences:
        raise CheckpointError(f"{path} was made with another configuration: {'; '.join(differences)}{remedy}")


def save_checkpoint(
    run: Path,
    model: nn.Module,
    *,
    step: int,
    config: Mapping[str, Any],
    counters: Mapping[str, Any],
    training_state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write checkpoint `step` of `run`, then remove all but the newest `keep`; returns its folder.

    Only one process may write to a run: what a killed one left under temporary names is swept away here. Raises
    `NotSaved` where the disk does not take it (torch and safetensors each have an error of their own for that).
    """
    from safetensors import SafetensorError

    try:
        return _save(run, model, step, config, counters, training_state, keep)
    except (OSError, RuntimeError, SafetensorError) as error:
        older = _steps(run / "checkpoints")
        whole = f"what was saved before is whole: {older[-1]}" if older else "no checkpoint was saved before it"
        raise NotSaved(
            f"checkpoint {step} of {run} could not be written ({_first_line(error)}); {whole}. Make room on the disk, "
            "then go on with --resume"
        ) from error


def _save(
    run: Path,
    model: nn.Module,
    step: int,
    config: Mapping[str, Any],
    counters: Mapping[str, Any],
    training_state: Mapping[str, Any],
    keep: int,
) -> Path:
    from safetensors.torch import save_file

    parent = run / "checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    final = parent / f"{step:08d}"
    if final.exists():
        remove_folder(final)
    with new_folder(final) as folder:
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in _distinct(model)}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        torch.save(dict(training_state), folder / TRAINING)
        header = {
            "format": _FORMAT,
            "step": step,
            "config": config,
            "counters": counters,
            "sha256": {name: _sha256(folder / name) for name in (WEIGHTS, TRAINING)},
        }
        (folder / HEADER).write_text(json.dumps(header, indent=1, allow_nan=False))
    for older in _steps(parent)[:-keep]:
        remove_folder(older)
    return final


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint at `path`: its own folder, or that of a run, meaning the newest one there.

    Raises `CheckpointError` naming the file that is missing, truncated, altered or not a checkpoint of this package.
    """
    folder = Path(path)
    if not (folder / HEADER).exists():
        steps = _steps(folder / "checkpoints")
        if not steps:
            raise CheckpointError(f"{folder} holds no checkpoint; pass the folder of a run or one of its checkpoints")
        folder = steps[-1]
    try:
        header = json.loads((folder / HEADER).read_text())
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {_FORMAT!r}")
        checkpoint = Checkpoint(folder, int(header["step"]), dict(header["config"]), dict(header["counters"]))
        expected = {name: header["sha256"][name] for name in (WEIGHTS, TRAINING)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / HEADER} is not the header of a checkpoint: {error}") from None
    for name, digest in expected.items():
        try:
            actual = _sha256(folder / name)
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}") from None
        if actual != digest:
            raise CheckpointError(
                f"{folder / name} is truncated or was altered (its sha256 is not the recorded one); "
                f"remove {folder} to go back to the checkpoint before it"
            )
    return checkpoint


def _distinct(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Every parameter and persistent buffer under the first of its names: a tied weight is saved once."""
    seen: set[int] = set()
    state = model.state_dict(keep_vars=True)
    return [(name, t) for name, t in state.items() if id(t) not in seen and not seen.add(id(t))]


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in sorted(stored.keys() | given.keys()):
        a, b = stored.get(name), given.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((f"{prefix}{name}", a, b))
    return found


def has_checkpoint(run: Path) -> bool:
    """Whether the run has come as far as its first checkpoint."""
    return bool(_steps(run / "checkpoints"))


def _steps(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted((p for p in parent.iterdir() if p.name.isdigit() and p.is_dir()), key=lambda p: int(p.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, torch.Size) else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
