"""The slow manifold of a jump process that drives its own y: dy/dt = g(e_s, y), s jumping with rates A(y)/ε.

The densities ρ_i(y, t) of (s = i, y) obey ∂_t ρ = A ρ/ε − Σ_k ∂_k[g_k(e_i, y) ρ_i]. With R = Σ_i ρ_i and E[e_s | y] =
ρ/R (Davis 1984 for the process; Pavliotis & Stuart, *Multiscale Methods*, 2008, ch. 9, for such expansions),

    E[e_s | y] = p + ε A^# ( Dp[ḡ] + (1/R) Σ_k ∂_k[(g_k(e_i, y) − ḡ_k) p_i R] ) + O(ε²),    ḡ = Σ_i p_i g(e_i, y).

The first term is the φ₁ of the ODE when g is linear in x. The second is new: those who carry y forward are not spread
over y as those who carry it back. So learning x from the states that moved y themselves finds another manifold, and
one that depends on how y is distributed. On its *stationary* law the second term is not small: log R varies by 1/ε over
y of order one, the law itself has width √ε around the fixed point, and the mean of |E[e_s | y] − p| falls as √ε, slope
½. Two cases in closed form, both with E[e_s | y] free of ε:

- telegraph: two states of equal rates λ, dy/dt = −y ± 1: R ∝ (1 − y²)^{λ/ε − 1}, E[x₊ | y] = (1 + y)/2, p₊ = ½;
- the built-in `two_state`: R ∝ (y(1 − y))^{1/ε − 1}, E[x₁ | y] = y, p₁ = (1 + y)/3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.func import jvp

from theory.arguments import check_vectors
from theory.chain.inverse import solve_sum_zero
from theory.fast_slow import FastSlowSystem
from theory.kinds import Dense
from theory.stationary.distribution import stationary_distribution


def self_driven_first_order(system: FastSlowSystem, y: Dense, log_density: Callable[[Tensor], Tensor]) -> Tensor:
    """The coefficient of ε [..., n] in E[e_s | y] of the self-driven process, at y[..., m].

    log_density: y[..., m] -> log R(y)[...], up to a constant; a torch function, differentiable. If it depends on ε (a
    stationary law does), the result does too. Raises `ValueError` where log R has another shape or is not finite.

    Examples:
        >>> import theory, torch
        >>> system = theory.get_system("two_state")
        >>> y = system.uniform(3, seed=0)
        >>> theory.self_driven_first_order(system, y, lambda y: torch.zeros(y.shape[:-1], dtype=y.dtype)).shape
        torch.Size([3, 2])
    """
    y = check_vectors("y", y, system.n_slow, "slow variables of the system")
    value = log_density(y)
    if value.shape != y.shape[:-1]:
        raise ValueError(f"log_density(y) must have shape {list(y.shape[:-1])}, got {list(value.shape)}")
    if not bool(torch.isfinite(value).all()):
        where = y[~torch.isfinite(value)].reshape(-1, y.shape[-1])[0].tolist()
        raise ValueError(f"log_density is not finite at y = {where}: E[e_s | y] has no meaning where R vanishes")
    system.check_at(y.detach())
    p, drift = _along(lambda y: stationary_distribution(system.A(y)), y, _mean_velocity(system, y))
    for k in range(system.n_slow):
        along = torch.zeros_like(y)
        along[..., k] = 1.0
        flux, spread = _along(lambda y, k=k: _excess_flux(system, y)[..., k], y, along)
        _, slope = _along(log_density, y, along)
        drift = drift + spread + flux * slope[..., None]
    return solve_sum_zero(system.A(y), drift, p)


def _along(f: Callable[[Tensor], Tensor], y: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    """f(y), and how it changes when y moves at `velocity`."""
    value, change = cast(tuple[Tensor, Tensor], jvp(f, (y,), (velocity,)))
    return value, change


def _vertex_velocities(system: FastSlowSystem, y: Tensor) -> Tensor:
    """g(e_i, y) [..., n, m]."""
    vertices = torch.eye(system.n_states, dtype=y.dtype, device=y.device)
    here = y[..., None, :].expand(*y.shape[:-1], system.n_states, system.n_slow)
    return system.g(vertices.expand(*y.shape[:-1], -1, -1), here)


def _mean_velocity(system: FastSlowSystem, y: Tensor) -> Tensor:
    """ḡ = Σ_i p_i g(e_i, y) [..., m]; g(p, y) if g is linear in x."""
    p = stationary_distribution(system.A(y))
    return (p[..., :, None] * _vertex_velocities(system, y)).sum(-2)


def _excess_flux(system: FastSlowSystem, y: Tensor) -> Tensor:
    """(g_k(e_i, y) − ḡ_k) p_i [..., n, m]: of sum zero over i."""
    p = stationary_distribution(system.A(y))
    velocity = _vertex_velocities(system, y)
    return (velocity - (p[..., :, None] * velocity).sum(-2, keepdim=True)) * p[..., :, None]
