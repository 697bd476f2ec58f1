"""A fast-slow system as machine code: A(y), g(x, y) and their derivatives, captured once from the functions as written.

`captured(system, …)` runs generator and slow once on one point, takes down what they compute (`theory.captured.trace`)
and compiles it (`theory.captured.native`), so that a step of an integration costs kernels and not the dispatch of
torch. What cannot be taken down (branches on values, random numbers, parameters that require a gradient, operations
without an entry in the table, more than some ten thousand expressions) stays with torch: the result is then None.

A capture is a photograph: functions may depend on what changes later. Whoever uses one compares it with torch before
and after (`agrees`), and forgets it where they differ (`forget`).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from theory.captured.arrays import Untraceable
from theory.captured.scalars import Graph
from theory.captured.trace import trace
from theory.fast_slow import FastSlowSystem

if TYPE_CHECKING:
    from theory.captured.native import Compiled

MOST = 20_000  # expressions in one graph
_AGREEMENT = 1e-11  # another order of the same operations, relative to the largest entry


@dataclass(frozen=True)
class Recorded:
    """What generator and slow compute, as expressions; `functions` are the arguments of `compile_graph`."""

    n: int
    m: int
    linear_in_x: bool
    functions: dict[str, tuple[Graph, Sequence[Any], int, int]]


def record(system: FastSlowSystem) -> Recorded:
    """A, g and their derivatives, taken down at one point; `Untraceable`, or what the functions raise there."""
    n, m = system.n_states, system.n_slow
    y = 0.5 * (system.low + system.high).cpu()
    x = torch.full((n,), 1.0 / n, dtype=torch.float64)
    of_y, of_both = Graph(m, MOST), Graph(n + m, MOST)
    A = trace(system.generator, of_y, y)
    g = trace(system.slow, of_both, x, y)
    if A.shape != (n, n) or g.shape != (m,):
        raise Untraceable(f"its shapes are {A.shape} and {g.shape}")
    rates, drift = [of_y.number(e) for e in A.reshape(-1)], [of_both.number(e) for e in g]
    slopes = [of_both.derivative(drift, k) for k in range(n + m)]
    dg = [slopes[k][i] for i in range(m) for k in range(n + m)]
    dA = [entry for k in range(m) for entry in of_y.derivative(rates, k)]
    linear_in_x = not any(of_both.depends(e, range(n)) for i in range(m) for e in dg[i * (n + m) :][:n])
    functions: dict[str, tuple[Graph, Sequence[Any], int, int]] = {
        "A": (of_y, rates, n + m, n),
        "g": (of_both, drift, n + m, 0),
        "dA": (of_y, dA, n + m, n),
        "dg": (of_both, dg, n + m, 0),
    }
    return Recorded(n, m, linear_in_x, functions)


class Captured:
    """Machine code of one system. Each function reads points u = (x, y) of n + m numbers.

    `address` holds A -> [n, n], g -> [m], dA -> [m, n, n] (∂A/∂y_k), dg -> [m, n + m].
    """

    n: int
    m: int
    linear_in_x: bool
    code: Compiled
    address: dict[str, Any]

    def __init__(self, recorded: Recorded) -> None:
        from theory.captured.native import compile_graph

        self.n, self.m = recorded.n, recorded.m
        self.linear_in_x = recorded.linear_in_x
        self.code = compile_graph(recorded.functions)
        self.address = self.code.address

    def values(self, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(A[B, n, n], g[B, m]) at x[B, n], y[B, m]."""
        u = np.ascontiguousarray(torch.cat([x, y], -1).detach().cpu().numpy())
        A, g = np.empty((len(u), self.n, self.n)), np.empty((len(u), self.m))
        self.code.call("A", u, A)
        self.code.call("g", u, g)
        return A, g

    def derivatives(self, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(∂_{y_k} A [B, m, n, n], ∂_x g [B, m, n], ∂_y g [B, m, m]) at x[B, n], y[B, m]."""
        u = np.ascontiguousarray(torch.cat([x, y], -1).detach().cpu().numpy())
        dA, dg = np.empty((len(u), self.m, self.n, self.n)), np.empty((len(u), self.m, self.n + self.m))
        self.code.call("dA", u, dA)
        self.code.call("dg", u, dg)
        return dA, np.ascontiguousarray(dg[..., : self.n]), np.ascontiguousarray(dg[..., self.n :])

    def agrees(self, x: Tensor, y: Tensor, A: Tensor, g: Tensor) -> bool:
        """Whether A[B, n, n] and g[B, m], from torch at x[B, n] and y[B, m], are what the machine code gives."""
        for mine, theirs in zip(self.values(x, y), (A, g), strict=True):
            other = theirs.detach().cpu().numpy()
            scale = np.nanmax(np.abs(other), initial=0.0)
            if not np.allclose(mine, other, rtol=1e-9, atol=_AGREEMENT * scale, equal_nan=True):
                return False
        return True


_CAPTURES: weakref.WeakKeyDictionary[Any, dict[Any, Captured | None]] = weakref.WeakKeyDictionary()


def captured(system: FastSlowSystem) -> Captured | None:
    """The machine code of `system`, from its functions' first use on; None where they cannot be captured.

    Where they can and the compiler fails, there is a RuntimeWarning that says so.
    """
    kept = _kept(system)
    key = _key(system)
    if key not in kept:
        try:
            recorded = record(system)
        except Exception:  # whatever a user's function does on a single point, torch will meet it and say so
            kept[key] = None
        else:
            kept[key] = _compiled(recorded)
    return kept[key]


def _compiled(recorded: Recorded) -> Captured | None:
    try:
        return Captured(recorded)
    except Exception as error:  # numba and llvmlite that do not fit each other: slower, never wrong, and not unsaid
        reason = str(error).partition("\n")[0]
        warnings.warn(
            f"the system cannot be compiled ({type(error).__name__}: {reason}); torch integrates it, more slowly: "
            "see that numba works here (`python -m numba -s`)",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def forget(system: FastSlowSystem) -> None:
    """Leave `system` to torch: its functions do not always compute what was captured."""
    _kept(system)[_key(system)] = None


def _kept(system: FastSlowSystem) -> dict[Any, Captured | None]:
    try:
        return _CAPTURES.setdefault(system.generator, {})
    except TypeError:  # cannot be referred to weakly, or has no hash
        return system.__dict__.setdefault("_captured", {})


def _key(system: FastSlowSystem) -> Any:
    try:
        return weakref.ref(system.slow), system.n_states, system.n_slow
    except TypeError:
        return id(system), system.n_states, system.n_slow
