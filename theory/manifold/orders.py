"""The slow manifold x = h_ε(y) of ε dx/dt = A(y) x, dy/dt = g(x, y), to any order in ε.

The critical manifold is φ(y) = p_st(y). By Fenichel's theorem (*J. Differential Equations* 31 (1979) 53) it persists
as an invariant manifold h_ε = p_st + ε φ₁ + O(ε²), which solves the invariance equation A h = ε Dh[g(h, y)]. Since
q − p_st = A^# A q for every q of sum one, that equation is the fixed point of

    (R h)(y) = p_st(y) + ε A^#(y) Dh(y)[g(h(y), y)],

and each application of R to p_st gains one order of ε: R p_st = p_st + ε φ₁ with φ₁ = A^# Dp_st[g(p_st, y)], and R^k
p_st is within O(ε^{k+1}) of h_ε. The residual ‖A h − ε Dh g‖₁ shows the same orders without any reference solution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from theory.arguments import check_broadcast, check_integer, check_vectors
from theory.chain.inverse import solve_sum_zero
from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem
from theory.kinds import Dense, Integer, Numbers
from theory.lu import lu_factor_ex
from theory.starts import check_derivatives, check_eps, check_finite, check_inside
from theory.stationary.distribution import stationary_distribution
from theory.transforms import plain

Manifold = Callable[..., Tensor]
_SLOW = "slow variables of the system"


def slow_manifold(system: FastSlowSystem, order: Integer) -> Manifold:
    """h(y[..., m], eps) -> x[..., n], the refinement R^order applied to p_st; its error is O(ε^{order+1}).

    y is float64; `eps` is a positive number or a tensor [...] that broadcasts with y's batch. The directional
    derivatives are nested forward-mode ones, exact but for rounding; cost about doubles with each order. Raises
    `ValueError` for a negative or fractional order, y of another shape or precision and an eps that is not positive and
    finite, `GeneratorError` where A(y) is not a generator.

    Examples:
        >>> import theory
        >>> system = theory.get_system("driven_cycle")
        >>> y = system.uniform(1, seed=0)[0]
        >>> p, h = theory.slow_manifold(system, 0), theory.slow_manifold(system, 1)
        >>> bool(((h(y, 0.01) - p(y, 0.01)) / 0.01 - theory.first_order(system, y)).abs().max() < 1e-10)
        True
    """
    order = check_integer(order, "order")

    def h(y: Any, eps: Any) -> Tensor:
        y = _points(system, y)
        eps = check_eps(eps, y)
        system.check_at(plain(y).reshape(-1, system.n_slow))
        batch = check_broadcast(y=y.shape[:-1], eps=eps.shape)
        return _refine(system, order, eps)(y.expand(*batch, system.n_slow))

    return h


def first_order(system: FastSlowSystem, y: Dense) -> Tensor:
    """φ₁(y)[..., n] = A^# Dp_st[g(p_st, y)]: the slope in ε of the slow manifold at ε = 0, at y[..., m] (float64).

    By Dp_st[v] = −A^# (DA[v]) p_st it is −A^# A^# (DA[g]) p_st: one derivative of A and two solves with one
    factorisation, none through the elimination. Differentiable. Raises as `slow_manifold`.

    Examples:
        >>> import theory
        >>> system = theory.get_system("driven_cycle")
        >>> phi_1 = theory.first_order(system, system.uniform(5, seed=0))
        >>> phi_1.shape, bool(phi_1.sum(-1).abs().max() < 1e-12)  # it moves no mass
        (torch.Size([5, 5]), True)
    """
    y = _points(system, y)
    flat = y.reshape(-1, system.n_slow).contiguous()
    p = stationary_distribution(system.A(flat))
    A, moved = jvp(system.A, (flat,), (system.g(p, flat),))[:2]
    v = -(moved @ p[..., None])[..., 0]
    rate = A.detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    rate = torch.where(rate > 0, rate, 1.0)[..., None, None]
    factors, pivots, info = lu_factor_ex(A - rate * p[..., :, None])
    if bool((plain(info) != 0).any()):
        raise NumericalError(
            f"φ₁ of system {system.name!r} is not determined to working precision: the slowest rate of A is too far "
            "below the others; lump the states that hardly communicate"
        )
    v = v - v.sum(-1, keepdim=True) * p  # rounding, which the solves would keep
    for _ in range(2):
        v = torch.linalg.lu_solve(factors, pivots, v[..., None])[..., 0]
        v = v - v.sum(-1, keepdim=True) * p
    return v.reshape(*y.shape[:-1], system.n_states)


def _points(system: FastSlowSystem, y: Any) -> Tensor:
    """y[..., m], in the box, of a system whose functions keep their derivatives."""
    y = check_vectors("y", y, system.n_slow, _SLOW)
    check_finite("y", y)
    check_inside(system, "y", y)
    check_derivatives(system)
    return y


def invariance_residual(system: FastSlowSystem, h: Manifold, y: Dense, eps: Numbers) -> Tensor:
    """‖A h − ε Dh[g(h, y)]‖₁ [...] of a manifold h(y, eps): zero exactly on an invariant one; needs no reference.

    Examples:
        >>> import theory
        >>> system = theory.get_system("driven_cycle")
        >>> y = system.uniform(1, seed=0)[0]
        >>> r = [theory.invariance_residual(system, theory.slow_manifold(system, k), y, 1e-2).item() for k in range(3)]
        >>> r[0] > 10 * r[1] > 100 * r[2]
        True
    """
    y = check_vectors("y", y, system.n_slow, _SLOW)
    eps = check_eps(eps, y)
    y = y.expand(*check_broadcast(y=y.shape[:-1], eps=eps.shape), -1)
    value, drift = _along_flow(system, lambda y: h(y, eps), y)
    return ((system.A(y) @ value[..., None])[..., 0] - eps[..., None] * drift).abs().sum(-1)


def _refine(system: FastSlowSystem, order: int, eps: Tensor) -> Callable[[Tensor], Tensor]:
    def p_st(y: Tensor) -> Tensor:
        return stationary_distribution(system.A(y))

    if order == 0:
        return p_st
    coarser = _refine(system, order - 1, eps)

    def h(y: Tensor) -> Tensor:
        p = p_st(y)
        _, drift = _along_flow(system, coarser, y)
        return p + eps[..., None] * solve_sum_zero(system.A(y), drift, p)

    return h


def _along_flow(system: FastSlowSystem, h: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    """(h(y), Dh(y)[g(h(y), y)]): the manifold and its rate of change along the slow flow that it induces."""
    y = y.contiguous()  # forward mode writes to the dual of y, which an expanded batch forbids
    velocity = system.g(h(y), y)
    value, tangent = jvp(h, (y,), (velocity,))[:2]
    return value, tangent
