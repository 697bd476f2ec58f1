"""Figures over depth: distances on both axes with their nulls, and the attention sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.generator_defect.layers import FIGURE
from verify.plotting import OKABE_ITO, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("blue", "vermilion", "green", "purple", "orange", "sky")


def depth_figure(found: Sequence[Mapping[str, Any]], labels: Sequence[str] = ()) -> Figure:
    """Three panels over the layers of each of `found` (the plain data of a `PretrainedDefect`): channel axis, token
    axis, weight of attention on the first token; triangles are the means of the initialisations, grey the signs at
    random of the first."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 2.9)
        channel, token, sink = figure.subplots(1, 3)
        for k, one in enumerate(found):
            colour, rows = OKABE_ITO[COLOURS[k % len(COLOURS)]], one["layers"]
            depth = [row["layer"] for row in rows]
            label = labels[k] if labels else f"{one['model'].rstrip('/').rsplit('/', 1)[-1]}, T = {one['length']}"
            for panel, axis in ((channel, "channel"), (token, "token")):
                panel.plot(depth, [row[axis][FIGURE] for row in rows], "o-", ms=3, color=colour, label=label)
                initial = [(row["layer"], row[axis]["init"]) for row in rows if row[axis]["init"]]
                means = [sum(values) / len(values) for _, values in initial]
                panel.plot([n for n, _ in initial], means, "^", ms=4, mfc="none", color=colour)
                if k == 0:
                    low, high = zip(*(row[axis]["sign_flip"] for row in rows), strict=True)
                    panel.fill_between(depth, low, high, color=OKABE_ITO["black"], alpha=0.15, lw=0)
            sink.plot(depth, [row["weight_on_first"] for row in rows], "o-", ms=3, color=colour)
            initial = [(row["layer"], row["init"]["weight_on_first"]) for row in rows]
            means = [(n, sum(values) / len(values)) for n, values in initial if values]
            sink.plot([n for n, _ in means], [mean for _, mean in means], "^", ms=4, mfc="none", color=colour)
        for panel, title in ((channel, "channel axis"), (token, "token axis"), (sink, "weight on token 0")):
            panel.set(xlabel="layer", title=title, ylim=(0, 1))
        channel.set_ylabel("shifted distance to a generator")
        token.set_ylabel("shifted distance to a generator")
        sink.set_ylabel("mean over tokens and heads")
        handles, names = channel.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure
