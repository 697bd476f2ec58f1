"""The reduced flow: the slow variable on the slow manifold, at a cost that does not depend on ε.

    order 0:  ẏ = g(p_st(y), y),                   x = p_st(y)                 error O(ε)   (Tikhonov 1952)
    order 1:  ẏ = g(p_st(y) + ε φ₁(y), y),         x = p_st(y) + ε φ₁(y)       error O(ε²)  (O'Malley 1991, ch. 2)

with φ₁ = A^# Dp_st[g(p_st, y)]. Order 1 holds only together with the shift of the start value by the boundary layer,
y(t₀) = y₀ + ε S(x₀, y₀) (`theory.flow.layer_shift`); either correction alone leaves the error at O(ε). The error
statements are uniform on [t₁, T] for any t₁ > t₀: inside the layer, of width ε over the spectral gap, this is the
*outer* solution, which starts at the shifted value and on the manifold.

The reduced flow is not stiff. It is integrated with torchdiffeq and differentiable with respect to y0, x0, eps and
whatever A and g depend on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_float64, check_positive, check_simplex, check_vectors
from theory.errors import NumericalError, Status
from theory.fast_slow import FastSlowSystem
from theory.flow.explicit import integrate_explicit
from theory.flow.layer_shift import layer_shift
from theory.flow.problem import check_times
from theory.flow.trajectory import Stats
from theory.manifold.orders import check_eps, first_order
from theory.stationary.distribution import stationary_distribution


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedTrajectory:
    """y[..., k, m] and x[..., k, n] at the times t[k]; `...` is the batch of y0 and eps.

    `status` is LEFT_DOMAIN if some y left the system's box, SUCCESS otherwise. A y that left is NaN from then on, and
    so is x; a start that lies outside itself, by the shift of the boundary layer, is given. `end[...]` is the last end
    of a step at which y was inside (the first time for a start outside).

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> reduced = theory.reduced_flow(system, system.uniform(1, seed=0)[0], [0.0, 1.0], order=1, eps=0.01)
        >>> reduced.x.shape, reduced.y.shape, reduced.status is theory.Status.SUCCESS
        (torch.Size([2, 2]), torch.Size([2, 1]), True)
    """

    t: Tensor
    x: Tensor
    y: Tensor
    end: Tensor
    order: int
    status: Status
    stats: Stats


def reduced_flow(
    system: Any,
    y0: Any,
    t: Any,
    *,
    order: Any = 0,
    eps: Any = None,
    x0: Any = None,
    rtol: float = 1e-9,
    atol: float = 1e-12,
) -> ReducedTrajectory:
    """The slow flow from y0[..., m] at t[0], at the times t[k]; order 0 or 1 in ε.

    Order 1 needs eps[...]; x0[..., n], the fast state at t[0], adds the shift by the boundary layer (without it y0 is
    taken as a point on the slow manifold). Order 0 uses neither. Raises `ValueError` for bad input and
    `NumericalError` where the integration fails; `GeneratorError` where A(y) is not a generator in the box.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> full = theory.simulate(system, [1.0, 0.0], y0, [0.0, 1.0], 1e-3)
        >>> reduced = theory.reduced_flow(system, y0, [0.0, 1.0])
        >>> bool((full.y - reduced.y).abs().max() < 1e-2)  # O(ε)
        True
    """
    if not isinstance(system, FastSlowSystem):
        raise ValueError(f"system must be a theory.FastSlowSystem, got {type(system).__name__}")
    if isinstance(order, bool) or not isinstance(order, Integral) or order not in (0, 1):
        raise ValueError(f"order must be 0 or 1, got {order!r}; theory.slow_manifold has the manifold to any order")
    y0 = check_vectors("y0", y0, system.n_slow, f"slow variables of system {system.name!r}")
    rtol, atol = check_positive(rtol, "rtol", below=1.0), check_positive(atol, "atol", below=1.0)
    if not bool(torch.isfinite(y0).all()):
        raise ValueError("y0 must be finite")
    if y0.numel() == 0:
        raise ValueError(f"y0 holds no trajectory: its shape is {list(y0.shape)}")
    times = check_times(t).to(y0.device)
    start_clock = time.perf_counter()
    if order == 0:
        if eps is not None or x0 is not None:
            raise ValueError("order 0 knows neither eps nor x0; leave them out or take order=1")
        start = y0
        system.check_at(start.detach())

        def manifold(y: Tensor) -> Tensor:
            return stationary_distribution(system.A(y))

    else:
        if eps is None:
            raise ValueError("order 1 needs eps")
        eps = check_eps(check_float64("eps", eps), y0)
        start = y0.expand(*check_broadcast(y0=y0.shape[:-1], eps=eps.shape), -1)
        if start.numel() == 0:
            raise ValueError(f"eps holds no value: its shape is {list(eps.shape)}")
        system.check_at(start.detach())
        if x0 is not None:
            x0 = check_vectors("x0", x0, system.n_states, f"states of system {system.name!r}")
            check_simplex("x0", x0)
            start = start.expand(*check_broadcast(x0=x0.shape[:-1], y0=start.shape[:-1]), -1)
            x0 = x0.to(start).expand(*start.shape[:-1], -1)
            start = start + eps[..., None] * layer_shift(system, x0, start)

        def manifold(y: Tensor) -> Tensor:
            return stationary_distribution(system.A(y)) + eps[..., None] * first_order(system, y)

    def field(y: Tensor) -> Tensor:
        y = system.held(y)  # beyond the box A need not be a generator; what is computed there is not shown
        return system.g(manifold(y), y)

    path = integrate_explicit(field, start, times, inside=system.inside, rtol=rtol, atol=atol, method="dopri8")
    y = path.values.movedim(0, -2)
    finite = torch.isfinite(y.detach())
    if not bool(finite.all()):
        first = float(times[int((~finite).movedim(-2, 0).flatten(1).any(1).nonzero()[0])])
        raise NumericalError(f"the reduced flow is not finite at t = {first:.6g}: check g near the last good y")
    x = torch.stack([manifold(system.held(y[..., k, :])) for k in range(len(times))], -2)
    stayed = (times < path.left[..., None])[..., None]
    x = torch.where(stayed, x, torch.nan)
    y = torch.cat([y[..., :1, :], torch.where(stayed, y, torch.nan)[..., 1:, :]], -2)
    return ReducedTrajectory(
        t=times,
        x=x,
        y=y,
        end=path.end,
        order=int(order),
        status=Status.SUCCESS if bool(stayed.all()) else Status.LEFT_DOMAIN,
        stats=Stats(path.evaluations, path.steps, path.refused, time.perf_counter() - start_clock, "dopri8"),
    )
