"""When a run evaluates and at what rate it learns, over one stretch of steps or several.

A run is one stretch: the rate rises and falls once (training_config.py). A run that is extended, at step s, to more
tokens goes on with a stretch of its own, s … S: the rate rises anew over the same fraction of *these* steps and falls
to the same end (a warm restart: Loshchilov and Hutter, ICLR 2017). The data go on where they were: batch k is a
function of the seed and k alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from network.training_config import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """The stretches of a run, each as (first step, end): the last end is the number of steps of the run."""

    training: TrainConfig
    stretches: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, training: TrainConfig, block_size: int, extensions: Sequence[dict[str, Any]] = ()) -> Schedule:
        """The schedule of a run whose `extensions` say, in order, at which `step` it left how many `tokens` behind."""
        per_step = training.batch_size * block_size
        begins = [0, *(one["step"] for one in extensions)]
        ends = [-(-tokens // per_step) for tokens in (*(one["tokens"] for one in extensions), training.tokens)]
        return cls(training, tuple(zip(begins, ends, strict=True)))

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.stretches[-1][1]

    def rate(self, step: int) -> float:
        """The learning rate of step 0 … steps − 1."""
        begin, end = [one for one in self.stretches if one[0] <= step][-1]
        return self.training.rate(step - begin, end - begin)

    def evaluation_steps(self) -> frozenset[int]:
        """After how many steps to evaluate: evenly spaced over each stretch, `steps` among them."""
        return frozenset(
            begin + k for begin, end in self.stretches for k in self.training.evaluation_steps(end - begin)
        )

    def told(self) -> str:
        """One line for the terminal."""
        begin, end = self.stretches[-1]
        t = self.training
        over = f"over the first {round(t.warmup * (end - begin)):,} of {end - begin:,} steps"
        start = f"from step {begin:,} on, a stretch of its own: the rate" if begin else "the rate"
        return f"{start} rises {over} to {t.learning_rate:g} and falls to {t.final:g} of that"
