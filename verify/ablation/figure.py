"""The figure of an ablation: paired differences to the baseline, and gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import OKABE_ITO, STYLE, new_figure
from verify.trained.arms import ARMS, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from verify.ablation.result import Ablation

ONE_SEED: Any = {"linewidth": 0.6, "alpha": 0.6}
FEW = 3  # below so many seeds Student's interval says nothing but that they are few: the seeds are drawn instead


def ablation_figure(ablation: Ablation) -> Figure:
    """Paired differences to the baseline (left) and |α| (right): over P where there are several, else along training.

    Along training the last point is the final evaluation, which reads more of the validation split than those before
    it; with fewer than `FEW` seeds, each seed is a thin line in place of the interval. `frozen` is the baseline to the
    last bit and is not drawn. Raises `ValueError` for an ablation without a finished cell.
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
            _each_gate(right, ablation, arms, beside=lambda x, place: x * 1.05**place)
            for panel in (left, right):
                panel.set_xscale("log", base=2)
                panel.set_xticks(periods, [str(period) for period in periods])
                panel.set_xlabel("period P (tokens per slow update)")
        else:
            few = len({cell.seed for cell in ablation.cells}) < FEW
            found = _along_training(ablation, intervals=not few)
            width = 0.0 if few else 0.012 * max((x for x, *_ in found), default=1.0)
            _series(left, right, found, arms, beside=lambda x, place: x + width * place)
            for panel in (left, right):
                panel.set_xlabel("training tokens (millions)")
                panel.set_xlim(left=0.0)
            if few:
                _each_seed(left, ablation, arms)
        left.set_ylabel(f"loss − {ablation.baseline} (nats per token)")
        right.set_ylabel("gate, mean |α|")
        if right.lines:
            right.set_yscale("log")
        handles, labels = _entries(left)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels) if len(labels) < 5 else 3)
    return figure


def _entries(panel: Axes) -> tuple[list[Any], list[str]]:
    """Handles and labels of a panel: an arm by its line, which both panels show, and once what its bars are."""
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

    handles, labels = panel.get_legend_handles_labels()
    bars = any(isinstance(handle, ErrorbarContainer) for handle in handles)
    handles = [handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    if bars:
        handles.append(Line2D([], [], color=GREY, linestyle="none", marker="|", markersize=9))
        labels.append("95 % interval over paired seeds")
    return handles, labels


def _along_training(ablation: Ablation, *, intervals: bool) -> list[tuple[Any, ...]]:
    """(millions of tokens, arm, difference, interval, gate) along the path, its last point the final evaluation."""
    final = {row.arm: row for row in ablation.comparisons if row.other == ablation.baseline}
    last = max((row["tokens"] for row in ablation.paths), default=0)
    found = []
    for row in ablation.paths:
        arm, end = row["arm"], final[row["arm"]]
        at_end = row["tokens"] == last
        difference, interval = (end.difference, end.interval) if at_end else (row["difference"], row["interval"])
        found.append((row["tokens"] / 1e6, arm, difference, interval if intervals else None, row["gate"]))
    return found


def _each_seed(panel: Axes, ablation: Ablation, arms: Sequence[str]) -> None:
    """A thin line for each seed's own difference along training, to its final evaluation."""
    base = {cell.seed: cell for cell in ablation.cells if cell.arm == ablation.baseline}
    for cell in ablation.cells:
        if cell.arm in arms and cell.seed in base:
            other = base[cell.seed]
            pairs = list(zip(cell.path, other.path, strict=True))
            along = [one["validation_loss"] - its["validation_loss"] for one, its in pairs[:-1]]
            panel.plot(
                [one["tokens"] / 1e6 for one, _ in pairs],
                [*along, cell.validation_loss - other.validation_loss][: len(pairs)],
                color=ARMS[cell.arm][0],
                **ONE_SEED,
            )
    panel.plot([], [], color=GREY, label="one seed", **ONE_SEED)


def _each_gate(
    panel: Axes, ablation: Ablation, arms: Sequence[str], *, beside: Callable[[float, float], float]
) -> None:
    """A dash for each seed's own gate: on a logarithmic axis a t interval of three would have no lower end."""
    for number, arm in enumerate(arms):
        own = [(cell.period, cell.gate) for cell in ablation.cells if cell.arm == arm and cell.gate]
        xs = [beside(period, number - (len(arms) - 1) / 2) for period, _ in own]
        panel.plot(xs, [gate for _, gate in own], ls="none", marker="_", markersize=5, alpha=0.6, color=ARMS[arm][0])


def _bands(panel: Axes, ablation: Ablation) -> None:
    """The two yardsticks: seed noise of the baseline, and the margin of equivalence."""
    panel.axhspan(
        -ablation.margin, ablation.margin, color=OKABE_ITO["green"], alpha=0.25, lw=0, label="± margin of equivalence"
    )
    noises = [row.seed_sd for row in ablation.comparisons if row.arm == row.other and row.seed_sd is not None]
    for sign, label in ((-1.0, "± seed noise of the baseline"), (1.0, None)) if noises else ():
        panel.axhline(sign * max(noises), color=GREY, linewidth=1.0, linestyle="--", label=label)
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
        drawn = [(x, d, i) for x, d, i, _ in own if d is not None]
        xs, middle = [x for x, _, _ in drawn], [d for _, d, _ in drawn]
        if any(interval for _, _, interval in drawn):
            known = [(d, i or (math.nan, math.nan)) for _, d, i in drawn]  # no bar where there is no interval
            ends = [[d - low for d, (low, _) in known], [high - d for d, (_, high) in known]]
            left.errorbar(xs, middle, yerr=ends, capsize=2, label=arm, **style)
        elif drawn:
            left.plot(xs, middle, label=arm, **style)
        gates = [(x, g) for x, _, _, g in own if g]
        if gates:
            right.plot([x for x, _ in gates], [g for _, g in gates], **style)
