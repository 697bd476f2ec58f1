"""Faults in what theory predicts for the headline: the constant, its sign, its states and points, F, φ₁, and theory's
own A(y) and g."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from verify.mutants import Look, Mutant, replaced
from verify.mutants._headline import CLAIM, EULER, GIVEN, ODE, PERIODS, RING, STEP, given_phi, measured

SETTLED = "theory.clock.settled"


def _leading(change: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[Any]]:
    """The clock's leading term is change(leading)."""

    def changed(honest: Any) -> Any:
        def settled(*given: Any, **options: Any) -> Any:
            found = honest(*given, **options)
            return dataclasses.replace(found, leading=change(found.leading))

        return settled

    return lambda: replaced(("verify.observe.clock:settled_gap", changed))


def _period(change: Callable[[int], float]) -> Callable[[], AbstractContextManager[Any]]:
    """1/P is 1/change(P) in the clock's leading term."""

    def changed(honest: Any) -> Any:
        def settled(*given: Any, period: int, **options: Any) -> Any:
            found = honest(*given, period=period, **options)
            return dataclasses.replace(found, leading=found.leading * period / change(period))

        return settled

    return lambda: replaced(("verify.observe.clock:settled_gap", changed))


def _memory(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """F is change(F, A, p, step)."""

    def changed(honest: Any) -> Any:
        return lambda A, p, step, *, euler=False: change(honest(A, p, step, euler=euler), A, p, step)

    return lambda: replaced((f"{SETTLED}:pooling_memory", changed))


def _without_half(F: Any, A: Any, p: Any, step: float) -> Any:
    import torch

    return F + 0.5 * (torch.eye(A.shape[-1], dtype=A.dtype) - p[..., :, None])


def _without_kernel(F: Any, A: Any, p: Any, step: float) -> Any:
    import torch

    return F + torch.eye(A.shape[-1], dtype=A.dtype) - p[..., :, None]


def _one_entry(F: Any, A: Any, p: Any, step: float) -> Any:
    F = F.clone()
    F[..., 0, 0] = 1.01 * F[..., 0, 0]
    return F


def _at_y_before(honest: Any) -> Any:
    """F is taken at y_before in place of y."""

    def settled(system: Any, y: Any, **options: Any) -> Any:
        from theory.clock.settled import pooling_memory

        found = honest(system, y, **options)
        p, before = system_p(system, y), found.y_before
        F = pooling_memory(system.A(before), system_p(system, before), options["step"], euler=options["euler"])
        leading = (F @ (system_p(system, before) - p)[..., None])[..., 0] / options["period"]
        return dataclasses.replace(found, leading=leading.detach())

    return settled


def _with_p_alone(honest: Any) -> Any:
    """The backward step takes x̄′ for p_st(y′)."""

    def settled(system: Any, y: Any, **options: Any) -> Any:
        found = honest(system, y, **options | {"period": 10**12})
        return dataclasses.replace(honest(system, y, **options), leading=found.leading * (10**12 / options["period"]))

    return settled


def system_p(system: Any, y: Any) -> Any:
    """p_st of the system at y."""
    from theory import stationary_distribution

    return stationary_distribution(system.A(y)).detach()


def _roll(states: bool) -> Callable[[Any], Any]:
    return lambda leading: leading.roll(1, -1 if states else 0)


def _one_state(leading: Any) -> Any:
    leading = leading.clone()
    leading[..., 0] = 1.01 * leading[..., 0]
    return leading


def _one_point(leading: Any) -> Any:
    leading = leading.clone()
    leading[0] = 1.01 * leading[0]
    return leading


def _theory(change: Callable[[Any], Any], *systems: str) -> tuple[Look, ...]:
    """The headline with a theory that is change(system), held against the system's own data."""

    def look(name: str) -> Look:
        def run() -> tuple[str, str]:
            from theory import get_system

            honest = get_system(name)
            return measured(honest, PERIODS, theory_system=change(honest), step=STEP, phi_theta=given_phi(name))

        return Look(f"{name}, another theory", run, GIVEN if name == "two_state" else RING)

    return tuple(look(name) for name in systems)


def _nothing() -> AbstractContextManager[Any]:
    return replaced()


def _shifted(honest: Any) -> Any:
    return dataclasses.replace(honest, generator=lambda y: honest.generator(y + 1e-6))


def _one_rate(honest: Any) -> Any:
    def generator(y: Any) -> Any:
        A = honest.generator(y).clone()
        extra = 0.001 * A[..., 1, 0]
        A[..., 1, 0] = A[..., 1, 0] + extra
        A[..., 0, 0] = A[..., 0, 0] - extra
        return A

    return dataclasses.replace(honest, generator=generator, stationary=None, spectral_gap=None)


def _g(factor: float) -> Callable[[Any], Any]:
    return lambda honest: dataclasses.replace(honest, slow=lambda x, y: factor * honest.slow(x, y))


def _turned(honest: Any) -> Any:
    return dataclasses.replace(honest, slow=lambda x, y: honest.slow(x, y).flip(-1))


def _phi_1(place: str, change: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: replaced((f"{place}:first_order", lambda honest: lambda system, y: change(honest(system, y))))


def _row(id: str, breaks: str, size: str, plant: Any, looks: Any = (GIVEN, RING), **more: Any) -> Mutant:
    return Mutant(id=id, claim=CLAIM, breaks=breaks, part="prediction", size=size, plant=plant, looks=looks, **more)


MUTANTS = (
    _row("predicted_negative", "the leading term has the other sign", "one sign", _leading(lambda v: -v)),
    _row("predicted_0.15%", "the leading term is 0.15 % too large", "0.15 %", _leading(lambda v: 1.0015 * v)),
    _row("predicted_half", "the leading term is half of itself", "a factor of 2", _leading(lambda v: 0.5 * v)),
    _row("predicted_states_rolled", "the states of the leading term are rolled", "one index", _leading(_roll(True))),
    _row("predicted_points_rolled", "its test points are rolled", "one index", _leading(_roll(False))),
    _row("predicted_one_state", "one state of it is 1 % too large", "1 %", _leading(_one_state)),
    _row("predicted_one_point", "it is 1 % too large at a single test point", "1 % of one point", _leading(_one_point)),
    _row("period_plus_1", "1/P is 1/(P + 1)", "one step", _period(lambda P: P + 1)),
    _row("period_minus_1", "1/P is 1/(P − 1)", "one step", _period(lambda P: P - 1)),
    _row("period_squared", "1/P is 1/P²", "one power", _period(lambda P: P * P)),
    _row(
        "memory_at_y_before",
        "K (I − K)^# is taken at y_before",
        "one index",
        lambda: replaced(("verify.observe.clock:settled_gap", _at_y_before)),
        (RING,),
    ),
    _row("memory_without_half", "F lacks its term ½(I − p1ᵀ)", "one term", _memory(_without_half)),
    _row("memory_without_kernel", "F is (I − K)^# without its factor K", "one factor", _memory(_without_kernel)),
    _row(
        "memory_negated_half",
        "F has the sign of its term ½(I − p1ᵀ) wrong on the Euler clock",
        "one sign",
        _memory(_without_kernel),
        (EULER,),
    ),
    _row("memory_one_entry", "one entry of F is 1 % too large", "1 %", _memory(_one_entry)),
    _row(
        "backward_with_p_alone",
        "the backward step takes x̄ for p_st",
        "one order",
        lambda: replaced(("verify.observe.clock:settled_gap", _with_p_alone)),
    ),
    _row(
        "theory_y_plus_1e-6",
        "theory's A is taken at y + 1e-6: a bias that ε does not shrink",
        "1e-6",
        _nothing,
        _theory(_shifted, "two_state", "driven_cycle"),
    ),
    _row(
        "theory_one_rate_0.1%",
        "one rate of theory's A is 0.1 % too large",
        "0.1 %",
        _nothing,
        _theory(_one_rate, "two_state", "driven_cycle"),
    ),
    _row(
        "theory_g_negative",
        "theory's g has the other sign",
        "one sign",
        _nothing,
        _theory(_g(-1.0), "two_state", "driven_cycle"),
    ),
    _row(
        "theory_g_0.1%",
        "theory's g is 0.1 % too large",
        "0.1 %",
        _nothing,
        _theory(_g(1.001), "two_state", "driven_cycle"),
    ),
    _row(
        "theory_g_turned",
        "theory's g has its two components exchanged",
        "one index",
        _nothing,
        _theory(_turned, "driven_cycle"),
    ),
    _row(
        "continuous_twice",
        "φ₁ of the continuous-time constant is twice itself",
        "a factor of 2",
        _phi_1("verify.manifold_gap.step_limit", lambda v: 2.0 * v),
        (GIVEN,),
    ),
    _row(
        "continuous_1%",
        "φ₁ of the continuous-time constant is 1 % too large",
        "1 %",
        _phi_1("verify.manifold_gap.step_limit", lambda v: 1.01 * v),
        (GIVEN,),
    ),
    _row(
        "continuous_negative",
        "φ₁ of the continuous-time constant has the other sign",
        "one sign",
        _phi_1("verify.manifold_gap.step_limit", lambda v: -v),
        (GIVEN,),
    ),
    _row(
        "ode_phi_1_0.2%",
        "φ₁ is 0.2 % too large for the ODE",
        "0.2 %",
        _phi_1("verify.observe.ode", lambda v: 1.002 * v),
        (ODE,),
    ),
    _row(
        "ode_phi_1_negative",
        "φ₁ has the other sign for the ODE",
        "one sign",
        _phi_1("verify.observe.ode", lambda v: -v),
        (ODE,),
    ),
)
