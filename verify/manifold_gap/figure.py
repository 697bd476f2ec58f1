"""The figure of the headline: the gap over ε beside its prediction and its floor, and measured over predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import LOWEST, OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from verify.manifold_gap.error_budget import Row
    from verify.manifold_gap.measurement import ManifoldGap


def manifold_gap_figure(results: Sequence[ManifoldGap]) -> Figure:
    """Measured gap on the predicted line over ε, one panel a system, with floor and certificate.

    A single system has a lower panel, measured over predicted gap in the fitted rows, unless there are none.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        if len(results) == 1:
            return _single(results[0])
        columns = min(3, len(results))
        rows = math.ceil(len(results) / columns)
        figure = new_figure(3.1 * columns, 2.6 * rows + 0.3)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, result in zip(panels, results, strict=False):
            _gap_panel(panel, result, detailed=False)
        for panel in panels[len(results) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _single(result: ManifoldGap) -> Figure:
    fitted = [row for row in result.rows if row.usable and row.predicted_tv > 0]
    if not fitted:
        figure = new_figure(5.2, 3.7)
        _gap_panel(figure.subplots(), result, detailed=True)
        return figure
    figure = new_figure(5.2, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.0, 1.0])
    _gap_panel(above, result, detailed=True)
    above.xaxis.label.set_visible(False)
    _ratio_panel(below, fitted, result.floor_tv)
    return figure


def _ratio_panel(panel: Axes, fitted: Sequence[Row], floor: float) -> None:
    """Measured over predicted gap, ± the floor and three standard errors of sampling, as the verdict takes it."""
    ratios = [row.gap_tv / row.predicted_tv for row in fitted]
    errors = [(floor + 3.0 * row.gap_error) / row.predicted_tv for row in fitted]
    panel.axhline(1.0, color=OKABE_ITO["black"])
    bars: Any = {"capsize": 2, "elinewidth": 1.0} if any(row.gap_error > 0 for row in fitted) else {}
    panel.errorbar(
        [row.epsilon for row in fitted],
        ratios,
        yerr=errors if bars else None,
        fmt="o",
        color=OKABE_ITO["blue"],
        markersize=5,
        **bars,
    )
    low, high = min(ratios), max(ratios)
    margin = 0.1 * (high - low) + (max(errors) if bars else 0.0)
    panel.set_ylim(min(0.98, low - margin), max(1.02, high + margin))
    panel.set_xlabel("ε = 1/P (dimensionless)")
    panel.set_ylabel("measured /\npredicted")


def _gap_panel(panel: Axes, result: ManifoldGap, *, detailed: bool) -> None:
    from matplotlib.ticker import NullFormatter

    rows = result.rows
    eps = [row.epsilon for row in rows]
    panel.plot(
        eps, [_shown(row.predicted_tv) for row in rows], color=OKABE_ITO["black"], label="predicted, nothing fitted"
    )
    panel.plot(
        eps,
        [_shown(row.certificate_tv) for row in rows],
        color=OKABE_ITO["purple"],
        linestyle="none",
        marker="v",
        markersize=9,
        markerfacecolor="none",
        label="certificate (proven bound)",
    )
    usable = [row for row in rows if row.usable]
    early = [row for row in rows if row.pre_asymptotic]
    floored = [row for row in rows if row.floor_limited and not row.pre_asymptotic]
    for group, marker, face, label in (
        (usable, "o", OKABE_ITO["blue"], "measured TV(φ_θ, p_st)"),
        (early, "o", "none", "measured, not yet settled"),
        (floored, "x", OKABE_ITO["blue"], "measured, at the floor"),
    ):
        if group or not detailed:
            panel.plot(
                [row.epsilon for row in group],
                [max(row.gap_tv, LOWEST) for row in group],
                color=OKABE_ITO["blue"],
                linestyle="none",
                marker=marker,
                markersize=5,
                markerfacecolor=face,
                label=label,
            )
    seen = [(row.epsilon, row.residual * row.predicted_tv) for row in usable if row.residual is not None]
    if detailed and seen:
        panel.plot(
            [epsilon for epsilon, _ in seen],
            [max(value, LOWEST) for _, value in seen],
            color=OKABE_ITO["green"],
            linestyle="none",
            marker="+",
            markersize=6,
            label="residual of the vector",
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_minor_formatter(NullFormatter())  # labels between the decades would overlap
    values = [v for row in rows for v in (max(row.gap_tv, LOWEST), row.predicted_tv) if v >= LOWEST]
    bottom = min(min(values, default=1e-15), max(result.floor_tv, LOWEST)) / 6.0
    top = min(4.0 * max(values, default=1.0), 3.0)  # a total variation is at most 1; a prediction beyond that is none
    panel.set_ylim(bottom, max(top, 10.0 * bottom))
    panel.fill_between(
        [min(eps) / 1.6, max(eps) * 1.6],
        bottom,
        max(result.floor_tv, bottom),
        color=OKABE_ITO["orange"],
        alpha=0.35,
        linewidth=0,
        label="learning floor" if detailed else "floor",
    )
    panel.set_xlim(min(eps) / 1.6, max(eps) * 1.6)
    panel.set_xlabel("ε = 1/P (dimensionless)")
    panel.set_ylabel("total variation")
    title = f"{result.system}: {result.verdict}"
    if result.slope is not None and detailed and result.constant_ratio is not None:
        title += f", slope {result.slope:.4f}, measured/predicted {result.constant_ratio:.4f}"
    panel.set_title(title, loc="left")
    if detailed:
        # below the gaps, left of the residuals
        panel.legend(**({"loc": "lower left", "bbox_to_anchor": (0.0, 0.1)} if seen else {"loc": "best"}))


def _shown(value: float) -> float:
    return value if value > 0 else math.nan  # a log axis has no place for zero
