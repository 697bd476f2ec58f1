"""The gate in front of the fed-back signal: x + unpool(gate(c)), zero at the start.

Three forms, each one factor, zero at the start and linear in c: a scalar α c, one α per channel, a projection W c.
At zero the coupled model *is* the dense one, and since c is not zero the gate has a gradient at the first step (the
slow path only from the second on: its gradient carries the gate as a factor). Two such factors in a row never leave
zero, so a gate may not stand behind a map that is zero itself.

A gate hides nothing: 0 · inf is NaN, so a slow path that overflows shows in the loss even while the gate is closed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ScalarGate(nn.Module):
    """α c with one number α, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> α c."""
        return self.alpha * c


class ChannelGate(nn.Module):
    """α ⊙ c with one α per channel, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> α ⊙ c."""
        return self.alpha * c


class ProjectionGate(nn.Module):
    """W c with a d × d matrix W, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, width))

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> W c."""
        return nn.functional.linear(c, self.weight)


_GATES = {"scalar": ScalarGate, "channel": ChannelGate, "projection": ProjectionGate}


def build_gate(name: Any, width: int) -> nn.Module:
    """The gate called `name` for signals of `width` channels; `ValueError` listing the names there are."""
    if name not in _GATES:
        raise ValueError(f"gate must be one of {', '.join(_GATES)}; got {name!r}")
    return _GATES[name](width)


def gate_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The gates' parameters within `module`, by name: those, and no others, with `gate` in their name."""
    return {name: parameter for name, parameter in module.named_parameters() if "gate" in name}
