"""Figures of the positive control: what the coupling is worth where a slow variable exists, and where it can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import OKABE_ITO, STYLE, new_figure
from verify.trained.arms import ARMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = ((OKABE_ITO["vermilion"], "^", "--"), (OKABE_ITO["green"], "s", ":"), (OKABE_ITO["blue"], "o", "-"))


def control_figure(control: Mapping[str, Any], opening: Mapping[str, Any]) -> Figure:
    """From the JSON of the studies `control` and `opening`: what each arm is worth (left), and how gates open (right).

    Left: differences of losses, a small marker a seed and the Student 95 % interval that the JSON gives, where there
    are two seeds or more. Right: |α| along training, a line a seed, for each form of a scalar gate.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 3.2)
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
        _differences(left, control["rows"])
        _gates(right, opening["rows"])
    return figure


def _differences(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    shown = [(row, other, one) for row in rows for other, one in row["against"].items()]
    for place, (row, _, one) in enumerate(reversed(shown)):
        colour, marker = ARMS[row["name"]]
        values = one["differences"]
        panel.plot(values, [place - 0.22] * len(values), marker, color=colour, markersize=3, alpha=0.6)
        low, high = one["interval"] or (one["mean"],) * 2
        bar = [[one["mean"] - low], [high - one["mean"]]]
        panel.errorbar(one["mean"], place, xerr=bar, fmt=marker, color=colour, markersize=5, capsize=2, linewidth=1.0)
    names = [f"{row['name']} − {other}\n{row['group'].split(',')[0]}" for row, other, _ in reversed(shown)]
    panel.set_yticks(range(len(shown)), names, fontsize=7)
    panel.axvline(0.0, color=OKABE_ITO["black"], linewidth=0.8)
    panel.set_xlabel("difference of losses (nats per token)")
    panel.set_ylim(-0.6, len(shown) - 0.4)


def _gates(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    trained = [row for row in rows if any(gate is not None for gate in row["gates"])]
    for row, (colour, marker, line) in zip(trained, LOOKS, strict=False):
        for number, path in enumerate(row["gate_paths"]):
            share = [(k + 1) / len(path) for k in range(len(path))]
            label = row["name"] if number == 0 else None
            how: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "label": label}
            panel.plot(share, path, markersize=3.5, linewidth=0.9, alpha=0.8, **how)
    panel.set_yscale("log")
    panel.set_xlabel("share of training")
    panel.set_ylabel("gate |α|, s = 0.5")
    panel.legend(fontsize=7)


def phase_figure(study: Mapping[str, Any]) -> Figure:
    """From the JSON of the study `phase`: what a slow path of period P can add to a window, over f and P, a panel an s.

    Colour: the exact worth in nats per token, between the best loss that the window alone allows and the best with
    every complete block. Numbers: the share of its gap to the filter that the trained coupled model closes, where it
    was trained. Line: P as long as a regime lasts on average.
    """
    from matplotlib import rc_context

    rows = study["predicted"]
    strengths = sorted({row["s"] for row in rows})
    periods, rates = sorted({row["period"] for row in rows}), sorted({row["f"] for row in rows})
    most = max(row["worth"] for row in rows)
    measured = {(row["group"], row["name"]): row for row in study["rows"]}
    with rc_context(STYLE):
        figure = new_figure(6.8, 3.3)
        panels: Sequence[Axes] = figure.subplots(1, len(strengths), sharey=True, squeeze=False)[0]
        image: Any = None
        for panel, s in zip(panels, strengths, strict=True):
            worth = {(row["f"], row["period"]): row["worth"] for row in rows if row["s"] == s}
            grid = [[worth[f, period] for period in periods] for f in rates]
            image = panel.imshow(grid, cmap="cividis", vmin=0.0, vmax=most, origin="lower", aspect="auto")
            for y, f in enumerate(rates):
                for x, period in enumerate(periods):
                    closed = _closed(measured.get((f"s = {s:g}, f = {_fraction(f)}", f"coupled, P = {period}")))
                    if closed is not None:
                        dark = worth[f, period] < 0.6 * most
                        panel.text(x, y, f"{closed:.0%}", ha="center", va="center", color="w" if dark else "k", size=7)
            # A regime lasts 8/f tokens on average: where is that P?
            lasting = [math.log2(8.0 / f) - 1.0 for f in rates]
            panel.plot(lasting, range(len(rates)), color=OKABE_ITO["vermilion"], linewidth=1.2, clip_on=True)
            panel.set_xlim(-0.5, len(periods) - 0.5)
            panel.set_xticks(range(len(periods)), [str(period) for period in periods])
            panel.set_yticks(range(len(rates)), [_fraction(f) for f in rates])
            panel.set_xlabel("period P (tokens per slow update)")
            panel.set_title(f"s = {s:g}", loc="left")
        panels[0].set_ylabel("flip probability f a block of 8 tokens")
        bar = figure.colorbar(image, ax=list(panels), pad=0.02)
        bar.set_label("worth of a slow path (nats per token)")
        handle = panels[0].plot([], [], color=OKABE_ITO["vermilion"], label="P = a regime's mean length")[0]
        figure.legend(handles=[handle], loc="outside lower center", fontsize=7)
    return figure


def _closed(row: Mapping[str, Any] | None) -> float | None:
    """The mean share of dense − filter that was closed; None where nothing was trained."""
    shares = None if row is None or "dense" not in row["against"] else row["against"]["dense"]["shares_closed"]
    return sum(shares) / len(shares) if shares else None


def _fraction(f: float) -> str:
    return "1" if f == 1 else f"1/{round(1 / f)}"
