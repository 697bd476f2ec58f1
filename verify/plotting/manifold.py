"""Figures of the first two notebooks: trajectories on the slow manifold, and the error budget of φ_θ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import LOWEST, OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from verify.manifold_gap.measurement import ManifoldGap

BESIDE = 1.15
SERIES = (
    (OKABE_ITO["blue"], "o"),
    (OKABE_ITO["vermilion"], "^"),
    (OKABE_ITO["green"], "s"),
    (OKABE_ITO["purple"], "v"),
    (OKABE_ITO["orange"], "D"),
)


def phase_plane_figure(
    trajectories: Mapping[float, tuple[Tensor, Tensor]], manifold: tuple[Tensor, Tensor], *, slow: str, fast: str
) -> Figure:
    """A panel for each ε: trajectories, as (y[B, k], observable[B, k]), and the critical manifold, as (y[j], φ[j])."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 3.0)
        panels: Sequence[Axes] = figure.subplots(1, len(trajectories), sharey=True, squeeze=False)[0]
        for panel, (eps, (y, value)) in zip(panels, trajectories.items(), strict=True):
            for ys, values in zip(y, value, strict=True):
                panel.plot(ys, values, color=OKABE_ITO["sky"], linewidth=1.0)
            panel.plot(y[:, 0], value[:, 0], "o", color=OKABE_ITO["vermilion"], markersize=4, label="start")
            panel.plot(y[:, -1], value[:, -1], "s", color=OKABE_ITO["blue"], markersize=4, label="end")
            panel.plot(*manifold, color=OKABE_ITO["black"], label="φ(y)")
            panel.set_title(f"ε = {eps:g}", loc="left")
            panel.set_xlabel(slow)
        panels[0].set_ylabel(fast)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def boundary_layer_figure(time: Tensor, distance: Mapping[float, Tensor], gap: float, t_end: float) -> Figure:
    """TV(x, φ(y)) over t/ε: `distance[ε][k]` at the times `time[k]` in units of ε, up to t = `t_end`; e^{−gap t/ε}."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(5.2, 3.2)
        panel = figure.subplots()
        for (colour, marker), (eps, values) in zip(SERIES, distance.items(), strict=False):
            inside = eps * time <= t_end
            panel.plot(
                time[inside],
                values[inside],
                color=colour,
                marker=marker,
                markersize=4,
                markevery=12,
                label=f"ε = {eps:g}",
            )
        first = max(float(values[0]) for values in distance.values())
        falling = first * (-gap * time).exp()
        shown = falling > 1e-7
        panel.plot(time[shown], falling[shown], color=OKABE_ITO["black"], linestyle="--", label="exp(−gap · t/ε)")
        panel.set_yscale("log")
        panel.set_xlabel("fast time t/ε (in the system's time unit)")
        panel.set_ylabel("TV(x(t), φ(y(t)))")
        figure.legend(loc="outside right center")
    return figure


def orders_figure(eps: Tensor, error: Sequence[Tensor], residual: Sequence[Tensor], slopes: Sequence[float]) -> Figure:
    """Distance of Rᵏ p_st to trajectories (left, with its slope) and its invariance residual (right), over ε[j]."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 3.2)
        left, right = figure.subplots(1, 2, sharex=True)
        for k, slope in enumerate(slopes):
            colour, marker = SERIES[k]
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5}
            left.plot(eps, error[k], label=f"k = {k}: slope {slope:.2f}", **style)
            right.plot(eps, residual[k], **style)
        left.set_ylabel("TV(x, Rᵏ p_st) once settled")
        right.set_ylabel("invariance residual, 1-norm (rate)")
        for panel in (left, right):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xlabel("ε (dimensionless)")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(slopes))
    return figure


def error_budget_figure(result: ManifoldGap) -> Figure:
    """What the gap is made of, over ε: pooling, learning, the floor, and the proven bound."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(5.2, 3.4)
        panel = figure.subplots()
        eps = [row.epsilon for row in result.rows]
        parts = (
            ("certificate_tv", "certificate: proven ≥ gap", OKABE_ITO["purple"], "v", 8),
            ("gap_tv", "gap: TV(φ_θ, p_st)", OKABE_ITO["blue"], "o", 5),
            ("pooling_tv", "pooling: TV(x̄, p_st)", OKABE_ITO["vermilion"], "+", 8),
            ("learning_tv", "learning: TV(φ_θ, x̄)", OKABE_ITO["green"], "s", 4),
        )
        for name, label, colour, marker, size in parts:
            values = [max(getattr(row, name), LOWEST) for row in result.rows]
            face = colour if name == "learning_tv" else "none"
            panel.plot(
                eps, values, marker, color=colour, markersize=size, markerfacecolor=face, linestyle="none", label=label
            )
        panel.axhspan(LOWEST, result.floor_tv, color=OKABE_ITO["orange"], alpha=0.35, linewidth=0, label="floor")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(bottom=result.floor_tv / 10)
        panel.set_xlabel("ε = 1/P (dimensionless)")
        panel.set_ylabel("total variation")
        figure.legend(loc="outside right center")
    return figure


def optimisers_figure(results: Sequence[ManifoldGap]) -> Figure:
    """The gap over ε of several fits of the same data, each with the floor that it cannot pass.

    Fits are set a little apart along ε, by factors of `BESIDE`; open markers are rows that do not enter the slope.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.0, 3.4)
        panel = figure.subplots()
        rows = max((result.rows for result in results), key=len)
        panel.plot(
            [row.epsilon for row in rows],
            [row.predicted_tv for row in rows],
            color=OKABE_ITO["black"],
            label="predicted",
        )
        for number, ((colour, marker), result) in enumerate(zip(SERIES, results, strict=False)):
            beside = BESIDE ** (number - (len(results) - 1) / 2)
            for face, label in ((colour, f"{result.fit}: gap"), ("none", None)):
                rows = [row for row in result.rows if row.usable == (face == colour)]
                xs, gaps = [row.epsilon * beside for row in rows], [row.gap_tv for row in rows]
                panel.plot(xs, gaps, marker, color=colour, markersize=5.5, markerfacecolor=face, label=label)
            panel.axhline(
                result.floor_tv,
                color=colour,
                linestyle="--",
                linewidth=1.0,
                label=f"{result.fit}: floor {result.floor_tv:.0e}",
            )
        style: Any = {"color": OKABE_ITO["black"], "markersize": 5.5, "markerfacecolor": "none"}
        panel.plot([], [], "o", label="open: not in the fit", **style)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("ε = 1/P (dimensionless)")
        panel.set_ylabel("TV(φ_θ, p_st)")
        figure.legend(loc="outside right center")
    return figure
