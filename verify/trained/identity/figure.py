"""Three rooms, three panels: gap against P, with what is predicted of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import LOWEST, OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "exact": "exact: any text",
    "own_world": "structural: the network's own world",
    "text": "gap: real text",
}
SERIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "exact": (
        ("gap_tv", "TV(m⁺, p_st)", "blue", "o", "-"),
        ("other_gap_tv", "to another label's p_st", "purple", "v", ":"),
        ("residual", "residual", "green", "s", "-"),
        ("swapped_residual", "residual, ends swapped", "vermilion", "x", ":"),
    ),
    "own_world": (
        ("gap_tv", "TV(φ_θ, p_st), Newton", "blue", "o", "-"),
        ("adamw_gap_tv", "TV(φ_θ, p_st), AdamW", "orange", "^", "-"),
        ("certificate_tv", "certificate", "black", ".", ":"),
    ),
    "text": (
        ("gap_tv", "TV(φ_θ, p_st)", "blue", "o", "-"),
        ("calibration_tv", "calibration part", "orange", "^", "--"),
        ("residual", "the rest", "green", "s", "--"),
        ("other_gap_tv", "to another y's p_st", "purple", "v", ":"),
        ("phi_spread_tv", "spread of φ_θ over y", "black", ".", ":"),
    ),
}


def network_figure(result: dict[str, Any], trained: Sequence[dict[str, Any]] = ()) -> Figure:
    """The figure of a `NetworkIdentity` as plain data. trained: {period, gap_tv} of networks trained at other P and
    measured as they are, without any re-solving."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        rooms = result["rooms"]
        figure = new_figure(max(5.4, 3.4 * len(rooms)), 3.4)
        for axes, room in zip(figure.subplots(1, len(rooms), squeeze=False)[0], rooms, strict=True):
            _panel(axes, room)
            if room["name"] == "text" and trained:
                ordered = sorted(trained, key=lambda row: row["period"])
                axes.plot(
                    [row["period"] for row in ordered],
                    [row["gap_tv"] for row in ordered],
                    color=OKABE_ITO["vermilion"],
                    marker="D",
                    linestyle="none",
                    markersize=4,
                    label="trained at P, as it is",
                )
            axes.legend(loc="best", fontsize=6.5)
    return figure


def _panel(axes: Axes, room: dict[str, Any]) -> None:
    kinds = list(dict.fromkeys(row.get("labels") for row in room["rows"]))
    rows = [row for row in room["rows"] if row.get("labels") == kinds[0]]
    periods = [row["period"] for row in rows]
    axes.plot(
        periods,
        [row["predicted_tv"] for row in rows],
        color=OKABE_ITO["sky"],
        linewidth=4,
        alpha=0.5,
        label={"exact": "boundary ‖A^#Kb‖/2P", "own_world": "predicted", "text": "boundary part"}[room["name"]],
    )
    for key, label, colour, marker, style in SERIES[room["name"]]:
        if key in rows[0]:
            values = [math.nan if row[key] is None else max(row[key], LOWEST) for row in rows]
            axes.plot(
                periods, values, color=OKABE_ITO[colour], marker=marker, linestyle=style, markersize=4, label=label
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens per slow update, P = 1/ε")
    axes.set_ylabel("total variation")
    slope = "" if room["slope"] is None else f", slope {room['slope']:.3f}"
    axes.set_title(f"{TITLES[room['name']]}{slope}")
