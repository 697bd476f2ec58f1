"""Looks of the headline: `verify.manifold_gap.measure` on small inputs, of the clock, the ODE and sampled states."""

from __future__ import annotations

from typing import Any

from verify.mutants import Look

SMALL: dict[str, Any] = {"train_pairs": 400, "test_points": 60}
PERIODS, STEP = (64, 512, 4096), 0.05
_PHI: dict[Any, Any] = {}  # φ_θ by system, period and points: the control comes first, so that no fault is in it
CLAIM = "learned_manifold_approaches"


def measured(system: Any, periods: tuple[int, ...], **options: Any) -> tuple[str, str]:
    """(verdict, reason) of one measurement."""
    from verify.manifold_gap import measure

    found = measure(system, periods, **(SMALL | options))
    return str(found.verdict), found.reason


def given_phi(name: str) -> Any:
    """φ_θ = p_st + the leading term at each period: what a perfect fit would learn, at a fraction of the cost."""

    def at(*, period: int) -> Any:
        from theory import get_system, stationary_distribution
        from theory.clock.settled import settled_gap

        system = get_system(name)

        def phi(y: Any) -> Any:
            asked = (name, period, tuple(y.flatten().tolist()))
            if asked not in _PHI:
                gap = settled_gap(system, y, period=period, step=STEP)
                _PHI[asked] = stationary_distribution(system.A(y)) + gap.leading
            return _PHI[asked]

        return phi

    return at


def _given(name: str) -> Look:
    return Look(f"{name}, φ_θ given", lambda: measured(name, PERIODS, step=STEP, phi_theta=given_phi(name)))


GIVEN, RING = _given("two_state"), _given("driven_cycle")
TWO = Look("two_state, clock", lambda: measured("two_state", PERIODS))
FITTED = Look("driven_cycle, clock", lambda: measured("driven_cycle", PERIODS))
EULER = Look("two_state, Euler clock", lambda: measured("two_state", PERIODS, kernel="euler"))
ODE = Look("two_state, ode", lambda: measured("two_state", (256, 1024, 4096), observe="ode", test_points=12))
JUMPS = Look("two_state, jumps", lambda: measured("two_state", (64, 128, 256, 512), observe="jumps", samples=10**11))
