"""One check of systems, starts, ε and times for everything that runs a fast-slow system: flow, clock, jumps, manifold.

What would make a method return a wrong answer without noticing is refused here, by the name of the argument.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from theory.arguments import check_broadcast, check_float64, check_simplex
from theory.errors import FastSlowSystemError
from theory.fast_slow import FastSlowSystem
from theory.transforms import plain

_STEP = 1e-6  # of the width of the box, for difference quotients
_DIFFERS = 1e-3  # a quotient from a derivative, relative to the larger one
_POINTS = 3


def check_system(system: Any) -> FastSlowSystem:
    """`system`, or a `ValueError` unless it is a `FastSlowSystem`."""
    if not isinstance(system, FastSlowSystem):
        raise ValueError(
            f"system must be a theory.FastSlowSystem, got {type(system).__name__}; theory.get_system(name) builds one"
        )
    return system


def check_start(system: FastSlowSystem, x0: Any, y0: Any, **others: Tensor) -> tuple[Tensor, Tensor]:
    """x0[..., n] and y0[..., m] as float64 tensors of one batch shape, that of `others` [...] (eps, …) included.

    Raises `ValueError` for another last axis, values that are not finite, an x0 off the simplex, tensors on two
    devices, batch shapes that do not broadcast and an empty batch.
    """
    x, y = check_float64("x0", x0), check_float64("y0", y0)
    for name, value, size in (("x0", x, system.n_states), ("y0", y, system.n_slow)):
        if value.ndim == 0 or value.shape[-1] != size:
            raise ValueError(f"{name} must be [..., {size}] for system {system.name!r}, got {list(value.shape)}")
    if x.device != y.device:
        raise ValueError(f"x0 is on {x.device} and y0 on {y.device}: put both on one device")
    check_simplex("x0", x)
    check_finite("y0", y)
    batch = check_broadcast(x0=x.shape[:-1], y0=y.shape[:-1], **{name: one.shape for name, one in others.items()})
    if 0 in batch:
        raise ValueError(f"{', '.join(['x0', 'y0', *others])} hold no trajectory: their batch shape is {list(batch)}")
    return x.expand(*batch, -1), y.expand(*batch, -1)


def check_finite(name: str, value: Tensor) -> None:
    """`ValueError` unless each value[..., m] is finite."""
    first_bad(name, value, ~torch.isfinite(value), "is not finite")


def check_inside(system: FastSlowSystem, name: str, y: Tensor) -> None:
    """`ValueError` unless each y[..., m] lies in the box."""
    box = f"must lie in the box of {system.name!r}, {system.low.tolist()} to {system.high.tolist()}"
    first_bad(name, y, ~system.inside(y)[..., None], box)


def check_eps(eps: Any, like: Tensor) -> Tensor:
    """eps as a tensor in the dtype and on the device of `like`; `ValueError` unless positive and finite."""
    value = check_float64("eps", eps).to(like)
    bad = ~(torch.isfinite(plain(value)) & (plain(value) > 0))
    if bool(bad.any()):
        index = int(bad.reshape(-1).nonzero()[0])
        where = f" (trajectory {index})" if bad.numel() > 1 else ""
        raise ValueError(f"eps must be positive and finite, got {float(plain(value).reshape(-1)[index])!r}{where}")
    return value


def check_times(t: Any, *, backward: bool = False) -> Tensor:
    """The output times t[k] in float64 on the CPU: at least two, finite, increasing (or, if `backward` may be,
    decreasing); t[0] is the start."""
    times = check_float64("t", t).detach().cpu()
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"t must be a list of at least two times, the first of them the start; got shape {list(times.shape)}"
        )
    if not bool(torch.isfinite(times).all()):
        raise ValueError(f"t must be finite, got {times.tolist()[:6]}")
    forward = -1.0 if backward and bool(times[1] < times[0]) else 1.0
    wrong = ~(forward * times.diff() > 0)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        rule = "increase, or decrease throughout" if backward else "increase"
        raise ValueError(
            f"t must {rule}, but t[{first}] = {float(times[first])!r} is followed by "
            f"t[{first + 1}] = {float(times[first + 1])!r}"
        )
    return times


def evaluate_start(system: FastSlowSystem, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(A(y), g(x, y)) at starts x[B, n], y[B, m], checked: generators, and functions that leave their arguments alone.

    Raises `GeneratorError` naming y where A(y) is none, `FastSlowSystemError` where a function changes what it is
    given.
    """
    given = (x.clone(), y.clone())
    A = system.check_at(given[1])
    unchanged = torch.equal(given[1], y)
    g = system.g(*given)
    for function, argument, now, before in (
        ("generator" if not unchanged else "slow", "y", given[1], y),
        ("slow", "x", given[0], x),
    ):
        if not torch.equal(now, before):
            raise FastSlowSystemError(
                f"{function} of system {system.name!r} changes its argument {argument} in place: the caller's values "
                f"change with it; write {argument} = {argument} + … (a new tensor) or begin with {argument} = "
                f"{argument}.clone()"
            )
    return A, g


_SOUND: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


def check_derivatives(system: FastSlowSystem) -> None:
    """`FastSlowSystemError` where the derivatives of A or g are not those of their values; looked at once per function.

    A function that cuts derivatives (.detach(), .item(), NumPy, torch.as_tensor of Python numbers) has derivative zero
    in silence, and with it φ₁ = 0 and Newton steps that do not converge. One difference quotient shows it.
    """
    try:
        known = _SOUND.setdefault(system.generator, [])
    except TypeError:
        known = []
    if any(one() is system.slow for one in known):
        return
    y = system.low + (system.high - system.low) * torch.tensor([0.37, 0.52, 0.68], dtype=torch.float64)[:, None]
    y = y.expand(_POINTS, system.n_slow)
    count = torch.arange(1.0, system.n_states + 1, dtype=torch.float64)
    x = (count / count.sum()).expand(_POINTS, -1)
    along_y = (system.high - system.low) * (0.6 + 0.4 * torch.cos(torch.arange(system.n_slow, dtype=torch.float64)))
    along_x = torch.full_like(x, 0.5) / count
    _compare(system, "generator", "y", system.A, (y,), (along_y.expand_as(y),))
    _compare(system, "slow", "y", lambda y: system.g(x, y), (y,), (along_y.expand_as(y),))
    _compare(system, "slow", "x", lambda x: system.g(x, y), (x,), (along_x,))
    try:
        known.append(weakref.ref(system.slow))
    except TypeError:
        return


def _compare(system: FastSlowSystem, name: str, argument: str, function: Any, at: Any, along: Any) -> None:
    at, along = at[0].contiguous(), along[0].contiguous()
    try:
        with torch.no_grad():
            value, tangent = jvp(function, (at,), (along,))[:2]
            quotient = (function(at + _STEP * along) - function(at - _STEP * along)) / (2 * _STEP)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, FastSlowSystemError):
            raise
        raise FastSlowSystemError(
            f"{name} of system {system.name!r} has no forward-mode derivative in {argument}: {error}. Compute with "
            f"torch operations on {argument} itself: no .item(), .tolist(), NumPy or branches on its values"
        ) from error
    flat = [one.reshape(_POINTS, -1) for one in (value, tangent, quotient)]
    noise = 1e-15 * flat[0].abs().amax(-1) / _STEP
    off = (flat[1] - flat[2]).abs().amax(-1)
    size = torch.maximum(flat[1].abs().amax(-1), flat[2].abs().amax(-1))
    wrong = (off > _DIFFERS * size + 100 * noise) & torch.isfinite(size)
    if int(wrong.sum()) >= 2:  # at one point it may be a kink
        k = int(wrong.nonzero()[0])
        entry = int((flat[1] - flat[2])[k].abs().argmax())
        raise FastSlowSystemError(
            f"{name} of system {system.name!r} loses its derivative in {argument}: along the box its entry {entry} "
            f"(flat) changes at the rate {float(flat[2][k, entry]):.6g} by a difference quotient and "
            f"{float(flat[1][k, entry]):.6g} by torch. It cuts the derivative: leave out .detach(), .item(), "
            f".tolist(), NumPy and torch.as_tensor of Python numbers; use torch operations on {argument} itself"
        )


def first_bad(name: str, value: Tensor, bad: Tensor, rule: str) -> None:
    """`ValueError` with the first vector of value[..., m] of which an entry is bad[..., 1 or m]."""
    rows = plain(bad).any(-1).reshape(-1)
    if bool(rows.any()):
        index = int(rows.nonzero()[0])
        where = f" (trajectory {index})" if len(rows) > 1 else ""
        raise ValueError(f"{name} {rule}; got {plain(value).reshape(len(rows), -1)[index].tolist()}{where}")
