"""Room 3, gap-marked: the network's own φ_θ and A_θ on real text.

One trained slow path gives y, rounded to the mean of its cell (256 cells); each is held for P tokens of text, the
same blocks at every P. The kernel K (logits additive in ψ(y)) and φ = softmax(ψθ) are re-solved for every P on the same
features ψ. With m⁻, m⁺, b of the blocks of a cell and δ = m⁺ − K(y) m⁻, counting gives exactly

    m⁺ − p_st(y) = (1/P) A^# K b − A^# δ.

φ is fitted to m⁺, so the gap φ − p_st is a boundary part (∝ 1/P) and a calibration part, each smoothed over y as φ
smooths: by the response of its fit to that change of its target (`softmax_newton.response`). (At the optimum of both
cross-entropies the mean of ψ ⊗ δ vanishes; the mean of A^# δ keeps the covariance of A^# and δ.) What is left is
how far p_st is from a softmax on ψ, and the curvature of the softmax.

Beside each gap: the spread of φ over y, and the gap to *another* y's p_st, without which a slope on text means little.
The network as trained, at its own P, is a row by itself: its parts are least squares on ψ, and its rest holds what φ_θ
has not learned. Where the vocabulary is large nothing is re-solved, and that row is all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from network import GeneratorLM
from theory import from_rates, solve_sum_zero, stationary_distribution
from verify.fits.features import draw_features
from verify.statistics.verdict import GapVerdict
from verify.trained.identity.rooms import Room, Row, bootstrap_slope, slope_of, tv
from verify.trained.identity.softmax_newton import fit_kernel, fit_regression, kernel_at, response, whitening
from verify.trained.identity.text_states import TextStates, clusters, resampled

PERIODS = (4, 8, 16, 32, 64, 128)
CELLS, FEATURES, SPREAD = 256, 12, 0.5
STRIDE = 16  # tokens from one block's start to the next one's, at least
MOST_STATES = 64  # beyond it nothing is re-solved: the kernels of all cells would not fit
LARGE_CELLS = 128
TOLERANCE = 1e-9  # of the gradients
CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class _Cells:
    """Blocks that begin at start[N] in the cells label[N], whose mean y is y[M, d]; psi[M, F] there; count[M]."""

    tokens: Tensor
    n: int
    start: Tensor
    label: Tensor
    y: Tensor
    psi: Tensor
    count: Tensor

    @property
    def weight(self) -> Tensor:
        return self.count / self.count.sum()

    def at(self, step: int) -> Tensor:
        """[M, n]: which token comes `step` after x_0, how often."""
        cell = self.label * self.n + self.tokens[self.start + step]
        return torch.bincount(cell, minlength=len(self.y) * self.n).view(-1, self.n).double()

    def means(self, period: int) -> tuple[Tensor, Tensor, Tensor]:
        """(m⁻, m⁺, b), each [M, n]."""
        first, last = self.at(0), self.at(period)
        within = sum((self.at(step) for step in range(1, period)), torch.zeros_like(first))
        many = self.count[:, None]
        return (first + within) / (many * period), (within + last) / (many * period), (last - first) / many

    def transitions(self, period: int) -> Tensor:
        """[M, j, i]: how often j → i."""
        size = len(self.y) * self.n**2
        found = torch.zeros(size, dtype=torch.int64, device=self.y.device)
        for step in range(period):
            x, after = self.tokens[self.start + step], self.tokens[self.start + step + 1]
            found += torch.bincount((self.label * self.n + x) * self.n + after, minlength=size)
        return found.view(-1, self.n, self.n).double()


def text_room(
    model: GeneratorLM, tokens: Tensor, training: TextStates, held_out: TextStates, *, resolve: bool = True
) -> Room:
    """The room for `model` (float64): tokens[T] with the states to solve on, and held-out states to test at.

    resolve: solve kernel and φ anew for each P; beyond `MOST_STATES` states the network as trained is all there is.
    """
    n, own = model.config.vocab_size, model.config.period
    resolve = resolve and n <= MOST_STATES
    cells, psi_test = _cells(tokens, n, training, held_out, max(own, PERIODS[-1] if resolve else own), own)
    rows: list[Row] = []
    gaps: list[Tensor] = []
    unsolved: list[str] = []
    kernel = phi = None
    for period in PERIODS if resolve else ():
        solved = fit_kernel(cells.psi, cells.transitions(period), start=kernel, tolerance=TOLERANCE)
        before, after, ends = cells.means(period)
        learned = fit_regression(cells.psi, after, start=phi, tolerance=TOLERANCE, weight=cells.weight)
        kernel, phi = solved.unknowns, learned.unknowns
        q = (psi_test @ phi).softmax(-1)
        _, boundary, calibration = _parts(
            lambda k, kernel=kernel: kernel_at(kernel, cells.psi[k]), before, after, ends, period
        )
        p_test = stationary_distribution(from_rates(kernel_at(kernel, psi_test)))
        row, gap = _row(period, q, p_test, *(_smoothed(cells, psi_test, phi, v) for v in (boundary, calibration)))
        moment = cells.psi.T @ (cells.weight[:, None] * (after - (_moved(kernel, cells.psi, before))))
        row |= {"kernel_gradient": solved.gradient, "newton_gradient": learned.gradient}
        row |= {"converged": solved.converged and learned.converged}
        row |= {"calibration_moment": float(moment.abs().max())}
        rows.append(row)
        gaps.append(gap)
        if not row["converged"]:
            unsolved.append(f"P = {period} (gradients {solved.gradient:.0e}, {learned.gradient:.0e})")
    as_trained = _as_trained(model, cells, held_out, psi_test)
    return _room(rows, gaps, as_trained, held_out, unsolved, cells)


def _room(
    rows: list[Row], gaps: list[Tensor], as_trained: Row, held_out: TextStates, unsolved: list[str], cells: _Cells
) -> Room:
    shown = rows or [as_trained]
    slope = slope_of(rows)
    interval = bootstrap_slope(PERIODS, torch.stack(gaps), resampled(held_out.stretch, 400, seed=4)) if rows else None
    ratios = sorted(row["gap_tv"] / row["predicted_tv"] for row in shown)
    accounted = max((row["residual"] / row["gap_tv"] for row in shown if row["gap_tv"] > 0), default=0.0)
    what = (
        f"slope {slope:.3f}"
        if slope is not None
        else f"gap {shown[0]['gap_tv']:.4f} at the network's own P, nothing re-solved"
    )
    if interval is not None:
        what += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    if unsolved:
        what = f"NOT SOLVED at {', '.join(unsolved)}, add text; {what}"
    return Room(
        name="text",
        verdict=GapVerdict.MEASURED,
        reason=f"{what}; measured over boundary {ratios[0]:.3f} … {ratios[-1]:.3f}; boundary and calibration leave "
        f"{100 * accounted:.1f} % of the gap at most",
        slope=slope,
        slope_interval=interval,
        constant_ratio=ratios[len(ratios) // 2],
        rows=shown,
        facts={
            "as_trained": as_trained,
            "blocks": len(cells.start),
            "cells": len(cells.y),
            "features": cells.psi.shape[1],
            "predicted_slope": slope_of(rows, "predicted_tv"),
            "other_slope": slope_of(rows, "other_gap_tv"),
            "converged": not unsolved,
        },
    )


def _cells(
    tokens: Tensor, n: int, training: TextStates, held_out: TextStates, longest: int, own: int
) -> tuple[_Cells, Tensor]:
    """The cells of the blocks that fit, and ψ at the held-out states."""
    states = training.take(training.start + longest < len(tokens))
    states = states.take(torch.arange(0, len(states), max(1, STRIDE // own), device=states.start.device))
    if len(states) < 10 * FEATURES:
        raise ValueError(f"the text gives {len(states)} slow states, too few for {FEATURES} features: add text")
    label = clusters(states.y, min(CELLS if n <= MOST_STATES else LARGE_CELLS, len(states)))
    label = label.unique(return_inverse=True)[1]
    count = torch.bincount(label).double()
    y = torch.zeros(len(count), states.y.shape[1], dtype=states.y.dtype, device=label.device)
    y = y.index_add_(0, label, states.y) / count[:, None]
    features = draw_features(states.y, 1, width=FEATURES, spread=SPREAD, seed=0)
    psi, psi_test = (torch.cat([features.features(v).detach(), torch.ones_like(v[:, :1])], -1) for v in (y, held_out.y))
    T = whitening(psi * (count / count.mean()).sqrt()[:, None])
    return _Cells(tokens, n, states.start, label, y, psi @ T, count), psi_test @ T


def _parts(
    kernel: Callable[[Tensor], Tensor], before: Tensor, after: Tensor, ends: Tensor, period: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(p_st, A^# K b / P, −A^# δ) of each cell, each [M, n]; kernel(indices) -> K[k, n, n]."""
    found = []
    for k in torch.arange(len(before), device=before.device).split(max(1, CHUNK // before.shape[1] ** 2)):
        K = kernel(k)
        A = from_rates(K)
        p = stationary_distribution(A)
        drift, moved = (K @ torch.stack([ends[k] / period, before[k]], -1)).unbind(-1)
        parts = [solve_sum_zero(A, v - p * v.sum(-1, keepdim=True), p) for v in (drift, moved - after[k])]
        found.append((p, *parts))
    p, boundary, calibration = (torch.cat(part) for part in zip(*found, strict=True))
    return p, boundary, calibration


def _smoothed(cells: _Cells, psi_test: Tensor, phi: Tensor, v: Tensor) -> Tensor:
    """What a change v[M, n] of the target does to softmax(ψθ) at the held-out states."""
    q = (psi_test @ phi).softmax(-1)
    z = psi_test @ response(cells.psi, phi, v, cells.weight)
    return q * (z - (q * z).sum(-1, keepdim=True))


def _moved(kernel: Tensor, psi: Tensor, before: Tensor) -> Tensor:
    return (kernel_at(kernel, psi) @ before[..., None])[..., 0]


def _as_trained(model: GeneratorLM, cells: _Cells, held_out: TextStates, psi_test: Tensor) -> Row:
    """The row of the network as it is, at its own period."""
    period, root = model.config.period, cells.weight.sqrt()[:, None]
    with torch.no_grad():
        _, boundary, calibration = _parts(lambda k: model.kernel(cells.y[k]), *cells.means(period), period)
        given_y = torch.linalg.lstsq(cells.psi * root, torch.cat([boundary, calibration], -1) * root).solution
        size = max(1, CHUNK // cells.n**2)
        p_test = torch.cat([stationary_distribution(model.generator(y)) for y in held_out.y.split(size)])
        return _row(period, model.phi_theta(held_out.y), p_test, *(psi_test @ given_y).split(cells.n, -1))[0]


def _row(period: int, phi: Tensor, p: Tensor, boundary: Tensor, calibration: Tensor) -> tuple[Row, Tensor]:
    """The row of one period, and the gap [points], from what is at the held-out states."""
    gap = tv(phi - p)
    return {
        "period": period,
        "gap_tv": float(gap.mean()),
        "predicted_tv": float(tv(boundary).mean()),
        "calibration_tv": float(tv(calibration).mean()),
        "residual": float(tv(phi - p - boundary - calibration).mean()),
        "other_gap_tv": float(tv(phi - p.roll(len(p) // 2, 0)).mean()),
        "phi_spread_tv": float(tv(phi - phi.mean(0)).mean()),
        "gap_of_means_tv": float(tv(phi.mean(0) - p.mean(0))),
    }, gap
