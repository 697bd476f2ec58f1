"""Sizes that are known to work together, by name: `python -m network.train --preset small`.

Options given beside a preset win over it. `tiny` trains in minutes on one CPU core, `small` in an hour or so there and
in a minute on a GPU; `124M` has the width, depth, heads and vocabulary of GPT-2 small (Radford et al., 2019), here with
rotary positions, and is for one GPU or several (docs/scaling.md).
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"n_layer": 2, "n_embd": 64, "n_head": 4, "block_size": 128, "tokens": 200_000, "batch_size": 8},
    "small": {
        "n_layer": 6,
        "n_embd": 384,
        "n_head": 6,
        "block_size": 256,
        "tokens": 10_000_000,
        "batch_size": 32,
        "micro_batch": 32,
        "learning_rate": 1e-3,
        "warmup": 0.05,
        "final": 0.1,
    },
    "124M": {
        "n_layer": 12,
        "n_embd": 768,
        "n_head": 12,
        "block_size": 1024,
        "bpe": 50_257,
        "tokens": 2_500_000_000,
        "batch_size": 480,
        "micro_batch": 20,
        "learning_rate": 6e-4,
        "warmup": 0.02,
        "final": 0.1,
        "beta2": 0.95,
        "dtype": "bfloat16",
        "compile": True,
    },
}
