"""Room 2, structural: in the network's own world its φ_θ approaches p_st(A_θ(y)) with slope one and the known constant.

Text gives the slow states y and the law s_θ(y) of the token before a block (a softmax head on φ_θ's own features). The
block then follows the network's own chain: x̄ = (1/P) Σ_t K_θ(y)^t s_θ(y), by stepping. φ_θ, its hidden layer as
trained, gets the last layer that minimises its own cross-entropy on (y, x̄), by Newton; at held-out y its gap to p_st
is held against

    x̄ − p_st = (1/P) K (I − K^P)(I − K)^# (s_θ(y) − p_st),

the closed form, in which nothing is fitted. The floor is the gap of the same fit on exact pairs (y, p_st(y)). Beside
it stands φ_θ trained by AdamW on the same pairs, with a floor of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from network import GeneratorLM
from theory import certificate, solve_sum_zero, stationary_distribution
from verify.statistics.verdict import Verdict
from verify.trained.identity.adamw import by_adamw
from verify.trained.identity.rooms import Room, Row, bootstrap_slope, slope_of, tv
from verify.trained.identity.softmax_newton import fit_regression, log_linear, whitening
from verify.trained.identity.text_states import TextStates, resampled

TRAINING_PAIRS, START_STATES = 3000, 20_000
SAMPLED_CUTOFF = 3e-2  # for the law of x_0, which is sampled: finer directions would carry noise
TOLERANCE = 1e-9  # of the gradients
CHUNK = 2**22  # entries of the kernels of one chunk of points
CACHED = 2**18  # of one that is stepped, on a CPU: it stays in the second-level cache
SLOPE_WITHIN, RATIO_WITHIN, FLOOR = 0.01, 0.02, 1e-5
ABOVE_FLOOR = 10.0
POOLING_WITHIN = 1e-6  # rounding of a block mean over a gap of 1e-4, with a margin of 10⁵


def own_world_room(
    model: GeneratorLM,
    tokens: Tensor,
    training: TextStates,
    held_out: TextStates,
    *,
    adamw: bool = True,
    theory_at: TextStates | None = None,
    periods: Sequence[int] = (),
    sizes: tuple[int, int] | None = None,
) -> Room:
    """The room for `model` (float64): states of tokens[T] to train on, and held-out ones to test at.

    theory_at: the states that p_st and prediction are taken at, if not those held out: a wrong theory against right
    data. periods: powers of two, ascending (default 2 … 1,024; 8 … 2,048 beyond 64 states, whose chains remember
    longer). sizes: how many pairs, and how many blocks for the start law.
    """
    n = model.config.vocab_size
    periods = list(periods) or [2**k for k in (range(1, 11) if n <= 64 else range(3, 12))]
    pair_count, start_count = sizes or (TRAINING_PAIRS if n <= 64 else TRAINING_PAIRS // 5, START_STATES)
    pairs, starts = training.sample(pair_count, seed=1), training.sample(start_count, seed=2)
    psi, psi_start, psi_test = (_features(model, states.y) for states in (pairs, starts, held_out))
    T, T_start = whitening(psi), whitening(psi_start, SAMPLED_CUTOFF)
    seen = F.one_hot(tokens[starts.start], n).double()
    start_law = T_start @ fit_regression(psi_start @ T_start, seen, tolerance=1e-6).unknowns
    s, s_test = ((features @ start_law).softmax(-1) for features in (psi, psi_test))
    p, means = block_means(model, pairs.y, s, periods)
    theory = held_out if theory_at is None else theory_at
    s_theory = (_features(model, theory.y) @ start_law).softmax(-1)
    p_test, predicted = predicted_gaps(model, theory.y, s_theory, periods)
    _, data = block_means(model, held_out.y, s_test, periods)
    exact = fit_regression(psi @ T, p, start=log_linear(psi @ T, p), tolerance=TOLERANCE)
    floor = float(tv((psi_test @ T @ exact.unknowns).softmax(-1) - p_test).mean())
    trained = model.phi_theta(held_out.y)
    facts: dict[str, Any] = {
        "floor_tv": floor,
        "features": psi.shape[1],
        "pairs": len(pairs),
        "as_trained_gap_tv": float(tv(trained - p_test).mean()),
        "spread_tv": float(tv(p_test - p_test.mean(0)).mean()),
    }
    adamw_gaps: list[float] = []
    if adamw:
        targets = torch.stack([p, *(means[period] for period in periods)])
        of_p, *adamw_gaps = tv(by_adamw(model.phi_theta, pairs.y, targets, held_out.y) - p_test).mean(-1).tolist()
        facts["adamw_floor_tv"] = of_p
    rows: list[Row] = []
    learned = [trained]
    for period in periods:
        found = fit_regression(
            psi @ T,
            means[period],
            start=log_linear(psi @ T, means[period]),
            tolerance=TOLERANCE,
            precondition=exact.precondition,
        )
        phi = (psi_test @ T @ found.unknowns).softmax(-1)
        learned.append(phi)
        gap, theory_size = tv(phi - p_test), tv(predicted[period])
        row: Row = {
            "period": period,
            "gap_tv": float(gap.mean()),
            "predicted_tv": float(theory_size.mean()),
            "residual": float(tv(phi - p_test - predicted[period]).mean()),
            "pooling_residual": float(tv(data[period] - p_test - predicted[period]).mean() / theory_size.mean()),
            "newton_gradient": found.gradient,
            "converged": found.converged,
            "floor_limited": float(gap.mean()) < ABOVE_FLOOR * floor,
        }
        rows.append(row)
    if adamw:
        for row, gap in zip(rows, adamw_gaps, strict=True):
            row["adamw_gap_tv"] = gap
    bounds = certified_gaps(model, theory.y, torch.stack(learned, 1))
    gaps = [tv(phi - p_test) for phi in learned]
    certified = all(bool((gap <= bound).all()) for gap, bound in zip(gaps, bounds.T, strict=True))
    facts["as_trained_certificate_tv"] = float(bounds[:, 0].mean())
    for row, bound in zip(rows, bounds.T[1:], strict=True):
        row["certificate_tv"] = float(bound.mean())
    above = [row for row in rows if not row["floor_limited"]]
    settled = asymptotic(above)
    for row in rows:
        row["pre_asymptotic"] = row in above and row not in settled
    usable = [k for k, row in enumerate(rows) if row in settled]
    slope = slope_of([rows[k] for k in usable])
    interval = (
        bootstrap_slope(
            [periods[k] for k in usable],
            torch.stack([gaps[1 + k] for k in usable]),
            resampled(held_out.stretch, 400, seed=2),
        )
        if len(usable) >= 3
        else None
    )
    facts["certified"] = certified
    missed = max(row["pooling_residual"] for row in rows)  # φ_θ has no part in it, nor has its floor
    unsolved = [f"P = {row['period']} (gradient {row['newton_gradient']:.0e})" for row in rows if not row["converged"]]
    if not exact.converged:
        unsolved.insert(0, f"the floor (gradient {exact.gradient:.0e})")
    verdict, reason, ratio = judge([rows[k] for k in usable], slope, interval, floor, certified, missed, unsolved)
    return Room("own_world", verdict, reason, slope, interval, ratio, rows, facts)


def asymptotic(rows: list[Row]) -> list[Row]:
    """The finer of `rows` over which the *predicted* gap has slope one, to half the tolerance of the measured slope.

    While K^P still remembers the start, P × gap grows with P: theory then says another slope than one. No measured
    gap has a part in the choice.
    """
    for first in range(len(rows)):
        slope = slope_of(rows[first:], "predicted_tv")
        if slope is None or abs(slope - 1) <= SLOPE_WITHIN / 2:
            return rows[first:]
    return []


def judge(
    rows: list[Row],
    slope: float | None,
    interval: tuple[float, float] | None,
    floor: float,
    certified: bool,
    missed: float,
    unsolved: Sequence[str] = (),
) -> tuple[Verdict, str, float | None]:
    """(verdict, reason, median of measured over predicted in the finer half) of the rows that are above the floor and
    `asymptotic`.

    missed: how far the block means are from the prediction, relative to it, at worst over all rows. unsolved: the
    periods whose fit did not end at its optimum.

    VIOLATED: a bound below the gap; block means that are not as predicted; or a slope or ratio off where φ_θ does
    represent them (its residual is within the tolerance of the ratio). INCONCLUSIVE: a fit that is not solved,
    fewer than two decades of ε, a floor above 1e-5, or a φ_θ that is not near x̄(y).
    """
    if missed > POOLING_WITHIN:
        return Verdict.VIOLATED, f"the block means miss p_st + the predicted gap by {missed:.1e} of it", None
    if not certified:
        return Verdict.VIOLATED, "a certificate lies below the gap that it bounds", None
    if unsolved:
        return Verdict.INCONCLUSIVE, f"the last layer is NOT SOLVED at {', '.join(unsolved)}", None
    if slope is None or interval is None or rows[-1]["period"] / rows[0]["period"] < 100:
        return (
            Verdict.INCONCLUSIVE,
            f"{len(rows)} rows above the floor {floor:.1e} for which theory says slope one do not span two decades",
            None,
        )
    finer = rows[len(rows) // 2 :]
    ratios = sorted(row["gap_tv"] / row["predicted_tv"] for row in finer)
    middle = ratios[len(ratios) // 2]
    off = [r for r in ratios if abs(r - 1) > RATIO_WITHIN]
    said = (
        f"slope {slope:.4f} [{interval[0]:.4f}, {interval[1]:.4f}], measured/predicted {ratios[0]:.4f} … "
        f"{ratios[-1]:.4f} in the finer half, floor {floor:.1e}"
    )
    if floor > FLOOR:
        return Verdict.INCONCLUSIVE, f"{said}: the floor is above {FLOOR:.0e}", middle
    slope_off = max(abs(slope - 1), *(abs(edge - 1) for edge in interval)) > SLOPE_WITHIN
    if off or slope_off:
        learned = all(row["residual"] <= RATIO_WITHIN * row["predicted_tv"] for row in finer)
        return (Verdict.VIOLATED if learned else Verdict.INCONCLUSIVE), said, middle
    return Verdict.HOLDS, said, middle


def _features(model: GeneratorLM, y: Tensor) -> Tensor:
    """[φ_θ's last hidden layer, 1]."""
    with torch.no_grad():
        return torch.cat([model.phi_theta.features(y), torch.ones_like(y[:, :1])], -1)


def _chunks(n: int, *values: Tensor, entries: int = CHUNK) -> list[tuple[Tensor, ...]]:
    size = max(1, entries // n**2)
    return list(zip(*(value.split(size) for value in values), strict=True))


def block_means(model: GeneratorLM, y: Tensor, s: Tensor, periods: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
    """(p_st [N, n], block means [N, n] by period), by P steps of K from s."""
    stationary, means = [], {period: [] for period in periods}
    entries = CACHED if y.device.type == "cpu" else CHUNK
    for some, x in _chunks(model.config.vocab_size, y, s, entries=entries):
        A = model.generator(some)
        K, total, x = A + torch.eye(A.shape[-1], dtype=A.dtype, device=A.device), torch.zeros_like(x), x[..., None]
        stationary.append(stationary_distribution(A))
        for step in range(1, periods[-1] + 1):
            x = K @ x
            total = total + x[..., 0]
            if step in means:
                means[step].append(total / step / (total / step).sum(-1, keepdim=True))
    return torch.cat(stationary), {period: torch.cat(parts) for period, parts in means.items()}


def predicted_gaps(model: GeneratorLM, y: Tensor, s: Tensor, periods: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
    """(p_st, x̄ − p_st by period), by the closed form."""
    stationary, gaps = [], {period: [] for period in periods}
    for some, x in _chunks(model.config.vocab_size, y, s):
        A = model.generator(some)
        K, p = A + torch.eye(A.shape[-1], dtype=A.dtype, device=A.device), stationary_distribution(A)
        stationary.append(p)
        z = -solve_sum_zero(A, x - p, p)[..., None]
        power, reached = K, 1
        for period in periods:  # powers of two, ascending
            while reached < period:
                power, reached = power @ power, 2 * reached
            gaps[period].append((K @ (z - power @ z))[..., 0] / period)
    return torch.cat(stationary), {period: torch.cat(parts) for period, parts in gaps.items()}


def certified_gaps(model: GeneratorLM, y: Tensor, phi: Tensor) -> Tensor:
    """The certificates of φ[N, k, n] at y[N, d], each of which bounds a TV to p_st: [N, k]."""
    chunks = _chunks(model.config.vocab_size, y, phi)
    return torch.cat([certificate(model.generator(some)[:, None], q) for some, q in chunks])
