"""The figure of the trade: what a loss costs in step time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import OKABE_ITO, STYLE, new_figure
from verify.trained.arms import ARMS
from verify.trained.pareto import TARGET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from verify.trained.pareto import ParetoPoint


def pareto_figure(points: Sequence[ParetoPoint]) -> Figure:
    """Validation loss over step time (left), and what the slow dynamics adds to the local control (right).

    Left: the size of a marker is its P; bars are the 95 % intervals of the paired difference to the deepest dense
    model.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 4.1)
        left, right = figure.subplots(1, 2, width_ratios=[1.6, 1.0])
        dense = sorted((p for p in points if p.arm == "dense"), key=lambda p: p.time.median)
        baseline = max(dense, key=lambda p: p.fast)
        left.plot(
            [p.time.median for p in dense], [p.loss for p in dense], color=ARMS["dense"][0], linewidth=0.8, zorder=1
        )
        left.axhline(baseline.loss, color=OKABE_ITO["black"], linewidth=0.6, linestyle=":")
        left.axvspan(0.0, TARGET, color=OKABE_ITO["sky"], alpha=0.12, lw=0)
        for point in sorted(points, key=lambda p: -(p.period or 0)):  # small markers on top of large ones
            colour, x = ARMS[point.arm][0], point.time.median
            if point.difference is not None and point.difference.interval is not None:
                ends = [baseline.loss + end for end in point.difference.interval]
                left.vlines(x, *ends, color=colour, linewidth=0.7, alpha=0.5, zorder=2)
            left.plot(x, point.loss, ls="none", zorder=3, **_marker(point.arm, point.fast, points, point.period))
        for point in dense:
            left.annotate(
                f"{point.fast} layers",
                (point.time.median, point.loss),
                xytext=(-6, -3),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=7,
            )
        _pareto_legend(figure, points)
        times = [p.time.median for p in points]
        left.set_xlim(min(times) - 0.12, max(times) + 0.06)
        left.set_xlabel(f"step time over dense ({baseline.fast} layers)")
        left.set_ylabel("validation loss (nats per token)")
        _remainders(right, points)
    return figure


def _marker(arm: str, fast: int, points: Sequence[ParetoPoint], period: int | None = None) -> dict[str, Any]:
    """Colour and form by arm, open where fewer than most layers are fast, size by period."""
    colour, form = ARMS[arm]
    shallow = arm != "dense" and fast < max(p.fast for p in points if p.arm == arm)
    size = 5.0 if period is None else 1.2 + 1.7 * math.log2(max(period, 2))
    if shallow:
        return {"color": colour, "marker": form, "markersize": size, "markerfacecolor": "none"}
    edge = 0.6  # white, so that neighbours stay apart; what it takes of the marker is added
    return {"color": colour, "marker": form, "ms": size + 2 * edge, "markeredgecolor": "white", "mew": edge}


def _pareto_legend(figure: Figure, points: Sequence[ParetoPoint]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    shapes = {(p.arm, p.fast, p.slow) for p in points if p.arm != "dense"}
    for arm, fast, slow in sorted(shapes, key=lambda shape: (shape[0], -shape[1])):
        name = f"coupled {fast} + {slow}" if arm == "coupled" else f"local {fast}"
        handles.append(Line2D([], [], ls="none", label=name, **_marker(arm, fast, points)))
    handles.append(Line2D([], [], lw=0.8, label="dense", **_marker("dense", 0, points)))
    lines: dict[str, Any] = {"color": OKABE_ITO["black"], "lw": 0.7}
    deepest = max(p.fast for p in points if p.arm == "dense")
    handles.append(Line2D([], [], ls=":", label=f"loss of dense, {deepest} layers", **lines))
    of_it = "95 % interval of the difference to it"
    handles.append(Line2D([], [], ls="none", marker="|", ms=9, alpha=0.5, label=of_it, **lines))
    grey: dict[str, Any] = {"marker": "o", "color": OKABE_ITO["black"], "ls": "none"}
    for period in sorted({p.period for p in points if p.period is not None}):
        sizes = _marker("local", 0, points, period)
        handles += [Line2D([], [], label=f"P = {period}", **sizes | grey)]
    handles.append(Patch(color=OKABE_ITO["sky"], alpha=0.12, lw=0, label=f"time ≤ {TARGET}"))
    figure.legend(handles=handles, loc="outside lower center", fontsize=7, ncols=(len(handles) + 2) // 3)


def _remainders(panel: Axes, points: Sequence[ParetoPoint]) -> None:
    """loss(coupled) − loss(local) over P with t intervals: below zero the slow dynamics helps."""
    rows = [p for p in points if p.remainder is not None]
    colour, marker = ARMS["coupled"]
    shapes = sorted({(p.fast, p.slow) for p in rows}, reverse=True)
    for number, (fast, slow) in enumerate(shapes):
        own = sorted((p for p in rows if (p.fast, p.slow) == (fast, slow)), key=lambda p: p.period or 0)
        xs = [(p.period or 0) * 1.06 ** (number - (len(shapes) - 1) / 2) for p in own]
        middles = [-p.remainder.mean for p in own if p.remainder is not None]
        intervals = [p.remainder.interval or (p.remainder.mean,) * 2 for p in own if p.remainder is not None]
        ends = [[high + m for m, (_, high) in zip(middles, intervals, strict=True)]]
        ends.append([-low - m for m, (low, _) in zip(middles, intervals, strict=True)])
        panel.errorbar(
            xs,
            middles,
            yerr=ends,
            capsize=2,
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor=colour if number == 0 else "white",
            linewidth=1.0,
            linestyle="-" if number == 0 else "--",
            label=f"{fast} + {slow}",
        )
    panel.axhline(0.0, color=OKABE_ITO["black"], linewidth=0.8)
    periods = sorted({p.period for p in rows if p.period is not None})
    panel.set_xscale("log", base=2)
    panel.set_xticks(periods, [str(period) for period in periods])
    panel.set_xlabel("period P (tokens per slow update)")
    panel.set_ylabel("coupled − local (nats per token)")
    panel.legend(fontsize=7)
