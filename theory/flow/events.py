"""Events: the first time at which a function of (x, y) passes through zero, on the polynomial of each step.

Every accepted step is looked at in nine equally spaced points of its collocation polynomial, and where two neighbours
have values of different sign the zero between them is bisected to rounding. A function that changes sign twice between
two neighbours is not seen: `max_step` makes steps shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.errors import FastSlowSystemError
from theory.fast_slow import FastSlowSystem

_PARTS = np.linspace(0.0, 1.0, 9)
_BISECTIONS = 60


class Watch:
    """The event of a batch of trajectories; `found[B]`, and where: `time[B]`, `state[B, n + m]` (NaN elsewhere)."""

    found: np.ndarray
    time: np.ndarray
    state: np.ndarray

    def __init__(self, system: FastSlowSystem, event: Callable[[Tensor, Tensor], Tensor], u: np.ndarray) -> None:
        self.system, self.event = system, event
        self.found = np.zeros(len(u), bool)
        self.time = np.full(len(u), np.nan)
        self.state = np.full(u.shape, np.nan)
        self._start = np.zeros(len(u))
        self._accepted = np.zeros(len(u), np.int64)
        self._sign = np.sign(self._values(u))

    def look(self, state: Any, kernel: Any, tableau: Any) -> None:
        """Look at the steps accepted since last time, at most one for each trajectory."""
        accepted, now = state.whole[:, kernel.ACCEPTED], state.real[:, kernel.TIME]
        new = np.flatnonzero((accepted > self._accepted) & ~self.found)
        if not len(new):
            return
        start = self._start[new]
        running = state.whole[new, kernel.CODE] == kernel.RUNNING
        length = np.where(running, now[new] - start, state.real[new, kernel.STEP])
        parts = np.broadcast_to(_PARTS, (len(new), len(_PARTS)))
        values = self._values(_at(state.points[new], tableau, parts))
        for q, r in enumerate(new):
            for j in range(1, len(_PARTS)):
                sign = np.sign(values[q, j])
                if sign == self._sign[r] or (self._sign[r] == 0 and sign != 0):
                    self._sign[r] = sign
                elif self._sign[r] != 0:
                    part = self._zero(state.points[r], tableau, _PARTS[j - 1], _PARTS[j], self._sign[r])
                    time = start[q] + part * length[q]
                    if time <= now[r]:  # else y left the box before
                        self.found[r], self.time[r] = True, time
                        self.state[r] = _at(state.points[r][None], tableau, np.array([[part]]))[0, 0]
                    break
        self._accepted[new] = accepted[new]
        self._start[new] = now[new]

    def _zero(self, points: np.ndarray, tableau: Any, before: float, after: float, sign: float) -> float:
        for _ in range(_BISECTIONS):
            middle = 0.5 * (before + after)
            here = np.sign(self._values(_at(points[None], tableau, np.array([[middle]])))[0, 0])
            before, after = (middle, after) if here == sign else (before, middle)
        return after

    def _values(self, u: np.ndarray) -> np.ndarray:
        n = self.system.n_states
        x, y = torch.from_numpy(np.ascontiguousarray(u[..., :n])), torch.from_numpy(np.ascontiguousarray(u[..., n:]))
        y = self.system.held(y)
        value = self.event(x, y)
        if not isinstance(value, Tensor) or value.shape != x.shape[:-1]:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise FastSlowSystemError(
                f"event(x, y) must be a tensor of shape {list(x.shape[:-1])} for x of shape {list(x.shape)}, got "
                f"{got}; index the last axis alone, as in event=lambda x, y: x[..., 0] - 0.5"
            )
        bad = ~torch.isfinite(value)
        if bool(bad.any()):
            raise FastSlowSystemError(
                f"event(x, y) is {float(value[bad][0])} at x = {x[bad][0].tolist()}, y = {y[bad][0].tolist()}; give a "
                "function that is finite on the simplex and the box"
            )
        return value.detach().numpy().astype(np.float64)


def _at(points: np.ndarray, tableau: Any, parts: np.ndarray) -> np.ndarray:
    """The polynomials through points[R, s + 1, N] at parts[R, K] of their steps: [R, K, N]."""
    gaps = parts[..., None] - tableau.ends
    hit = gaps == 0.0
    weights = tableau.barycentric / np.where(hit, 1.0, gaps)
    weights = np.where(hit.any(-1, keepdims=True), hit, weights)
    return np.einsum("rks,rsn->rkn", weights / weights.sum(-1, keepdims=True), points)
