"""A queue of at most fifteen customers (M/M/1/15, n = 16), one slow variable: the price that it charges.

Customers arrive at λ(y) = 12 e^{−y} and are served one at a time at μ = 6; y is the posted price on [0, 1.5], so the
load λ/μ passes through 1 inside the box. State k is the number of customers. Known exactly (Karlin and McGregor,
Trans. AMS 85, 1957, for the spectrum):

    p_k ∝ (λ/μ)^k,      gap = λ + μ − 2 √(λμ) cos(π/16) = (√λ − √μ)² + 4 √(λμ) sin²(π/32).

The price follows the length of the queue, dy/dt = 1.5 Σ_k k x_k / 15 − y, which keeps [0, 1.5] forward invariant
whatever x is, also under y <- y + h g for h <= 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem
from theory.systems._nearest_neighbour import product_form, tridiagonal

_N = 16
_SERVICE = 6.0


def _arrival(y: Tensor) -> Tensor:
    return 12.0 * torch.exp(-y[..., 0])


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 16, 16], tridiagonal: rate λ(y) up, μ down, per unit of time."""
    arrival = _arrival(y)[..., None].expand(*y.shape[:-1], _N - 1)
    return tridiagonal(arrival, torch.full_like(arrival, _SERVICE))


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 1] = 1.5 Σ_k k x_k / 15 − y."""
    filled = torch.linspace(0.0, 1.0, _N, dtype=y.dtype, device=y.device)
    return 1.5 * (x * filled).sum(-1, keepdim=True) - y


def stationary(y: Tensor) -> Tensor:
    """p_st(y)[..., 16], the truncated geometric distribution of ratio λ(y)/μ."""
    log_load = math.log(12.0 / _SERVICE) - y[..., 0]
    return product_form(log_load[..., None].expand(*y.shape[:-1], _N - 1))


def spectral_gap(y: Tensor) -> Tensor:
    """(√λ − √μ)² + 4 √(λμ) sin²(π/32): [...]."""
    arrival = _arrival(y)
    return (arrival.sqrt() - math.sqrt(_SERVICE)).square() + 4.0 * (arrival * _SERVICE).sqrt() * (
        math.sin(math.pi / (2 * _N)) ** 2
    )


def system() -> FastSlowSystem:
    """The queue on y in [0, 1.5]."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=_N,
        n_slow=1,
        low=0.0,
        high=1.5,
        name="birth_death",
        stationary=stationary,
        spectral_gap=spectral_gap,
        reversible=True,
        remarks=(
            "p_st and spectral gap in closed form; the gap falls to 0.23 at load 1 (y = ln 2), so at step 0.05 a block "
            "needs a period of about 700 to relax there"
        ),
    )
