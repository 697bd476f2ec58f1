"""Figures of the notebooks on generators: routes to p_st, solvers on a metastable chain, the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from verify.plotting import LOWEST, OKABE_ITO, STYLE, new_figure
from verify.plotting.manifold import SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def routes_figure(distance: Mapping[str, float], rounding: float, sampling: float) -> Figure:
    """TV of each route to p_st, by name, on a log axis, with the rounding of n states and the 95 % sampling error."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(5.2, 2.8)
        panel = figure.subplots()
        names = list(distance)
        panel.plot(
            [max(distance[name], LOWEST) for name in names],
            range(len(names)),
            "o",
            color=OKABE_ITO["blue"],
            markersize=6,
        )
        for place, colour, style, label in (
            (rounding, OKABE_ITO["black"], "--", "n unit round-offs"),
            (sampling, OKABE_ITO["vermilion"], ":", "expected for the jumps"),
        ):
            panel.axvline(place, color=colour, linestyle=style, linewidth=1.0)
            panel.annotate(
                label,
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=8,
            )
        panel.set_xscale("log")
        panel.set_xlim(LOWEST / 3, 1.0)
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_ylabel("route")
        panel.set_xlabel("TV to the exact rational p_st (10⁻¹⁷ stands for 0)")
    return figure


def metastable_figure(sites: Tensor, exact: Tensor, found: Mapping[str, Tensor]) -> Figure:
    """|p| over the sites (left; negative entries are crosses) and entrywise relative errors (right)."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 3.4)
        left, right = figure.subplots(1, 2, sharex=True)
        left.plot(sites, exact, color=OKABE_ITO["black"], label="exact, exp(−V)")
        for (colour, marker), (name, p) in zip(SERIES, found.items(), strict=False):
            style: dict[str, Any] = {"color": colour, "markersize": 4, "markerfacecolor": "none", "linestyle": "none"}
            positive = p > 0
            left.plot(sites[positive], p[positive], marker, label=name, **style)
            left.plot(sites[~positive], p[~positive].abs(), "x", color=colour, markersize=6)
            right.plot(sites, ((p - exact) / exact).abs().clamp(min=LOWEST), marker, **style)
        left.set_ylabel("|p_st| (crosses: negative)")
        right.set_ylabel("relative error of each entry\n(10⁻¹⁷ stands for 0)")
        right.axhline(1.0, color=OKABE_ITO["black"], linestyle="--", linewidth=0.8)
        right.annotate(
            "above: no digit is right", (0.5, 1.0), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", fontsize=8, ha="center",
        )  # fmt: skip
        for panel, decades in ((left, range(-60, 1, 10)), (right, range(-16, 33, 8))):
            panel.set_yscale("log")
            panel.set_yticks([10.0**decade for decade in decades])
            panel.minorticks_off()
            panel.set_xlabel("position s (well minima at ±1)")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def certificate_figure(tv: Mapping[str, Tensor], bound: Mapping[str, Tensor]) -> Figure:
    """The certificate over the true TV(q, p_st), for groups of (A, q) by name; no point may lie below the line."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(4.2, 3.6)
        panel = figure.subplots()
        panel.plot([LOWEST, 1.0], [LOWEST, 1.0], color=OKABE_ITO["black"], label="certificate = truth")
        for (colour, marker), name in zip(SERIES, tv, strict=False):
            panel.plot(tv[name], bound[name], marker, color=colour, markersize=3.5, linestyle="none", label=name)
        lowest = min(float(values.min()) for values in tv.values()) / 3
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(lowest, 2.0)
        panel.set_ylim(lowest, 2.0)
        panel.set_xlabel("TV(q, p_st), the truth")
        panel.set_ylabel("certificate, without p_st")
        panel.legend(loc="lower right")
    return figure
