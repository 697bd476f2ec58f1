"""How a training run ends: with a result, or with a loss or gradient that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from network.evaluate import Evaluation
from network.generator_lm import GeneratorLM
from network.model import FastSlowLM
from network.run_report import RunReport


class TrainingDiverged(RuntimeError):
    """A loss or gradient is not finite: `step` (from 1), the `offsets` of its batch, and the last good `checkpoint`."""

    step: int
    offsets: list[int]
    checkpoint: Path | None

    def __init__(self, message: str, step: int, offsets: list[int], checkpoint: Path | None) -> None:
        super().__init__(message)
        self.step, self.offsets, self.checkpoint = step, offsets, checkpoint


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A finished run, or with `stopped` one that was asked to end early.

    losses: the training loss of each step, nats per token. evaluations: see `network.evaluate`. seconds: spent in
    training steps, without evaluations and checkpoints, over all resumptions. run: the folder, if one was written.
    report: what was trained on what. other_seconds: those of evaluations, checkpoints and, where asked for, of
    compiling, over all resumptions.
    """

    model: FastSlowLM | GeneratorLM
    losses: list[float]
    evaluations: list[Evaluation]
    tokens: int
    seconds: float
    stopped: bool
    run: Path | None
    report: RunReport
    other_seconds: dict[str, float]

    @property
    def validation_loss(self) -> float:
        """The loss at the last evaluation, nats per token; NaN if none was reached."""
        return self.evaluations[-1].validation_loss if self.evaluations else math.nan
