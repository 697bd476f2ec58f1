"""A driven ring of five states, two slow variables: the smallest chain that carries a current. Default of the headline.

State k jumps forward, k -> k + 1 (mod 5), at a_k(y) and back, k + 1 -> k, at b_k(y), with θ_k = 2πk/5:

    ln a_k = ln 5 + 0.7 (y₁ cos θ_k + y₂ sin θ_k),      ln b_k = 0.5 (y₁ sin 2θ_k − y₂ cos 2θ_k).

p_st is exact: the spanning trees of a ring are the ring with one edge cut, so by the matrix-tree theorem (Hill, J.
Theor. Biol. 10, 442, 1966) p_i is proportional to a sum of five products of four rates, with no subtraction anywhere.
Around the ring Π a_k / Π b_k = 5⁵ for every y, hence never detailed balance (Kolmogorov's criterion).

The slow variables rotate on an attracting limit cycle that the fast state pushes:

    dy/dt = (0.4 − |y|²) y + 1.1 (−y₂, y₁) + 0.25 Σ_k x_k (cos θ_k, sin θ_k),

so that g, and with it the O(ε) gap, does not die out. On a face of the box [−1, 1]² the normal component of g is at
most −0.6 + 1.1²/4 + 0.25 < 0 whatever x is, so the box is forward invariant, also under y <- y + h g for h <= 0.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem

_N = 5
_ANGLES = tuple(2.0 * math.pi * k / _N for k in range(_N))


def rates(y: Tensor) -> tuple[Tensor, Tensor]:
    """Forward a_k(y)[..., 5] of k -> k + 1 and backward b_k(y)[..., 5] of k + 1 -> k, per unit of time."""
    theta = torch.tensor(_ANGLES, dtype=y.dtype, device=y.device)
    y1, y2 = y[..., 0, None], y[..., 1, None]
    forward = 5.0 * torch.exp(0.7 * (y1 * theta.cos() + y2 * theta.sin()))
    backward = torch.exp(0.5 * (y1 * (2.0 * theta).sin() - y2 * (2.0 * theta).cos()))
    return forward, backward


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 5, 5] with A_{k+1,k} = a_k and A_{k,k+1} = b_k, indices mod 5."""
    forward, backward = rates(y)
    up = torch.diag_embed(forward).roll(1, -2)
    down = torch.diag_embed(backward).roll(1, -1)
    return up + down - torch.diag_embed(forward + backward.roll(1, -1))


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 2]: the limit cycle of the module docstring, pushed by the mean direction of x[..., 5]."""
    theta = torch.tensor(_ANGLES, dtype=y.dtype, device=y.device)
    push = torch.stack([(x * theta.cos()).sum(-1), (x * theta.sin()).sum(-1)], -1)
    turned = torch.stack([-y[..., 1], y[..., 0]], -1)
    return (0.4 - y.square().sum(-1, keepdim=True)) * y + 1.1 * turned + 0.25 * push


def stationary(y: Tensor) -> Tensor:
    """p_st(y)[..., 5]: p_i ∝ Σ_d (a_{i−1} … a_{i−d}) (b_i … b_{i+3−d}), d = 0 … 4 (matrix-tree theorem)."""
    forward, backward = rates(y)
    i = torch.arange(_N, device=y.device)[:, None]
    d = torch.arange(_N - 1, device=y.device)
    ones = torch.ones_like(forward)[..., None]
    towards = torch.cat([ones, forward[..., (i - 1 - d) % _N].cumprod(-1)], -1)
    returning = torch.cat([ones, backward[..., (i + d) % _N].cumprod(-1)], -1)
    trees = (towards * returning.flip(-1)).sum(-1)
    return trees / trees.sum(-1, keepdim=True)


def system() -> FastSlowSystem:
    """The driven ring on y in [−1, 1]²."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=_N,
        n_slow=2,
        low=-1.0,
        high=1.0,
        name="driven_cycle",
        stationary=stationary,
        reversible=False,
        remarks=(
            "p_st in closed form (matrix-tree theorem); cycle affinity 5 ln 5 for every y; spectral gap between 4.1 "
            "and 5.2 and exit rates below 16 on the box, so at step 0.05 both kernels apply and blocks settle from "
            "period 64 on"
        ),
    )
