"""A new model that starts from the weights of a trained one: `--init-from RUN`.

The fast path must be the same in shape, so that every one of its weights is taken over. Of the coupling what agrees in
name and shape is taken over and the rest stays as drawn: `dense` weights begin a `coupled` model whose gate is closed,
and a `coupled` run begins a `dense` one that leaves its slow path behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from network.checkpoint import CheckpointError, load_checkpoint
from network.config import FastSlowConfig

_SAME = ("vocab_size", "n_layer", "n_embd", "n_head")


@dataclass(frozen=True)
class Inherited:
    """Which weights a model took over. drawn: those of its own that the source does not have; left: the reverse."""

    source: Path
    step: int
    drawn: tuple[str, ...]
    left: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Where the weights came from, as the description of a run holds it."""
        return {"run": str(self.source), "step": self.step}

    def told(self) -> str:
        """One line for the terminal."""
        text = f"weights of step {self.step:,} of {self.source}"
        text += f"; drawn anew: {', '.join(self.drawn)}" if self.drawn else ""
        return text + (f"; left behind: {', '.join(self.left)}" if self.left else "")


def inherit(model: nn.Module, config: FastSlowConfig, source: str | Path) -> Inherited:
    """Copy into `model` the weights of the newest checkpoint of the run `source` (or of that checkpoint).

    Raises `CheckpointError` naming the sizes of the fast path in which the two differ.
    """
    checkpoint = load_checkpoint(source)
    try:
        theirs = FastSlowConfig.from_dict(checkpoint.config["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} does not describe a model of this version: {error}") from None
    differing = [name for name in _SAME if getattr(theirs, name) != getattr(config, name)]
    if differing:
        wanted = ", ".join(f"{name} = {getattr(config, name)}" for name in differing)
        options = " ".join(f"--{name.replace('_', '-')} {getattr(theirs, name)}" for name in differing)
        raise CheckpointError(f"the weights of {source} do not fit a model of {wanted}; take {options}, as they have")
    stored = checkpoint.weights()
    own = dict(model.state_dict(keep_vars=True))
    taken = [name for name in own if name in stored and stored[name].shape == own[name].shape]
    absent = [name for name in own if name not in taken]
    if any(not name.startswith("coupling.") for name in absent):
        raise CheckpointError(f"{checkpoint.path} lacks weights of the fast path: {', '.join(absent)}")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(stored[name])
    left = [name for name in stored if name not in taken]
    return Inherited(Path(source), checkpoint.step, _parts(absent), _parts(left))


def _parts(names: list[str]) -> tuple[str, ...]:
    """The first two words of each name: coupling.slow, coupling.gate, …"""
    return tuple(sorted({".".join(name.split(".")[:2]) for name in names}))
