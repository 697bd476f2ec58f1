"""A hidden layer of tanh units drawn at the data's scale: the basis in which the last layer of φ_θ is solved exactly.

With z = (y − center)/scale in [−1, 1]^m the units are tanh(W z + b), W_ij ~ N(0, σ²), b_i ~ U(−σ, σ). σ sets how fast
the basis varies across the box: small for smooth data, larger where p_st turns sharply with y.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from network import PhiTheta


def draw_features(y: Float[Tensor, "k m"], n_states: int, *, width: int, spread: float, seed: int) -> PhiTheta:
    """A simplex-headed `PhiTheta` whose hidden layer is drawn for the points y, σ = `spread`, and whose last layer is
    zero."""
    low, high = y.amin(0), y.amax(0)
    half = 0.5 * (high - low)
    rng = torch.Generator("cpu").manual_seed(seed)
    phi = PhiTheta(y.shape[-1], n_states, width, 1, "simplex", generator=rng, device=y.device, dtype=y.dtype)
    phi.standardise(0.5 * (low + high), torch.where(half > 0, half, torch.ones_like(half)))
    layer = cast(nn.Linear, phi.hidden[0])
    with torch.no_grad():
        weight = spread * torch.randn(layer.weight.shape, generator=rng, dtype=y.dtype)
        bias = spread * (2.0 * torch.rand(layer.bias.shape, generator=rng, dtype=y.dtype) - 1.0)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        phi.out.weight.zero_()
        phi.out.bias.zero_()
    return phi


def design_matrix(phi: PhiTheta, y: Float[Tensor, "k m"]) -> Float[Tensor, "k w1"]:
    """[tanh features, 1]: [k, width + 1], so that the last layer's weight and bias are one linear unknown."""
    features = phi.features(y).detach()
    return torch.cat([features, torch.ones_like(features[:, :1])], -1)


def set_last_layer(phi: PhiTheta, solution: Float[Tensor, "w1 n"]) -> None:
    """Store a solution of the linear problem, [width + 1, n], as the last layer of φ_θ."""
    with torch.no_grad():
        phi.out.weight.copy_(solution[:-1].T)
        phi.out.bias.copy_(solution[-1])
