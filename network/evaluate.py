"""What is measured of a model while it trains: its validation loss, and how much of it is the coupling's doing.

The loss is the mean cross-entropy per token, in nats, over fixed, disjoint validation windows. Three numbers describe
the coupling: |α|, the mean absolute value of each gate; the norm of what the slow path adds to the stream over the
norm of the stream that it is added to (root mean square over tokens and channels); and the loss with every gate set to
zero, which is that of the fast path alone as trained. The last two are None in the arms `dense` and `frozen`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from network.data import validation_batches
from network.distributed import Processes
from network.generator_lm import GeneratorLM
from network.model import FastSlowLM
from network.optimizer import autocast, gate_parameters

EVAL_BATCH = 16


@dataclass(frozen=True)
class Evaluation:
    """The state of a run after `step` steps; losses in nats per token."""

    step: int
    validation_loss: float
    closed_gate_loss: float | None
    gates: dict[str, float]
    feedback_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields but `step`, each gate under `gate/NAME`."""
        values = asdict(self)
        gates = values.pop("gates")
        values.pop("step")
        return {**values, **{f"gate/{name}": value for name, value in gates.items()}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Evaluation:
        """The evaluation back from its record in the log."""
        gates = {name[5:]: value for name, value in record.items() if name.startswith("gate/")}
        fixed = {name: record[name] for name in ("step", "validation_loss", "closed_gate_loss", "feedback_ratio")}
        return cls(gates=gates, **fixed)


def cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats of logits[B, T, V] on targets[B, T], in float32 at least."""
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return F.cross_entropy(wide.flatten(0, -2), targets.flatten(), reduction=reduction)


def evaluate(
    model: FastSlowLM | GeneratorLM,
    tokens: np.ndarray,
    *,
    step: int,
    limit: int,
    processes: Processes,
    dtype: str = "float32",
) -> Evaluation:
    """Measure `model` on at most about `limit` of the validation `tokens`, its batches dealt out to the processes."""
    sums = torch.zeros(3, dtype=torch.float64)  # tokens, loss, closed-gate loss
    coupled = model.coupling is not None and model.config.arm != "frozen"
    squares = torch.zeros(2, dtype=torch.float64)

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        for index, tensor in enumerate((output, inputs[0])):
            squares[index] += float(tensor.detach().float().square().sum())

    hook = model.coupling.register_forward_hook(record) if model.coupling is not None and coupled else None
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batches = validation_batches(tokens, model.config.block_size, EVAL_BATCH, limit)
            for inputs, targets in islice(batches, processes.rank, None, processes.world):
                inputs, targets = inputs.to(processes.device), targets.to(processes.device)
                with autocast(dtype, processes.device):
                    logits = model(inputs)
                    closed = model(inputs, closed=True) if coupled else logits
                sums[0] += targets.numel()
                sums[1] += float(cross_entropy(logits, targets, "sum"))
                sums[2] += float(cross_entropy(closed, targets, "sum"))
    finally:
        model.train(was_training)
        if hook is not None:
            hook.remove()
    totals = torch.cat([sums, squares])
    count, loss, closed_loss, signal, stream = processes.sum(totals).tolist()
    return Evaluation(
        step=step,
        validation_loss=loss / count,
        closed_gate_loss=closed_loss / count if coupled else None,
        gates={name: float(gate.detach().abs().mean()) for name, gate in gate_parameters(model).items()},
        feedback_ratio=(signal / stream) ** 0.5 if coupled else None,
    )
