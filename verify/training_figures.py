"""Figures of the trained arms: differences to the baseline and gates, over the periods or along training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from verify.figures import OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from verify.ablation_result import Ablation

# arm: colour, marker
ARMS = {
    "dense": (OKABE_ITO["black"], "s"),
    "frozen": (OKABE_ITO["sky"], "D"),
    "coupled": (OKABE_ITO["blue"], "o"),
    "blind": (OKABE_ITO["purple"], "v"),
    "local": (OKABE_ITO["vermilion"], "^"),
}


def ablation_figure(ablation: Ablation) -> Figure:
    """Paired differences to the baseline (left) and |α| (right): over P where there are several, else along training.

    Raises `ValueError` for an ablation without a finished cell.
    """
    from matplotlib import rc_context

    if not ablation.cells:
        raise ValueError("there is no finished cell to draw")
    periods = list(dict.fromkeys(cell.period for cell in ablation.cells))
    arms = [a for a in dict.fromkeys(c.arm for c in ablation.cells) if a not in (ablation.baseline, "frozen")]
    with rc_context(STYLE):
        figure = new_figure(6.8, 2.9)
        left, right = figure.subplots(1, 2)
        _bands(left, ablation)
        if len(periods) > 1:
            rows = [row for row in ablation.comparisons if row.other == ablation.baseline]
            found = [(row.period, row.arm, row.difference, row.interval, row.gate) for row in rows]
            _series(left, right, found, arms, beside=lambda x, place: x * 1.05**place)
            for panel in (left, right):
                panel.set_xscale("log", base=2)
                panel.set_xticks(periods, [str(period) for period in periods])
                panel.set_xlabel("period P (tokens per slow update)")
        else:
            found = [
                (row["tokens"] / 1e6, row["arm"], row["difference"], row["interval"], row["gate"])
                for row in ablation.paths
            ]
            width = 0.012 * max((x for x, *_ in found), default=1.0)
            _series(left, right, found, arms, beside=lambda x, place: x + width * place)
            for panel in (left, right):
                panel.set_xlabel("training tokens (millions)")
                panel.set_xlim(left=0.0)
        left.set_ylabel(f"loss − {ablation.baseline} (nats per token)")
        right.set_ylabel("gate, mean |α|")
        if right.lines:
            right.set_yscale("log")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _bands(panel: Axes, ablation: Ablation) -> None:
    """The two yardsticks: seed noise of the baseline, and the margin of equivalence."""
    noises = [row.seed_sd for row in ablation.comparisons if row.arm == row.other and row.seed_sd is not None]
    if noises:
        noise = max(noises)
        panel.axhspan(-noise, noise, color=OKABE_ITO["yellow"], alpha=0.30, lw=0, label="± seed noise of the baseline")
    panel.axhspan(
        -ablation.margin, ablation.margin, color=OKABE_ITO["green"], alpha=0.25, lw=0, label="± margin of equivalence"
    )
    panel.axhline(0.0, color=OKABE_ITO["black"], linewidth=0.8)


def _series(
    left: Axes,
    right: Axes,
    found: Sequence[Sequence[Any]],
    arms: Sequence[str],
    *,
    beside: Callable[[float, float], float],
) -> None:
    """A line per arm in both panels; `beside(x, place)` sets the arms a little apart, so that no interval hides one."""
    for number, arm in enumerate(arms):
        colour, marker = ARMS[arm]
        place = number - (len(arms) - 1) / 2
        own = [(beside(x, place), d, i, g) for x, a, d, i, g in found if a == arm]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.0}
        drawn = [(x, d, i or (d, d)) for x, d, i, _ in own if d is not None]
        if drawn:
            ends = [[d - low for _, d, (low, _) in drawn], [high - d for _, d, (_, high) in drawn]]
            xs, middle = [x for x, _, _ in drawn], [d for _, d, _ in drawn]
            left.errorbar(xs, middle, yerr=ends, capsize=2, label=arm, **style)
        gates = [(x, g) for x, _, _, g in own if g]
        if gates:
            right.plot([x for x, _ in gates], [g for _, g in gates], **style)
            right.annotate(
                arm, gates[-1], xytext=(5, 0), textcoords="offset points", color=colour, va="center", fontsize=8
            )
