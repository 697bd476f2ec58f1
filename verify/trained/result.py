"""What one trained model left behind, as every study and claim reads it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class TrainedCell:
    """One trained model: losses on the validation split in nats per token, and what its gate is.

    closed_gate_loss: with the gate shut after training. gate: mean |α|. feedback_ratio: what the slow path adds, over
    the stream that it is added to. path: the same figures along training, each with its `tokens`.
    """

    period: int
    arm: str
    seed: int
    validation_loss: float
    closed_gate_loss: float | None
    gate: float | None
    feedback_ratio: float | None
    path: tuple[dict[str, Any], ...]
    parameters: int
    seconds: float

    @classmethod
    def of(cls, result: dict[str, Any], period: int) -> TrainedCell:
        """From what `verify.trained.cell.train_cell` returns; period: of the study, also where the arm has none."""
        names = [field.name for field in fields(cls) if field.name not in ("period", "path")]
        return cls(period=period, path=tuple(result["path"]), **{name: result[name] for name in names})
