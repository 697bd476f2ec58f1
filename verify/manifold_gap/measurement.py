"""The measurement of the headline: periods -> rows, slope, constant, floor and verdict, as one `ManifoldGap`."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from network.arguments import Integer, Integers, Number
from network.command_line import LARGEST_SEED
from verify.command_line import check_device, strict_json
from verify.manifold_gap.options import (
    DEFAULT_PERIODS,
    EXACT_FIT,
    SAMPLES_FIT,
    check_options,
    checked_system,
    clean_periods,
    listed,
    takes_period,
)
from verify.statistics.verdict import Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from theory import FastSlowSystem
    from verify.fits import Fit
    from verify.manifold_gap.error_budget import Row
    from verify.observe import Observation

TRAIN_PAIRS, TEST_POINTS = 3000, 500
CURVE_PAIRS, CURVE_POINTS = 340, 60  # where each is dear (`verify.observe.clock.is_large`)


@dataclass(frozen=True)
class ManifoldGap:
    """The measurement of one system: a row per period, the slope with its interval, the verdict with its reason.

    slope, slope_interval, constant_ratio: over the usable rows; None where none is claimed. ratio_interval: range of
    measured over predicted gap in those rows, widened by the floor. floor_tv: gap of the same fit on exact pairs, plus
    the rounding of a block mean. step_limit: predicted gap over ε φ₁ as the step h is halved; continuous_residual: how
    far its limit is from ε φ₁, as a vector. box_share: of the system's box that the test points span. inputs: sizes,
    box and files that were given (`verify.manifold_gap.inputs`). phi_theta: the φ_θ of the largest period.

    Examples:
        >>> import json
        >>> from verify.manifold_gap import measure
        >>> found = measure("two_state", (64, 128, 256, 512))
        >>> json.loads(found.to_json())["rows"][0]["period"]
        64
    """

    system: str
    observe: str
    fit: str
    step: float | None
    kernel: str
    rows: list[Row]
    slope: float | None
    slope_interval: tuple[float, float] | None
    constant_ratio: float | None
    ratio_interval: tuple[float, float] | None
    floor_tv: float
    verdict: Verdict
    reason: str
    step_limit: list[dict[str, float]]
    continuous_residual: float | None
    box_share: float | None
    notes: list[str]
    provenance: dict[str, Any]
    interrupted: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    phi_theta: Callable[..., Tensor] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but φ_θ, as plain data; the keys of the JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["phi_theta"]
        return fields | {"rows": [dataclasses.asdict(row) for row in self.rows], "verdict": str(self.verdict)}

    def to_json(self) -> str:
        """Strict JSON: no NaN or Infinity, null and a reason instead."""
        return strict_json(self.as_dict())


def measure(
    system: FastSlowSystem | str,
    periods: Integers = DEFAULT_PERIODS,
    *,
    seed: Integer = 0,
    observe: str = "clock",
    fit: str | None = None,
    step: Number | None = None,
    kernel: str = "exp",
    device: str = "cpu",
    samples: int | None = None,
    phi_theta: Callable[..., Tensor] | None = None,
    theory_system: FastSlowSystem | None = None,
    train_pairs: Integer | None = None,
    test_points: Integer | None = None,
    progress: bool = False,
) -> ManifoldGap:
    """Measure TV(φ_θ, p_st) over `periods` on `system` (a `FastSlowSystem` or the name of a built-in one).

    observe, fit: names of `verify.observe` and `verify.fits`; fit None takes varpro, for sampled states multinomial,
    since logarithms of sampled frequencies are biased. step: h; None lets `default_step` choose it. samples: tokens
    seen at each y, for sampled states only (None: the observation's own default). phi_theta: a
    trained φ_θ, y[..., m] -> x[..., n], measured instead of fitting one; if it takes the argument `period` it is called
    as phi_theta(period=P) for the φ_θ of that period. theory_system: the system that p_st, prediction and certificate
    are computed from, if not the one that makes the data: a wrong theory held against right data. train_pairs,
    test_points: how many trajectories φ_θ is fitted to, and measured at (None: 3000 and 500; noise-free of a chain
    of more than 32 states with one slow variable 340 and 60, the floor saying whether they suffice).

    Raises `ValueError` for an unknown name, periods below one, a bad step, a seed outside 0 … 2^63 − 1, a device that
    is not there, an option that the observation does not have, or a generator that is none at a visited y. Ctrl-C ends
    the measurement with the rows there are (`interrupted`), and before the periods begin with `KeyboardInterrupt`.

    Examples:
        >>> from verify.manifold_gap import measure
        >>> found = measure("two_state", (64, 128, 256, 512))
        >>> str(found.verdict), abs(found.slope - 1) < 0.01
        ('HOLDS', True)
    """
    from tqdm import tqdm

    from theory.arguments import check_integer, check_positive
    from verify.fits import Fit, get_fit
    from verify.manifold_gap.error_budget import budget
    from verify.manifold_gap.inputs import inputs
    from verify.manifold_gap.judgement import Circumstances, judge, slope_and_ratios
    from verify.manifold_gap.step_limit import step_limit
    from verify.observe import get_observer, is_sampled
    from verify.observe.clock import default_step
    from verify.statistics.provenance import provenance

    system = checked_system(system, "system")
    theory = system if theory_system is None else checked_system(theory_system, "theory_system")
    if phi_theta is not None and not callable(phi_theta):
        raise ValueError(f"phi_theta must be a function y[..., m] -> x[..., n], got {type(phi_theta).__name__}")
    seed, device = check_integer(seed, "seed"), check_device(device)
    if seed > LARGEST_SEED:
        raise ValueError(f"seed must be at most 2^63 − 1, got {seed}")
    given = listed(periods)
    wanted = clean_periods(given)
    notes = [] if given == wanted else [f"periods were sorted and made unique: {wanted}"]
    check_options(observe, fit, step, kernel, samples)
    step = default_step(system, kernel) if step is None else check_positive(step, "step")
    pairs, points = _sizes(system, sampled=is_sampled(observe))
    train_pairs = pairs if train_pairs is None else check_integer(train_pairs, "train_pairs", least=2)
    test_points = points if test_points is None else check_integer(test_points, "test_points", least=2)
    sampling = {} if samples is None else {"samples": samples}
    collect = _once_at(wanted[-1], partial(get_observer(observe), step=step, kernel=kernel, device=device, **sampling))
    fit = (SAMPLES_FIT if is_sampled(observe) else EXACT_FIT) if fit is None else fit
    train_fit = partial(get_fit(fit), seed=seed, device=device)

    def phi_at(period: int, test: Observation) -> Fit:
        if phi_theta is None:
            train = collect(system, period, count=train_pairs, seed=2 * seed)
            _remember(remarks, train, f"P = {period} training")
            repeated.append(_repeated(test.y, train.y))
            return train_fit(train.y, train.x)
        given = phi_theta(period=period) if takes_period(phi_theta) else phi_theta
        return Fit(cast("Any", given), True, "φ_θ was given, not fitted")

    remarks: dict[str, list[str]] = {}
    repeated: list[int] = []
    floor, rounding, floor_note = _floor(
        theory, collect, train_fit if phi_theta is None else None, system, wanted[-1], seed, train_pairs, test_points
    )
    notes.extend(floor_note)
    rows: list[Row] = []
    last_fit, last_test, interrupted = None, None, False
    try:
        for period in tqdm(wanted, desc=system.name, unit="P", file=sys.stderr, disable=not progress, mininterval=0.3):
            test = collect(system, period, count=test_points, seed=2 * seed + 1)
            _remember(remarks, test, f"P = {period} test")
            result = phi_at(period, test)
            rows.append(budget(theory, result, test, period, floor, rounding))
            last_fit, last_test = result, test
    except KeyboardInterrupt:
        interrupted = True
    limits: list[dict[str, float]] = []
    continuous: tuple[float, float] | None = None
    try:
        limits, continuous = step_limit(theory, last_test, step, kernel)
    except KeyboardInterrupt:  # the rows are there
        interrupted = True
        notes.append("interrupted before the limit of small steps was known")
    everywhere = 2 if phi_theta is None else 1
    for note, where in remarks.items():
        notes.append(note if len(where) == everywhere * len(rows) else f"{', '.join(where)}: {note}")
    if last_fit is not None and phi_theta is None:
        notes.append(f"fit at P = {rows[-1].period}: {last_fit.note}")
    slope, ratios = slope_and_ratios(rows, floor)
    notes.extend(_left_out(rows))
    share = rows[-1].box_share if rows else None
    about = Circumstances(
        floor=floor,
        rounding=rounding,
        given=phi_theta is not None,
        fixed=phi_theta is not None and not takes_period(phi_theta),
        repeated=max(repeated, default=0),
        share=share,
        continuous=continuous,
    )
    verdict, reason = judge(rows, slope, ratios, about)
    if len(rows) < len(wanted):
        verdict, reason = Verdict.INCONCLUSIVE, f"interrupted after {len(rows)} of {len(wanted)} periods; {reason}"
    return ManifoldGap(
        system=system.name,
        observe=observe,
        fit=fit if phi_theta is None else "given",
        step=step if last_test is None or last_test.has_step else None,
        kernel=kernel,
        rows=rows,
        slope=slope.slope,
        slope_interval=slope.interval,
        constant_ratio=statistics.median(r.gap_tv / r.predicted_tv for r in rows if r.usable) if ratios else None,
        ratio_interval=ratios,
        floor_tv=floor,
        verdict=verdict,
        reason=reason,
        step_limit=limits,
        continuous_residual=None if continuous is None else continuous[0],
        box_share=share,
        notes=notes,
        provenance=provenance(seed=seed, device=device, train_pairs=train_pairs, test_points=test_points),
        interrupted=interrupted,
        inputs=inputs(system, samples, phi_theta),
        phi_theta=None if last_fit is None else last_fit.phi_theta,
    )


def _sizes(system: FastSlowSystem, *, sampled: bool) -> tuple[int, int]:
    """How many training pairs and test points are taken where nothing is said; sampling noise needs many."""
    from verify.observe.clock import is_large

    if is_large(system) and not sampled:
        return min(TRAIN_PAIRS, CURVE_PAIRS), min(TEST_POINTS, CURVE_POINTS)
    return TRAIN_PAIRS, TEST_POINTS


def _once_at(period: int, collect: Callable[..., Observation]) -> Callable[..., Observation]:
    """`collect`, which keeps what it saw at `period`: the floor is measured there, and the last row."""
    kept: dict[tuple[int, int], Observation] = {}

    def again(system: FastSlowSystem, at: int, *, count: int, seed: int) -> Observation:
        if at != period:
            return collect(system, at, count=count, seed=seed)
        if (count, seed) not in kept:
            kept[count, seed] = collect(system, at, count=count, seed=seed)
        return kept[count, seed]

    return again


def _floor(
    theory: FastSlowSystem,
    collect: Callable[..., Observation],
    train_fit: Callable[..., Fit] | None,
    system: FastSlowSystem,
    period: int,
    seed: int,
    train_pairs: int,
    test_points: int,
) -> tuple[float, float, list[str]]:
    """(floor, its rounding part, note) at the slow states of the largest period; the rest of the floor is the fit's."""
    from theory import stationary_distribution
    from verify.manifold_gap.error_budget import learning_floor

    fresh = collect(system, period, count=test_points, seed=2 * seed + 1)
    rounding = fresh.rounding(theory) + 0.5 * sys.float_info.epsilon
    if train_fit is None:
        return rounding, rounding, ["floor: rounding alone, φ_θ was given"]
    train = collect(system, period, count=train_pairs, seed=2 * seed)
    exact = train_fit(train.y, train.seen_as(stationary_distribution(theory.A(train.y))))
    return rounding + learning_floor(theory, exact.phi_theta, fresh.y), rounding, [f"floor: {exact.note}"]


def _remember(remarks: dict[str, list[str]], seen: Observation, where: str) -> None:
    for note in seen.notes:
        remarks.setdefault(note, []).append(where)


def _repeated(test: Tensor, train: Tensor) -> int:
    """How many of the test points y[k, m] are among the training points."""
    return int((test[:, None] == train[None]).all(-1).any(-1).sum())


def _left_out(rows: Sequence[Row]) -> list[str]:
    """Why rows are out of the fit, one note a cause, with their periods and the reason at the largest of them."""
    notes = []
    for cause, out in (
        ("pre-asymptotic", [row for row in rows if row.pre_asymptotic]),
        ("floor-limited", [row for row in rows if row.floor_limited and not row.pre_asymptotic]),
    ):
        if out:
            why = out[-1].why_not or f"the gap {out[-1].gap_tv:.1e} is not ten times the floor"
            notes.append(f"out of the fit, {cause}: P = {', '.join(str(row.period) for row in out)} ({why})")
    return notes
