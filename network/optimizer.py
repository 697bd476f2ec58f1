"""AdamW with weight decay on the matrices alone, and the arithmetic that a dtype asks for.

A decayed gate would be pulled shut whatever the data say, so gates (parameters with `gate` in their name) have no
decay, nor have vectors such as the scales of RMSNorm.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from network.training_config import TrainConfig


def gate_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The gates of a model, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if "gate" in name}


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that require gradients, in two groups: decayed and not.

    Gates with a rate of their own are a third group, marked `gate`.
    """
    gates = {id(gate) for gate in gate_parameters(model).values()}
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in gates]
    spared = [p for p in trained if p.ndim < 2 or id(p) in gates]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    if training.gate_rate != 1.0 or training.gate_warmup:
        groups[1]["params"] = [p for p in spared if id(p) not in gates]
        groups.append({"params": [p for p in spared if id(p) in gates], "weight_decay": 0.0, "gate": True})
    return torch.optim.AdamW(
        groups,
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic for the length of a block where `dtype` asks for it."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
