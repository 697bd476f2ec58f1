"""Two states, one slow variable: the smallest system on which every formula can be checked by hand.

Rates a(y) = 1 + y for 0 -> 1 and b = 2 − y for 1 -> 0 on y in [0, 1]: p_st = (b, a)/(a + b) = (2 − y, 1 + y)/3,
spectral gap a + b = 3. The slow variable relaxes towards the occupation of state 1: dy/dt = x₁ − y, with fixed point
y = 1/2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 2, 2] = [[−a, b], [a, −b]]."""
    a, b = 1.0 + y[..., 0], 2.0 - y[..., 0]
    return torch.stack([torch.stack([-a, b], -1), torch.stack([a, -b], -1)], -2)


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 1] = x₁ − y."""
    return x[..., 1:2] - y


def stationary(y: Tensor) -> Tensor:
    """p_st(y)[..., 2] = (2 − y, 1 + y)/3."""
    return torch.cat([2.0 - y, 1.0 + y], -1) / 3.0


def spectral_gap(y: Tensor) -> Tensor:
    """a + b = 3, whatever y: [...]."""
    return torch.full_like(y[..., 0], 3.0)


def system() -> FastSlowSystem:
    """The two-state system on y in [0, 1]."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=2,
        n_slow=1,
        low=0.0,
        high=1.0,
        name="two_state",
        stationary=stationary,
        spectral_gap=spectral_gap,
        reversible=True,
        remarks="closed form throughout; relaxes within 1/3 of a time unit for every y",
    )
