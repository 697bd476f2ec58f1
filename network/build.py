"""The model that a configuration asks for."""

from __future__ import annotations

import torch

from network.config import FastSlowConfig
from network.generator_lm import GeneratorLM
from network.model import FastSlowLM


def build_model(config: FastSlowConfig, *, generator: torch.Generator | None = None) -> FastSlowLM | GeneratorLM:
    """A `GeneratorLM` for arm `generator`, else a `FastSlowLM`; generator: what the weights are drawn from."""
    kind = GeneratorLM if config.arm == "generator" else FastSlowLM
    return kind(config, generator=generator)
