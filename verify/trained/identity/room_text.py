"""Room 3, gap-marked: the network's own φ_θ and A_θ on real text.

One trained slow path gives y; each y is held for P tokens of text, and the kernel K (logits additive in ψ(y)) and φ
are re-solved for every P on the same features ψ. For block k, with b_k = e_{x_P} − e_{x_0} and δ_k = m⁺_k − K(y_k)
m⁻_k, counting gives exactly

    m⁺_k − p_st(y_k) = (1/P) A^# K b_k − A^# δ_k.

φ(y) is the mean of m⁺ given y, so the gap φ − p_st is the mean, given y, of a boundary part (∝ 1/P) and a calibration
part; the means given y are least squares on ψ. (At the optimum of both cross-entropies the mean of ψ ⊗ δ vanishes; the
mean of A^# δ keeps the covariance of A^# and δ.) What is left is how far a softmax on ψ is from those means.

Beside each gap: the spread of φ over y, and the gap to *another* y's p_st, without which a slope on text means little.
Where the vocabulary is large nothing is re-solved: the row is that of the network as trained, at its own P.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from network import GeneratorLM
from theory import from_rates, solve_sum_zero, stationary_distribution
from verify.fits.features import draw_features
from verify.statistics.verdict import GapVerdict
from verify.trained.identity.rooms import Room, Row, bootstrap_slope, slope_of, tv
from verify.trained.identity.softmax_newton import fit_kernel, fit_regression, kernel_at, whitening
from verify.trained.identity.text_states import TextStates, resampled

PERIODS = (4, 8, 16, 32, 64, 128)
BLOCKS, FEATURES, SPREAD = 3000, 12, 0.5
MOST_STATES = 64  # beyond it nothing is re-solved: the kernels of all blocks would not fit
LARGE_BLOCKS = 400


def text_room(
    model: GeneratorLM, tokens: Tensor, training: TextStates, held_out: TextStates, *, resolve: bool = True
) -> Room:
    """The room for `model` (float64): tokens[T] with the states to solve on, and held-out states to test at.

    resolve: solve kernel and φ anew for each P; beyond `MOST_STATES` states the network as trained is all there is.
    """
    n, own = model.config.vocab_size, model.config.period
    resolve = resolve and n <= MOST_STATES
    longest = PERIODS[-1] if resolve else own
    blocks = training.take(training.start + longest < len(tokens))
    blocks = blocks.sample(BLOCKS if n <= MOST_STATES else LARGE_BLOCKS, seed=3)
    if len(blocks) < 10 * FEATURES:
        raise ValueError(f"the text gives {len(blocks)} slow states, too few for {FEATURES} features: add text")
    features = draw_features(blocks.y, 1, width=FEATURES, spread=SPREAD, seed=0)
    psi, psi_test = (
        torch.cat([features.features(s.y).detach(), torch.ones_like(s.y[:, :1])], -1) for s in (blocks, held_out)
    )
    T = whitening(psi)
    psi, psi_test = psi @ T, psi_test @ T
    rows: list[Row] = []
    gaps: list[Tensor] = []
    if resolve:
        kernel = phi = None
        for period in PERIODS:
            counts = _block_counts(tokens, blocks.start, period, n)
            solved = fit_kernel(psi, counts, start=kernel, tolerance=1e-7)
            learned = fit_regression(psi, counts.sum(1) / period, start=phi, tolerance=1e-8)
            kernel, phi = solved.unknowns, learned.unknowns
            row, gap = _row(
                psi,
                psi_test,
                counts,
                kernel_at(kernel, psi),
                kernel_at(kernel, psi_test),
                (psi_test @ phi).softmax(-1),
                tokens,
                blocks.start,
                period,
            )
            row |= {"kernel_gradient": solved.gradient, "newton_gradient": learned.gradient}
            rows.append(row)
            gaps.append(gap)
    with torch.no_grad():
        as_trained, _ = _row(
            psi,
            psi_test,
            _block_counts(tokens, blocks.start, own, n),
            model.kernel(blocks.y),
            model.kernel(held_out.y),
            model.phi_theta(held_out.y),
            tokens,
            blocks.start,
            own,
        )
    shown = rows or [as_trained]
    slope = slope_of(rows)
    interval = bootstrap_slope(PERIODS, torch.stack(gaps), resampled(held_out.stretch, 400, seed=4)) if rows else None
    ratios = sorted(row["gap_tv"] / row["predicted_tv"] for row in shown)
    accounted = max(row["residual"] / row["gap_tv"] for row in shown)
    what = (
        f"slope {slope:.3f}"
        if slope is not None
        else f"gap {shown[0]['gap_tv']:.4f} at the network's own P, nothing re-solved"
    )
    if interval is not None:
        what += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return Room(
        name="text",
        verdict=GapVerdict.MEASURED,
        reason=f"{what}; measured over boundary {ratios[0]:.2f} … {ratios[-1]:.2f}; boundary and calibration leave "
        f"{100 * accounted:.1f} % of the gap at most",
        slope=slope,
        slope_interval=interval,
        constant_ratio=ratios[len(ratios) // 2],
        rows=shown,
        facts={
            "as_trained": as_trained,
            "blocks": len(blocks),
            "features": psi.shape[1],
            "predicted_slope": slope_of(rows, "predicted_tv"),
            "other_slope": slope_of(rows, "other_gap_tv"),
        },
    )


def _row(
    psi: Tensor,
    psi_test: Tensor,
    counts: Tensor,
    K: Tensor,
    K_test: Tensor,
    phi: Tensor,
    tokens: Tensor,
    start: Tensor,
    period: int,
) -> tuple[Row, Tensor]:
    """The row of one period, and the gap [points] at the held-out states."""
    n = K.shape[-1]
    A, A_test = from_rates(K), from_rates(K_test)
    p, p_test = stationary_distribution(A), stationary_distribution(A_test)
    first, last = (F.one_hot(tokens[at], n).double() for at in (start, start + period))
    after, before = counts.sum(1) / period, counts.sum(2) / period
    drift, delta = (K @ (last - first)[..., None])[..., 0], after - (K @ before[..., None])[..., 0]
    boundary, calibration = (solve_sum_zero(A, v - p * v.sum(-1, keepdim=True), p) for v in (drift / period, -delta))
    # The means given y, as everything here: linear in ψ.
    given_y = torch.linalg.lstsq(psi, torch.cat([boundary, calibration], -1)).solution
    boundary_y, calibration_y = (psi_test @ given_y).split(n, -1)
    gap = tv(phi - p_test)
    return {
        "period": period,
        "gap_tv": float(gap.mean()),
        "predicted_tv": float(tv(boundary_y).mean()),
        "calibration_tv": float(tv(calibration_y).mean()),
        "residual": float(tv(phi - p_test - boundary_y - calibration_y).mean()),
        "other_gap_tv": float(tv(phi - p_test.roll(len(p_test) // 2, 0)).mean()),
        "phi_spread_tv": float(tv(phi - phi.mean(0)).mean()),
        "gap_of_means_tv": float(tv(phi.mean(0) - p_test.mean(0))),
        "calibration_moment": float((psi.T @ delta / len(psi)).abs().max()),
    }, gap


def _block_counts(tokens: Tensor, start: Tensor, period: int, n: int) -> Tensor:
    """counts[k, j, i] of the transitions j → i in block k."""
    windows = tokens[start[:, None] + torch.arange(period + 1, device=tokens.device)]
    cell = (windows[:, :-1] * n + windows[:, 1:]) + torch.arange(len(start), device=tokens.device)[:, None] * n * n
    return torch.bincount(cell.flatten(), minlength=len(start) * n * n).view(len(start), n, n).double()
