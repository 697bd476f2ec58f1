"""A random dense chain of any size whose log-rates are affine in y: the generic case, with nothing special about it.

    A_ij(y) = (4/n) exp(B_ij + c_ij · y),    B_ij ~ N(0, 1),  c_ij ~ N(0, 1/m),   y in [−1, 1]^m,

drawn once from `seed` with a generator of its own, in float64: one seed, one system, whatever the global random state
is. The slow variables relax to a random readout, dy/dt = C x − y with |C_ij| <= 1, so the box is forward invariant
whatever x is, also under y <- y + h g for h <= 1. Kolmogorov's criterion fails almost surely once n >= 3; two states
always have detailed balance.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_integer
from theory.fast_slow import FastSlowSystem
from theory.generators.doors import from_rates
from theory.kinds import Integer


def system(*, n_states: Integer = 6, n_slow: Integer = 3, seed: Integer = 0) -> FastSlowSystem:
    """The system drawn from `seed`; raises `ValueError` for n_states < 1, n_slow < 1 or a seed that is no integer."""
    n_states = check_integer(n_states, "n_states", least=1)
    n_slow, seed = check_integer(n_slow, "n_slow", least=1), check_integer(seed, "seed")
    rng = torch.Generator("cpu").manual_seed(seed)
    how: Any = {"generator": rng, "dtype": torch.float64, "device": "cpu"}
    base = torch.randn(n_states, n_states, **how) + math.log(4.0 / n_states)
    slope = torch.randn(n_slow, n_states, n_states, **how) / math.sqrt(n_slow)
    readout = 2.0 * torch.rand(n_slow, n_states, **how) - 1.0

    def generator(y: Tensor) -> Tensor:
        tilt = (y[..., :, None, None] * slope.to(device=y.device, dtype=y.dtype)).sum(-3)
        return from_rates((base.to(device=y.device, dtype=y.dtype) + tilt).exp())

    def slow(x: Tensor, y: Tensor) -> Tensor:
        return (x[..., None, :] * readout.to(device=y.device, dtype=y.dtype)).sum(-1) - y

    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=n_states,
        n_slow=n_slow,
        low=-1.0,
        high=1.0,
        name="random_exponential",
        reversible=n_states <= 2,
        remarks=f"drawn from seed {seed}: n = {n_states}, m = {n_slow}; no closed form, nothing is known but the rates",
    )
