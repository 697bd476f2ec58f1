"""The result of an integration: the trajectories, how each of them ended, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from theory.errors import Status


class Stats(NamedTuple):
    """What an integration cost, summed over its trajectories."""

    evaluations: int  # points (x, y) at which A and g were evaluated
    steps: int  # accepted
    refused: int  # repeated with a smaller step
    seconds: float
    method: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Trajectories of ε dx/dt = A(y) x, dy/dt = g(x, y) at the times t[k]; `...` is the batch.

    x[..., k, n] and y[..., k, m] are NaN at the times that a trajectory did not reach; `end[...]` is the time that it
    did. Where y left the box, that is the last time at which the method saw it inside: on its dense output, or for
    dopri5 at the end of a step. `status` is SUCCESS if every trajectory reached the last time, otherwise the first
    other way of ending in the batch; `statuses[...]` holds one per trajectory. Where an event was asked for,
    x_event[..., n] and y_event[..., m] are the state at it, at the time `end`; NaN without one.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> found = theory.simulate(system, [1.0, 0.0], system.uniform(1, seed=0)[0], [0.0, 1.0], 0.1)
        >>> found.y.shape, found.status is theory.Status.SUCCESS, found.stats.steps > 0
        (torch.Size([2, 1]), True, True)
    """

    t: Tensor
    x: Tensor
    y: Tensor
    eps: Tensor
    end: Tensor
    status: Status
    statuses: np.ndarray
    stats: Stats
    x_event: Tensor | None = None
    y_event: Tensor | None = None
