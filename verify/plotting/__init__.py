"""Every figure of the package, in one style: Okabe-Ito colours, a marker of its own for each series, paper-column
sizes.

Figures are made without pyplot and inside an rc context, so that a user's own style and backend stay as they were. The
modules of this room draw what the notebooks show, one for each of their subjects.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.command_line import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
LOWEST = 1e-17  # nothing below rounding is worth an axis: smaller gaps are drawn here, inside the floor
STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastslow",
    "savefig.dpi": 200,
    "figure.dpi": 100,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches with constrained layout, drawn by Agg: no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, stem: Path) -> Path:
    """Write `stem`.svg and `stem`.png, each whole and without a date; the path of the PNG."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            write_whole(stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue())
    return stem.with_name(f"{stem.name}.png")
