"""Random configurations and small models for the claims about the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from network import FastSlowConfig, FastSlowLM

COUNT = 100
PERIODS = (1, 2, 3, 4, 5, 8, 16, 32)
GATES = ("scalar", "channel", "projection")


def random_configs(seed: int, *, arms: tuple[str, ...], count: int = COUNT, **fixed: Any) -> Iterator[FastSlowConfig]:
    """`count` configurations: sizes, period, gate, window and T at random (T rarely a multiple of P), arms in turn."""
    import numpy as np

    from network import FastSlowConfig

    rng = np.random.default_rng(seed)
    for number in range(count):
        period = int(rng.choice(PERIODS))
        heads = int(rng.choice((1, 2, 4)))
        values = {
            "vocab_size": int(rng.integers(2, 64)),
            "block_size": period + 1 + int(rng.integers(0, 3 * period + 8)),
            "n_layer": int(rng.integers(1, 4)),
            "n_slow_layer": int(rng.integers(1, 3)),
            "n_embd": heads * 2 * int(rng.integers(1, 5)),
            "n_head": heads,
            "period": period,
            "arm": arms[number % len(arms)],
            "gate": str(rng.choice(GATES)),
            "attention_window": None if rng.random() < 0.5 else int(rng.integers(1, 2 * period + 8)),
        }
        yield FastSlowConfig(**values | fixed)


def model_of(config: FastSlowConfig, seed: int, **changes: Any) -> FastSlowLM:
    """The model of `config` (with `changes`) whose initial weights are drawn from `seed`, float64."""
    from dataclasses import replace

    import torch

    from network import FastSlowLM

    generator = torch.Generator().manual_seed(seed)
    return FastSlowLM(replace(config, **changes), generator=generator).double().eval()
