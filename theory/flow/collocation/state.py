"""What the step control of the collocation method keeps, for each trajectory and for all of them.

The numbers of a trajectory stand in real[6] and whole[9], at the places named here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RUNNING, FINISHED, MAX_STEPS, NOT_FINITE, STEP_TOO_SMALL, LEFT_DOMAIN, MASS_DRIFT, NO_GENERATOR = range(8)
NO_LIMIT = 2**62

# real: ε; time and step; the scaled size of the last Newton step; the size of the second Newton step over that of the
# first, per unit of h, when last seen; the last time seen inside the box, not only within the tolerance of it
EPS, TIME, STEP, SIZE, RATE, INSIDE = range(6)
# whole: how it stands (above); Newton steps taken on this step; steps refused since the last accepted one; whether one
# of them for a value that was not finite; whether the derivatives should be refreshed; output times passed; counts
CODE, NEWTON, FAILURES, UNDEFINED, STALE, WRITTEN, ACCEPTED, REFUSED, EVALUATED = range(9)


class State(NamedTuple):
    """Everything that changes: one row per trajectory; N = n + m, times relative to t[0]."""

    real: np.ndarray  # [B, 6]
    whole: np.ndarray  # [B, 9]
    u: np.ndarray  # [B, N], (x, y) at the start of the step
    slope: np.ndarray  # [B, N], du/dt there
    nodes: np.ndarray  # [B, s, N], the current iterate
    points: np.ndarray  # [B, s + 1, N], the polynomial that predicts
    dA: np.ndarray  # [B, m, n, n]
    dg: np.ndarray  # [B, m, N], (∂_x g, ∂_y g)
    LU: np.ndarray  # [B, N, N]
    LZ: np.ndarray  # [B, r, 2, N, N], real and imaginary parts
    output: np.ndarray  # [B, k, N]
    doubt: np.ndarray  # [B, 3], of `theory.flow.faces`


class Room(NamedTuple):
    """Memory for one Newton step."""

    U: np.ndarray  # [s, N]
    R0: np.ndarray  # [s, N]
    R: np.ndarray  # [s, N]
    D: np.ndarray  # [s, N]
    inc: np.ndarray  # [s, N]
    Bx: np.ndarray  # [s, m, n]
    w: np.ndarray  # [2, N]
    scale: np.ndarray  # [N], one over the tolerance
    faces: np.ndarray  # [4, m]


class Control(NamedTuple):
    """What stays fixed: tolerances, limits, output times (relative to the first) and the box of y, ∓inf for phases."""

    rtol: float
    atol: float
    newton_tol: float
    error_factor: float
    growth: float
    inner: int
    max_steps: int
    max_step: float
    pause: bool  # after every accepted step
    t: np.ndarray
    low: np.ndarray
    high: np.ndarray


def room(s: int, n: int, m: int) -> Room:
    """Memory for steps with s nodes."""
    e, N = np.empty, n + m
    nodes = (s, N)
    return Room(e(nodes), e(nodes), e(nodes), e(nodes), e(nodes), e((s, m, n)), e((2, N)), e(N), e((4, m)))
