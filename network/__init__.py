"""The trainable fast-slow language model and the MLP φ_θ that stands for its slow manifold.

    model = network.load_run("runs/coupled")             a trained model, on the CPU
    tokenizer = network.load_tokenizer("runs/coupled")   text to tokens and back
    network.generate(model, tokens, 100)                 go on with tokens[B, L]
    network.Coupling(config)                             the coupling alone, for a transformer of one's own

Public names are imported at first use, so that `python -m network.generate --help` answers without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from network.config import FastSlowConfig
    from network.generator_lm import GeneratorLM
    from network.model import Coupling, FastSlowLM
    from network.phi_theta import PhiTheta
    from network.run_folder import load_run
    from network.sampling import generate
    from network.tokenizer import load_tokenizer

_HOME = {
    "Coupling": "network.model",
    "FastSlowConfig": "network.config",
    "FastSlowLM": "network.model",
    "GeneratorLM": "network.generator_lm",
    "PhiTheta": "network.phi_theta",
    "generate": "network.sampling",
    "load_run": "network.run_folder",
    "load_tokenizer": "network.tokenizer",
}

__all__ = [
    "Coupling",
    "FastSlowConfig",
    "FastSlowLM",
    "GeneratorLM",
    "PhiTheta",
    "generate",
    "load_run",
    "load_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'network' has no attribute {name!r}; it exports {', '.join(sorted(_HOME))}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
