"""The gate in front of the fed-back signal: x + unpool(gate(c)), zero at the start unless told otherwise.

Three forms, each one factor and linear in c: a scalar α c, one α per channel, a projection W c. All start at `start`
times the identity, so that they are one map at the start.
At zero the coupled model *is* the dense one, and since c is not zero the gate has a gradient at the first step (the
slow path only from the second on: its gradient carries the gate as a factor). Two such factors in a row never leave
zero, so a gate may not stand behind a map that is zero itself.

A gate hides nothing: 0 · inf is NaN, so a slow path that overflows shows in the loss even while the gate is closed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from network.arguments import Text


class ScalarGate(nn.Module):
    """α c with one number α."""

    alpha: nn.Parameter

    def __init__(self, width: int, start: float = 0.0) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), float(start)))

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> α c."""
        return self.alpha * c


class ChannelGate(nn.Module):
    """α ⊙ c with one α per channel."""

    alpha: nn.Parameter

    def __init__(self, width: int, start: float = 0.0) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((width,), float(start)))

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> α ⊙ c."""
        return self.alpha * c


class ProjectionGate(nn.Module):
    """W c with a d × d matrix W, `start` times the identity at first."""

    weight: nn.Parameter

    def __init__(self, width: int, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(width) * start)

    def forward(self, c: Tensor) -> Tensor:
        """c[..., d] -> W c."""
        return nn.functional.linear(c, self.weight)


_GATES = {"scalar": ScalarGate, "channel": ChannelGate, "projection": ProjectionGate}


def build_gate(name: Text, width: int, start: float = 0.0) -> nn.Module:
    """The gate called `name` for signals of `width` channels; `ValueError` listing the names there are."""
    if name not in _GATES:
        raise ValueError(f"gate must be one of {', '.join(_GATES)}; got {name!r}")
    return _GATES[name](width, start)


def gate_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The gates' parameters within `module`, by name: those, and no others, with `gate` in their name."""
    return {name: parameter for name, parameter in module.named_parameters() if "gate" in name}
