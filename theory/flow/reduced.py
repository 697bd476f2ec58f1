"""The reduced flow: the slow variable on the slow manifold, at a cost that does not depend on ε.

    order 0:  ẏ = g(p_st(y), y),                   x = p_st(y)                 error O(ε)   (Tikhonov 1952)
    order 1:  ẏ = g(p_st(y) + ε φ₁(y), y),         x = p_st(y) + ε φ₁(y)       error O(ε²)  (O'Malley 1991, ch. 2)

with φ₁ = A^# Dp_st[g(p_st, y)] = −A^# A^# (DA[g]) p_st: one derivative of A and two solves. Order 1 holds only together
with the shift of the start value by the boundary layer, y(t₀) = y₀ + ε S(x₀, y₀) (`theory.flow.layer_shift`); either
correction alone leaves the error at O(ε). The error statements are uniform on [t₁, T] for any t₁ > t₀: inside the
layer, of width ε over the spectral gap, this is the *outer* solution, which starts at the shifted value and on the
manifold.

The reduced flow is not stiff. Steps are those of the error control alone and the values at t[k] come from the dense
output: evaluations do not depend on how many there are. Two integrators serve it: DOP853 with its dense output of order
7, compiled, where no derivative is asked for; torchdiffeq (`theory.flow.explicit`) where one is, in y0, x0, eps, t or
whatever A and g depend on.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_integer, check_simplex, check_vectors
from theory.captured import Captured, captured
from theory.errors import NumericalError, Status
from theory.fast_slow import FastSlowSystem
from theory.flow.explicit import integrate_explicit
from theory.flow.layer_shift import layer_shift
from theory.flow.problem import box, check_steps, check_tolerances
from theory.flow.trajectory import Stats
from theory.kinds import Dense, Integer, Numbers, System
from theory.manifold.orders import first_order
from theory.starts import check_derivatives, check_eps, check_finite, check_inside, check_system, check_times
from theory.stationary.distribution import stationary_distribution
from theory.transforms import is_followed

_COMPARED = 32  # starts at which a captured system is compared with its functions
_MOST_NUMBERS = 131_072  # entries of A evaluated in one call, so that they stay in the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedTrajectory:
    """y[..., k, m] and x[..., k, n] at the times t[k]; `...` is the batch of y0 and eps.

    `status` is LEFT_DOMAIN if some y left the system's box, SUCCESS otherwise. A y that left is NaN from then on, and
    so is x; a start that lies outside itself, by the shift of the boundary layer, is given. `end[...]` is the last time
    at which y was seen inside (the first time for a start outside).

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
    system: System,
    y0: Dense,
    t: Dense,
    *,
    order: Integer = 0,
    eps: Numbers | None = None,
    x0: Dense | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    max_step: float = math.inf,
    first_step: float | None = None,
    max_steps: Integer = 100_000,
) -> ReducedTrajectory:
    """The slow flow from y0[..., m] at t[0], at the times t[k], increasing or decreasing; order 0 or 1 in ε.

    Order 1 needs eps[...]; x0[..., n], the fast state at t[0], adds the shift by the boundary layer (without it y0 is
    taken as a point on the slow manifold). Order 0 uses neither. `max_step` and `first_step` in units of t. Raises
    `ValueError` for bad input, `NumericalError` where the integration fails, `GeneratorError` where A(y) is not a
    generator in the box, `FastSlowSystemError` where functions cut their derivatives.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> full = theory.simulate(system, [1.0, 0.0], y0, [0.0, 1.0], 1e-3)
        >>> reduced = theory.reduced_flow(system, y0, [0.0, 1.0])
        >>> bool((full.y - reduced.y).abs().max() < 1e-2)  # O(ε)
        True
    """
    system = check_system(system)
    if isinstance(order, bool) or not isinstance(order, Integral) or order not in (0, 1):
        raise ValueError(f"order must be 0 or 1, got {order!r}; theory.slow_manifold has the manifold to any order")
    y0 = check_vectors("y0", y0, system.n_slow, f"slow variables of system {system.name!r}")
    rtol, atol = check_tolerances(rtol, atol)
    max_step, first_step = check_steps(max_step, first_step)
    max_steps = check_integer(max_steps, "max_steps", least=1)
    check_finite("y0", y0)
    if y0.numel() == 0:
        raise ValueError(f"y0 holds no trajectory: its shape is {list(y0.shape)}")
    times = check_times(t, backward=True)
    given_t = t if isinstance(t, Tensor) and is_followed(t) else None
    clock = time.perf_counter()
    if order == 0:
        if eps is not None or x0 is not None:
            raise ValueError("order 0 knows neither eps nor x0; leave them out or take order=1")
        start, small = y0, None
    else:
        if eps is None:
            raise ValueError("order 1 needs eps")
        small = check_eps(eps, y0)
        if small.numel() == 0:
            raise ValueError(f"eps holds no value: its shape is {list(small.shape)}")
        start = y0.expand(*check_broadcast(y0=y0.shape[:-1], eps=small.shape), -1)
        if x0 is not None:
            x0 = check_vectors("x0", x0, system.n_states, f"states of system {system.name!r}")
            check_simplex("x0", x0)
            start = start.expand(*check_broadcast(x0=x0.shape[:-1], y0=start.shape[:-1]), -1)
            x0 = x0.to(start).expand(*start.shape[:-1], -1)
        small = small.expand(start.shape[:-1])
    check_inside(system, "y0", y0)
    A0 = system.check_at(start.detach())
    check_derivatives(system)
    followed = given_t is not None or any(is_followed(one) for one in (start, small, x0, A0) if one is not None)
    code = None
    if not followed and start.device.type == "cpu":
        code = _agreeing(system, start, A0)
    if x0 is not None and small is not None:
        start = start + small[..., None] * layer_shift(system, x0, start, code)
    if code is not None:
        found = _compiled(system, code, start, small, times, rtol, atol, max_step, first_step, max_steps, clock)
        if found is not None:
            return found
    return _by_torch(system, start, small, times, given_t, rtol, atol, max_step, first_step, max_steps, clock)


def _agreeing(system: FastSlowSystem, y: Tensor, A: Tensor) -> Captured | None:
    """The machine code of `system`, if it computes what its functions do at y[..., m], and nothing of them is being
    differentiated."""
    code = captured(system)
    if code is None:
        return None
    flat, some = y.reshape(-1, system.n_slow), slice(0, _COMPARED)
    flat = flat[some]
    x = torch.full((len(flat), system.n_states), 1.0 / system.n_states, dtype=torch.float64)
    g = system.g(x, flat)
    if is_followed(g):
        return None  # parameters of g
    n = system.n_states
    return code if code.agrees(x, system.held(flat), A.reshape(-1, n, n)[some], g) else None


def _compiled(
    system: FastSlowSystem,
    code: Captured,
    start: Tensor,
    small: Tensor | None,
    times: Tensor,
    rtol: float,
    atol: float,
    max_step: float,
    first_step: float | None,
    max_steps: int,
    clock: float,
) -> ReducedTrajectory | None:
    """The flow of a captured system; None where it must be left to torch: p_st beyond the plain elimination."""
    from theory.flow import explicit_kernels as rk
    from theory.flow import faces
    from theory.flow import reduced_kernels as kernel

    n, m = system.n_states, system.n_slow
    batch = start.shape[:-1]
    y0 = np.array(start.detach().reshape(-1, m).numpy(), order="C")
    b, k = len(y0), len(times)
    eps = np.zeros(b) if small is None else np.array(small.detach().reshape(-1).numpy())
    here = box(system)
    room = kernel.room(n, m, (code.address["A"], code.address["g"], code.address["dA"]))
    backward = bool(times[1] < times[0])
    direction = -1.0 if backward else 1.0
    t = np.ascontiguousarray(direction * (times - times[0]).numpy())
    tableau = rk.tableau("dop853")
    state = rk.blank(y0, tableau, k)
    standing = state.whole[:, rk.CODE]
    outside = ~system.inside(start.detach().reshape(-1, m)).numpy()
    standing[outside] = rk.LEFT_DOMAIN
    flow = kernel.Flow(
        eps=eps,
        direction=direction,
        tolerance=8 * n * np.finfo(float).eps / 2,
        width=np.ascontiguousarray((system.high - system.low).numpy()),
        fraction=0.5 * rtol ** (1 / 8),
        first_step=first_step or 0.0,
        nodes=faces.nodes(8)[0],
        weights=faces.nodes(8)[1],
    )
    control = rk.Control(rtol, atol, max_steps, max_step, t, here.low, here.high)
    x_all = np.full((b, k, n), np.nan)
    rows = np.arange(b)
    while len(rows):
        kernel.run(rows, state, tableau, control, here, room, flow, x_all, 2_000)
        rows = rows[standing[rows] == rk.RUNNING]
    if (standing == rk.REFUSED).any():
        return None
    _raise_if_failed(system, rk, state, times, direction)
    y = np.clip(state.output, here.low, here.high)
    y[outside, 0] = state.output[outside, 0]
    if small is None and not _stationary_at(system, code, y, x_all):
        return None
    left = standing == rk.LEFT_DOMAIN
    end = np.where(left, state.real[:, rk.INSIDE], t[-1])
    values_y, values_x = torch.from_numpy(y), torch.from_numpy(x_all)
    return ReducedTrajectory(
        t=times,
        x=values_x.reshape(*batch, k, n),
        y=values_y.reshape(*batch, k, m),
        end=(times[0] + direction * torch.from_numpy(end)).reshape(batch),
        order=0 if small is None else 1,
        status=Status.LEFT_DOMAIN if left.any() else Status.SUCCESS,
        stats=Stats(
            int(state.whole[:, rk.EVALUATED].sum()),
            int(state.whole[:, rk.ACCEPTED].sum()),
            int(state.whole[:, rk.AGAIN].sum()),
            time.perf_counter() - clock,
            "dop853",
        ),
    )


def _raise_if_failed(system: FastSlowSystem, rk: Any, state: Any, times: Tensor, direction: float) -> None:
    reasons = {
        rk.NOT_FINITE: "A(y) or g(x, y) is not finite beyond it: check g near that y",
        rk.STEP_TOO_SMALL: "the step fell below what the dtype can resolve: A or g is probably discontinuous there",
        rk.MAX_STEPS: "the step limit was reached: raise max_steps or loosen rtol",
    }
    for r in np.flatnonzero(np.isin(state.whole[:, rk.CODE], list(reasons))):
        at = float(times[0]) + direction * float(state.real[r, rk.TIME])
        raise NumericalError(
            f"the reduced flow of system {system.name!r} is not finite or not resolved after t = {at:.6g}, at y = "
            f"{state.y[r].tolist()} (trajectory {r}): {reasons[int(state.whole[r, rk.CODE])]}"
        )


def _stationary_at(system: FastSlowSystem, code: Captured, y: np.ndarray, x: np.ndarray) -> bool:
    """p_st at y[B, k, m] into x[B, k, n] where y is finite, all at once; False where one of them is not that simple."""
    from theory.stationary.dense import gth

    n = system.n_states
    reached = np.isfinite(y).all(-1)
    here = system.held(torch.from_numpy(y[reached])).numpy()
    p = np.empty((len(here), n))
    share = max(1, _MOST_NUMBERS // n**2)
    for first in range(0, len(here), share):
        part = here[first : first + share]
        u = np.concatenate([np.zeros((len(part), n)), part], 1)
        A = np.empty((len(part), n, n))
        code.code.call("A", u, A)
        p[first : first + share], status = gth.solve(A, np.finfo(float).eps / 2)
        if (status != gth.SOLVED).any():
            return False
    x[reached] = p
    return True


def _by_torch(
    system: FastSlowSystem,
    start: Tensor,
    small: Tensor | None,
    times: Tensor,
    given_t: Tensor | None,
    rtol: float,
    atol: float,
    max_step: float,
    first_step: float | None,
    max_steps: int,
    clock: float,
) -> ReducedTrajectory:
    """The flow in torch operations, differentiable."""

    def manifold(y: Tensor) -> Tensor:
        p = stationary_distribution(system.A(y))
        if small is None:
            return p
        return p + small.reshape(*small.shape, *[1] * (y.ndim - small.ndim)) * first_order(system, y)

    def field(y: Tensor) -> Tensor:
        y = system.held(y)  # beyond the box A need not be a generator; what is computed there is not shown
        return system.g(manifold(y), y)

    path = integrate_explicit(
        field,
        start,
        times.to(start.device),
        given_t,
        system=system,
        rtol=rtol,
        atol=atol,
        max_step=max_step,
        first_step=first_step,
        max_steps=max_steps,
    )
    y = path.values
    reached = torch.isfinite(y.detach()).all(-1)
    safe = torch.where(reached[..., None], y, (0.5 * (system.low + system.high)).to(y))
    x = manifold(system.held(safe))
    x = torch.where(reached[..., None], x, torch.nan)
    stayed = bool(reached.all()) and not bool(path.left.any())
    return ReducedTrajectory(
        t=times.to(start.device),
        x=x,
        y=y,
        end=path.end,
        order=0 if small is None else 1,
        status=Status.SUCCESS if stayed else Status.LEFT_DOMAIN,
        stats=Stats(path.evaluations, path.steps, path.refused, time.perf_counter() - clock, "dopri5"),
    )
