"""Figures of the notebook on the network: who reads whom through the slow path, how far a block is from a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.plotting import OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor


def influence_figure(moved: Mapping[str, Tensor], period: int) -> Figure:
    """Which logit (row t) moves through the slow path when a token (column s) is replaced: `moved[name][t, s]` >= 0.

    Above the diagonal a token would be read before it is written; grid lines are the blocks of `period` tokens.
    """
    from matplotlib import rc_context
    from matplotlib.colors import ListedColormap

    with rc_context(STYLE):
        figure = new_figure(6.8, 3.5)
        panels: Sequence[Axes] = figure.subplots(1, len(moved), sharey=True, squeeze=False)[0]
        for panel, (name, change) in zip(panels, moved.items(), strict=True):
            length = len(change)
            future = (change > 0).triu(1)
            kind = ((change > 0).int() + future.int()).numpy()
            colours = ListedColormap(["#FFFFFF", OKABE_ITO["sky"], OKABE_ITO["vermilion"]])
            panel.imshow(kind, cmap=colours, vmin=0, vmax=2, interpolation="nearest")
            panel.plot([-0.5, length - 0.5], [-0.5, length - 0.5], color=OKABE_ITO["black"], linewidth=0.8)
            edges = range(0, length + 1, period)
            panel.set_xticks([edge - 0.5 for edge in edges], [str(edge) for edge in edges])
            panel.set_yticks([edge - 0.5 for edge in edges], [str(edge) for edge in edges])
            panel.grid(color="#BBBBBB", linewidth=0.4)
            panel.set_title(f"{name}: {int(future.sum())} leaks", loc="left")
            panel.set_xlabel("replaced token s")
        panels[0].set_ylabel("position t of the logit")
        handles = [
            panels[0].plot([], [], "s", color=colour, markersize=6, label=label)[0]
            for colour, label in ((OKABE_ITO["sky"], "reads its past"), (OKABE_ITO["vermilion"], "reads its future"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def defect_figure(study: Mapping[str, Any]) -> Figure:
    """Relative distance of trained blocks to the nearest generator over P, from the JSON of the generator-defect study.

    Left: channel axis, beside the same matrices in random bases. Right: token axis, after the best multiple of the
    identity is taken off. Bars: the Student 95 % intervals over seeds that the JSON gives; one seed has none. Band: the
    central 95 % of Gaussian matrices.
    """
    from matplotlib import rc_context

    last = max(network["step"] for network in study["networks"])
    trained = [network for network in study["networks"] if network["step"] == last]
    with rc_context(STYLE):
        figure = new_figure(6.8, 3.4)
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        for panel, axis, null in (
            (left, "channel.distance", study["channel_null"]["distance"]),
            (right, "token.shifted_distance", study["token_null"]["shifted_distance"]),
        ):
            panel.axhspan(
                null["low"], null["high"], color=OKABE_ITO["orange"], alpha=0.35, linewidth=0, label="Gaussian matrices"
            )
            _blocks(panel, trained, axis)
            references = [(one["period"], _reference(one, axis)) for one in study["references"]]
            where = tuple(zip(*references, strict=True))
            panel.plot(*where, "s", color=OKABE_ITO["green"], markersize=5, label="a true generator block")
            panel.set_xscale("log", base=2)
            panel.set_xlabel("period P (tokens per slow update)")
        rotated = [(n["period"], n["figures"]["rotated.distance"][0]) for n in trained if n["coupled"]]
        left.plot(
            *zip(*rotated, strict=True), "+", color=OKABE_ITO["black"], markersize=11, label="coupled, random bases"
        )
        periods = sorted({network["period"] for network in trained})
        left.set_xticks(periods, [str(period) for period in periods])
        left.set_ylim(-0.05, 1.1)
        left.set_ylabel("relative distance to a generator")
        left.set_title("channel axis", loc="left")
        right.set_title("token axis, identity taken off", loc="left")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _blocks(panel: Axes, trained: Sequence[Mapping[str, Any]], axis: str) -> None:
    for coupled, colour, marker, side, label in (
        (False, OKABE_ITO["vermilion"], "^", 0.96, "first block, trained"),
        (True, OKABE_ITO["blue"], "o", 1.04, "coupled block, trained"),
    ):
        own = [(n["period"] * side, *n["figures"][axis]) for n in trained if n["coupled"] == coupled]
        xs, middle, low, high = zip(*own, strict=True) if own else ((), (), (), ())
        # one seed has no interval: a bar of no length
        bars = [
            [0.0 if end is None else m - end for m, end in zip(middle, low, strict=True)],
            [0.0 if end is None else end - m for m, end in zip(middle, high, strict=True)],
        ]
        panel.errorbar(
            xs, middle, yerr=bars, fmt=marker, color=colour, markersize=5, capsize=2, linewidth=1.0, label=label
        )


def _reference(one: Mapping[str, Any], axis: str) -> float:
    part, name = axis.split(".")
    return one["block"][part][name]
