"""Faults in the pooling, the fit of φ_θ, its floor, its certificate and the points that it is measured at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from verify.mutants import Mutant, replaced
from verify.mutants._headline import CLAIM, FITTED, GIVEN, JUMPS, TWO

PHI_THETA = ("INCONCLUSIVE",)  # theory is not to blame for a φ_θ that misses x̄


def _fit(change: Callable[..., Any], method: str = "varpro") -> Callable[[], AbstractContextManager[Any]]:
    """A fit is change(honest fit, y, x, options)."""

    def changed(honest: Any) -> Any:
        return lambda y, x, **options: change(honest, y, x, options)

    return lambda: replaced((f"verify.fits.{method}:fit", changed))


def _phi(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """φ_θ at the test points is change(φ_θ(y)), on data and on exact pairs alike."""

    def fitted(honest: Any, y: Any, x: Any, options: Any) -> Any:
        found = honest(y, x, **options)
        phi = found.phi_theta
        return dataclasses.replace(found, phi_theta=lambda at: change(phi, at))

    return _fit(fitted)


def _mixed(phi: Any, y: Any) -> Any:
    q = phi(y)
    return 0.99 * q + 0.01 / q.shape[-1]


def _shrunk(phi: Any, y: Any) -> Any:
    """One per cent of the way back to the mean over the points."""
    q = phi(y)
    return 0.99 * q + 0.01 * q.mean(0)


def _next_point(phi: Any, y: Any) -> Any:
    return phi(y.roll(1, 0))


def _one_state(phi: Any, y: Any) -> Any:
    q = phi(y).clone()
    q[..., 0] = 1.01 * q[..., 0]
    return q / q.sum(-1, keepdim=True)


def _rolled_pairs(honest: Any, y: Any, x: Any, options: Any) -> Any:
    return honest(y, x.roll(1, 0), **options)


def _on_exact_pairs(honest: Any) -> Any:
    """φ_θ is trained on p_st(y) itself."""

    def seen(system: Any, period: int, *, count: int, **options: Any) -> Any:
        from theory import stationary_distribution

        found = honest(system, period, count=count, **options)
        training = options["seed"] % 2 == 0
        return dataclasses.replace(found, x=stationary_distribution(system.A(found.y))) if training else found

    return seen


def _other_period(change: Callable[[int], int]) -> Callable[[Any], Any]:
    """The training pairs come from another period."""

    def changed(honest: Any) -> Any:
        def seen(system: Any, period: int, *, seed: int, **options: Any) -> Any:
            return honest(system, change(period) if seed % 2 == 0 else period, seed=seed, **options)

        return seen

    return changed


def _same_points(honest: Any) -> Any:
    return lambda system, period, *, seed, **options: honest(system, period, seed=seed - seed % 2, **options)


def _some_same_points(honest: Any) -> Any:
    """A single test point is a training point."""

    def seen(system: Any, period: int, *, seed: int, **options: Any) -> Any:
        found = honest(system, period, seed=seed, **options)
        if seed % 2 == 0:
            return found
        train = honest(system, period, seed=seed - 1, **options)
        y, x = found.y.clone(), found.x.clone()
        y[0], x[0] = train.y[0], train.x[0]
        return dataclasses.replace(found, y=y, x=x)

    return seen


def _observed(change: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: replaced(("verify.observe.clock:observe", change))


def _rows(change: Callable[[Any], dict[str, float]]) -> Callable[[], AbstractContextManager[Any]]:
    """Each row of the headline carries other figures, change(row)."""

    def changed(honest: Any) -> Any:
        def budget(*given: Any, **options: Any) -> Any:
            row = honest(*given, **options)
            return dataclasses.replace(row, **change(row))

        return budget

    return lambda: replaced(("verify.manifold_gap.error_budget:budget", changed))


def _bias(share: float, *fields: str) -> Callable[[Any], dict[str, float]]:
    """`share` of the finest gap (P = 4096) is added at every period: a bias that ε does not shrink."""
    return lambda row: {field: getattr(row, field) + share * row.predicted_tv * row.period / 4096 for field in fields}


def _finest(factor: float, *fields: str) -> Callable[[Any], dict[str, float]]:
    return lambda row: {field: getattr(row, field) * (factor if row.period == 4096 else 1.0) for field in fields}


def _distance(change: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: replaced(
        ("verify.manifold_gap.error_budget:total_variation", lambda honest: lambda q, p: change(honest, q, p))
    )


def _row(id: str, breaks: str, part: str, size: str, plant: Any, looks: Any = (TWO,), **more: Any) -> Mutant:
    return Mutant(id=id, claim=CLAIM, breaks=breaks, part=part, size=size, plant=plant, looks=looks, **more)


MUTANTS = (
    _row(
        "pooled_bias_+50%",
        "gap and pooling carry a bias of 50 % of the finest gap",
        "pooling",
        "50 % of the finest",
        _rows(_bias(0.5, "gap_tv", "pooling_tv", "certificate_tv")),
        (GIVEN,),
    ),
    _row(
        "pooled_bias_-20%",
        "gap and pooling carry a bias of −20 % of the finest gap",
        "pooling",
        "20 % of the finest",
        _rows(_bias(-0.2, "gap_tv", "pooling_tv")),
        (GIVEN,),
    ),
    _row(
        "pooled_bias_+1%",
        "gap and pooling carry a bias of 1 % of the finest gap",
        "pooling",
        "1 % of the finest",
        _rows(_bias(0.01, "gap_tv", "pooling_tv", "certificate_tv")),
        (GIVEN,),
    ),
    _row(
        "pooled_finest_+10%",
        "the finest row alone is off by 10 %",
        "pooling",
        "10 % of one row",
        _rows(_finest(1.1, "gap_tv", "pooling_tv", "certificate_tv")),
        (GIVEN,),
    ),
    _row(
        "pooled_finest_+1%",
        "the finest row alone is off by 1 %",
        "pooling",
        "1 % of one row",
        _rows(_finest(1.01, "gap_tv", "pooling_tv", "certificate_tv")),
        (GIVEN,),
    ),
    _row(
        "pooled_+1%",
        "the distance of x̄ and φ_θ from p_st is 1 % too large",
        "pooling",
        "1 %",
        _distance(lambda honest, q, p: 1.01 * honest(q, p)),
        (GIVEN,),
    ),
    _row(
        "gap_bias_+1%",
        "the gap of φ_θ carries a bias of 1 % of the finest gap",
        "fit",
        "1 % of the finest",
        _rows(_bias(0.01, "gap_tv", "certificate_tv")),
        ends=PHI_THETA,
    ),
    _row(
        "gap_finest_+1%",
        "the gap of φ_θ is off by 1 % in the finest row alone",
        "fit",
        "1 % of one row",
        _rows(_finest(1.01, "gap_tv", "certificate_tv")),
        ends=PHI_THETA,
    ),
    _row(
        "phi_mixed_1%", "φ_θ is mixed with 1 % of the uniform distribution", "fit", "1 %", _phi(_mixed), ends=PHI_THETA
    ),
    _row("phi_shrunk_1%", "φ_θ is 1 % nearer to its own mean", "fit", "1 %", _phi(_shrunk), ends=PHI_THETA),
    _row("phi_one_state_1%", "one state of φ_θ is 1 % too large", "fit", "1 %", _phi(_one_state), ends=PHI_THETA),
    _row("phi_next_point", "φ_θ is read at the next test point", "fit", "one index", _phi(_next_point), ends=PHI_THETA),
    _row(
        "pairs_rolled",
        "each y is paired with the x̄ of the next",
        "fit",
        "one index",
        _fit(_rolled_pairs),
        ends=PHI_THETA,
    ),
    _row(
        "trained_on_p_st",
        "φ_θ is trained on p_st, which it is to be measured against",
        "fit",
        "one input",
        _observed(_on_exact_pairs),
        ends=PHI_THETA,
    ),
    _row(
        "trained_at_half_period",
        "φ_θ is trained on pairs of half the period",
        "fit",
        "one digit",
        _observed(_other_period(lambda P: P // 2)),
        ends=PHI_THETA,
    ),
    _row(
        "trained_at_next_period",
        "φ_θ is trained on pairs of the period P + 1",
        "fit",
        "one step",
        _observed(_other_period(lambda P: P + 1)),
        ends=PHI_THETA,
    ),
    _row(
        "test_is_training",
        "the test points are the training points",
        "fit",
        "one seed",
        _observed(_same_points),
        ends=PHI_THETA,
    ),
    _row(
        "one_test_is_training",
        "a single test point is a training point",
        "fit",
        "one point",
        _observed(_some_same_points),
        ends=("INCONCLUSIVE", "VIOLATED"),
    ),
    _row(
        "floor_over_1000",
        "the floor is a thousandth of itself",
        "floor",
        "a factor of 1000",
        lambda: replaced(
            ("verify.manifold_gap.error_budget:learning_floor", lambda honest: lambda *a: 1e-3 * honest(*a)),
        ),
        (FITTED,),
        ends=PHI_THETA,
    ),
    _row(
        "certificate_one",
        "the certificate is the trivial bound 1",
        "certificate",
        "one bound",
        lambda: replaced(
            ("verify.manifold_gap.error_budget:certificate", lambda honest: lambda A, q: 0.0 * honest(A, q) + 1.0)
        ),
        (GIVEN,),
        ends=PHI_THETA,
    ),
    _row(
        "certificate_-1%",
        "the certificate is 1 % below itself",
        "certificate",
        "1 %",
        lambda: replaced(
            ("verify.manifold_gap.error_budget:certificate", lambda honest: lambda A, q: 0.99 * honest(A, q))
        ),
        (GIVEN,),
    ),
    _row(
        "sampled_states_rolled",
        "the states of sampled frequencies are rolled",
        "data",
        "one index",
        _fit(lambda honest, y, x, options: honest(y, x.roll(1, -1), **options), "multinomial"),
        (JUMPS,),
        ends=PHI_THETA,
    ),
    _row(
        "sampled_1%",
        "sampled frequencies are mixed with 1 % of the uniform distribution",
        "data",
        "1 %",
        _fit(lambda honest, y, x, options: honest(y, 0.99 * x + 0.01 / x.shape[-1], **options), "multinomial"),
        (JUMPS,),
        ends=PHI_THETA,
    ),
)
