"""The trainable fast-slow language model and the MLP φ_θ that stands for its slow manifold.

Public names are imported at first use, so that `python -m network.generate --help` answers without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from network.config import FastSlowConfig
    from network.model import FastSlowLM
    from network.phi_theta import PhiTheta

_HOME = {
    "FastSlowConfig": "network.config",
    "FastSlowLM": "network.model",
    "PhiTheta": "network.phi_theta",
}

__all__ = ["FastSlowConfig", "FastSlowLM", "PhiTheta"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'network' has no attribute {name!r}; it exports {', '.join(sorted(_HOME))}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
