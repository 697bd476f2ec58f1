"""The figure of a reduction: error against ε, what is predicted, the tolerance, and ε*."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from verify.plotting import OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from verify.reduction.judgement import Reduction

_TITLES = {"x": "x: total variation after the layer", "y": "y: largest part of the box"}


def reduction_figure(result: Reduction) -> Figure:
    """A panel for x and one for y; both orders in each."""
    from matplotlib import rc_context

    found = result.trust
    with rc_context(STYLE):
        figure = new_figure(6.8, 3.2)
        for panel, v in zip(figure.subplots(1, 2), ("x", "y"), strict=True):
            for one, colour, marker in zip(found.orders, ("blue", "vermilion"), ("o", "s"), strict=True):
                points = [
                    (e, error)
                    for e, error in zip(found.grid, one.errors[v], strict=True)
                    if math.isfinite(error) and error > 0
                ]
                if points:
                    panel.plot(
                        *zip(*points, strict=True),
                        marker + "-",
                        color=OKABE_ITO[colour],
                        ms=3,
                        label=f"order {one.order}",
                    )
                predicted = one.predicted[v]
                if predicted is not None:
                    line = [found.tolerance * (e / predicted) ** (one.order + 1) for e in found.grid]
                    panel.plot(found.grid, line, ":", color=OKABE_ITO[colour], label=f"order {one.order}, predicted")
                eps = one.eps[v]
                if eps is not None:
                    panel.axvline(eps, color=OKABE_ITO[colour], lw=0.8, alpha=0.6)
            panel.axhline(found.tolerance, color=OKABE_ITO["black"], lw=0.8)
            panel.set(xscale="log", yscale="log", xlabel="ε", title=_TITLES[v])
        figure.axes[0].set_ylabel("largest error over starts")
        figure.axes[0].legend()
        figure.suptitle(f"{found.system}: reduced against full model, tolerance {found.tolerance:g}")
    return figure
