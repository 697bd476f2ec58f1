"""How a model is trained: one frozen, validated record, saved as JSON beside the weights.

A run takes `steps` = ⌈tokens / (batch_size · block_size)⌉ steps of AdamW (Loshchilov and Hutter, ICLR 2019). The
learning rate rises linearly over the first `warmup` of the run and falls along a half cosine to `final` of its peak.
Weight decay is decoupled and acts on matrices alone: gates, norms and biases have none, since a decayed gate is pulled
shut.

The default peak learning rate is the best of the *dense* arm in the sweep of benchmarks/learning_rate.py; it serves
every arm, so that no arm is tuned better than the baseline.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from network.arguments import Fields, Flag, Integer, Number, Text
from network.defaults import ADDED_TRAINING, FIRST_TRAINING, differing, filled

DTYPES = ("float32", "float64", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """The training of one run.

    tokens: training tokens, at least one batch. batch_size: sequences per step over all processes. micro_batch:
    sequences per backward pass and process, which bounds memory (None: all of a process's rows).
    learning_rate: the peak. warmup, final: fraction of the steps, fraction of the peak. weight_decay, beta1, beta2:
    AdamW's. clip: bound on the 2-norm of the gradient. seed: initial weights and data order. evaluations: how many,
    evenly spaced, the last one after the last step. eval_tokens: validation tokens read at each. checkpoint_every:
    steps between checkpoints. dtype: of weights and arithmetic; `bfloat16` keeps float32 weights and computes under
    autocast. compile: torch.compile.
    gate_rate: the gate's learning rate over that of the rest. gate_warmup: steps over which the gate's rate rises to
    that, on top of the common warm-up. coupling_loss: weight of the coupling's own objective in what is minimised, the
    cross-entropy of the next block's tokens given c alone (`network.coupling_loss`); 0 is the paper's, whose φ_θ hears
    of the loss through the gate only. Arms without a trained coupling have no such term.

    Raises `ValueError` naming the field, its value and the remedy.
    """

    tokens: Integer = 500_000
    batch_size: Integer = 4
    micro_batch: Integer | None = None
    learning_rate: Number = 6e-3
    warmup: Number = 0.4
    final: Number = 0.0
    weight_decay: Number = 0.1
    beta1: Number = 0.9
    beta2: Number = 0.99
    clip: Number = 1.0
    seed: Integer = 0
    evaluations: Integer = 4
    eval_tokens: Integer = 65_536
    checkpoint_every: Integer = 100
    dtype: Text = "float32"
    compile: Flag = False
    gate_rate: Number = 1.0
    gate_warmup: Integer = 0
    coupling_loss: Number = 0.0

    def __post_init__(self) -> None:
        for field, least in (
            ("tokens", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("evaluations", 1),
            ("eval_tokens", 1),
            ("checkpoint_every", 1),
            ("gate_warmup", 0),
        ):
            _integer(field, getattr(self, field), least)
        if self.micro_batch is not None:
            _integer("micro_batch", self.micro_batch, 1)
        for field, low, high in (
            ("learning_rate", 0.0, math.inf),
            ("warmup", 0.0, 1.0),
            ("final", 0.0, 1.0),
            ("weight_decay", 0.0, math.inf),
            ("beta1", 0.0, 1.0),
            ("beta2", 0.0, 1.0),
            ("clip", 0.0, math.inf),
            ("gate_rate", 0.0, math.inf),
            ("coupling_loss", 0.0, math.inf),
        ):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{field} must be a number in [{low:g}, {high:g}], got {value!r}")
        for field in ("learning_rate", "clip"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(f"{field} must be positive and finite, got {getattr(self, field)!r}")
        for field in ("gate_rate", "coupling_loss"):
            if not getattr(self, field) < math.inf:
                raise ValueError(f"{field} must be finite, got {getattr(self, field)!r}")
        if max(self.beta1, self.beta2) >= 1:
            raise ValueError(f"beta1 and beta2 must be below 1, got {self.beta1!r} and {self.beta2!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}")
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False, got {self.compile!r}")

    def steps(self, block_size: int) -> int:
        """How many steps the run takes with sequences of `block_size` tokens."""
        return -(-self.tokens // (self.batch_size * block_size))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 … steps − 1."""
        rising = self.warmup * steps
        if step + 1 < rising:
            return self.learning_rate * (step + 1) / rising
        progress = (step + 1 - rising) / max(steps - rising, 1)
        return self.learning_rate * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress)))

    def gate_factor(self, step: int) -> float:
        """The gate's learning rate over that of the rest, at step 0, 1, …"""
        return self.gate_rate * min(1.0, (step + 1) / (self.gate_warmup + 1))

    def evaluation_steps(self, steps: int) -> frozenset[int]:
        """After how many steps to evaluate; `steps` itself is always among them."""
        return frozenset(max(1, round(steps * k / self.evaluations)) for k in range(1, self.evaluations + 1))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Fields) -> TrainConfig:
        """The record back from `to_dict`, of this version or an older one (network.defaults says what it meant).

        Raises `ValueError` for a field that is unknown, and for one of the first version that is missing.
        """
        return cls(**filled(cls, values, FIRST_TRAINING, ADDED_TRAINING, "a training configuration"))

    def differing(self) -> dict[str, Any]:
        """The fields that differ from their neutral values: what names the training in the key of a cell."""
        return differing(self, FIRST_TRAINING, ADDED_TRAINING)


def _integer(field: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field} must be an integer >= {least}, got {value!r}")
