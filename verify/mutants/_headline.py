"""Looks of the headline: `verify.manifold_gap.measure` on small inputs, of the clock, the ODE and sampled states."""

from __future__ import annotations

from typing import Any

from verify.mutants import Look

SMALL: dict[str, Any] = {"train_pairs": 400, "test_points": 60}
CLAIM = "learned_manifold_approaches"


def measured(system: Any, periods: tuple[int, ...], **options: Any) -> tuple[str, str]:
    """(verdict, reason) of one measurement."""
    from verify.manifold_gap import measure

    found = measure(system, periods, **(SMALL | options))
    return str(found.verdict), found.reason


TWO = Look("two_state, clock", lambda: measured("two_state", (64, 512, 4096)))
RING = Look("driven_cycle, clock", lambda: measured("driven_cycle", (64, 512, 4096)))
EULER = Look("two_state, Euler clock", lambda: measured("two_state", (64, 512, 4096), kernel="euler"))
ODE = Look("two_state, ode", lambda: measured("two_state", (256, 1024, 4096), observe="ode", test_points=12))
JUMPS = Look("two_state, jumps", lambda: measured("two_state", (64, 128, 256, 512), observe="jumps", samples=10**11))
