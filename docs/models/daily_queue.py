"""A queue of at most 20 customers whose load has a daily rhythm; y = (staff, hour of the day).

In physical units: customers come at 6 (1 + 0.5 cos(2π (hour − 14)/24)) per hour and each unit of staff serves 8 per
hour; staff follows the mean queue within half a day. Fast unit 1 hour, slow unit 1 day: ε = 1/24 = 0.042. The hour is a
phase: its box is one period, and midnight is no face.
"""

import math

import torch

import theory

PLACES = 20


def generator(y: torch.Tensor) -> torch.Tensor:
    """A(y)[..., 21, 21] per hour, y = (staff, hour)."""
    staff, hour = y[..., 0, None], y[..., 1, None]
    arrival = 6.0 * (1.0 + 0.5 * torch.cos(2.0 * math.pi * (hour - 14.0) / 24.0))
    ones = torch.ones(PLACES, dtype=y.dtype)
    up = torch.diag_embed(arrival * ones, offset=-1)
    down = torch.diag_embed(8.0 * staff * ones, offset=1)
    return theory.from_rates(up + down)


def slow(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(d staff/dt, d hour/dt) per day."""
    length = (x * torch.arange(PLACES + 1.0, dtype=x.dtype)).sum(-1)
    staff = 2.0 * (0.8 + 0.1 * length - y[..., 0])
    return torch.stack([staff, torch.full_like(staff, 24.0)], -1)


def system() -> theory.FastSlowSystem:
    """On staff in [0.5, 3], which it cannot leave, and the 24 hours of a day."""
    return theory.FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=PLACES + 1,
        n_slow=2,
        low=[0.5, 0.0],
        high=[3.0, 24.0],
        periodic=[False, True],
        name="daily queue",
    )
