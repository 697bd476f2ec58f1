"""Figures of the notebook on attention read as a generator: maps, the sink, mixing against the spectral gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from verify.plotting import OKABE_ITO, STYLE, new_figure
from verify.plotting.manifold import SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

ROUNDING = 1e-16  # below it a total variation of probabilities is noise


def attention_figure(maps: Mapping[str, Tensor], stationary: Mapping[str, Tensor]) -> Figure:
    """Attention maps W[n, n] by name, row i what token i pays, and p_st[n] of A = Wᵀ − I under each."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.8, 4.4)
        panels = figure.subplots(2, len(maps), height_ratios=[3, 1.3], squeeze=False)
        image = None
        for column, (name, W) in enumerate(maps.items()):
            above, below = panels[:, column]
            image = above.imshow(W.numpy(), cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
            above.set_title(name, loc="left")
            above.set_xlabel("token attended to, j")
            above.set_ylabel("token that attends, i")
            below.bar(range(len(W)), stationary[name].tolist(), color=OKABE_ITO["blue"])
            below.set_xlim(-0.5, len(W) - 0.5)
            below.set_ylim(0.0, 1.05)
            below.set_xlabel("token")
            below.set_ylabel("p_st (probability)")
        if image is not None:
            figure.colorbar(image, ax=panels[0], label="attention W_ij", shrink=0.9)
    return figure


def layers_figure(
    depth: Tensor, mass: Mapping[str, Tensor], predicted: Mapping[str, Tensor], *, through: float
) -> Figure:
    """TV to p_st after L layers, `mass[name][k]` at `depth[k]`, and the rate that the map's eigenvalue predicts.

    through: the number of layers at which the prediction is given the measured value.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(5.2, 3.2)
        panel = figure.subplots()
        for (colour, marker), (name, values) in zip(SERIES, mass.items(), strict=False):
            panel.plot(depth, values, marker, color=colour, markersize=4.5, label=name)
            panel.plot(depth, predicted[name], color=colour, linestyle="--", linewidth=1.0)
        panel.plot(
            [],
            [],
            color=OKABE_ITO["black"],
            linestyle="--",
            linewidth=1.0,
            label=f"rate |λ₂|, through the point at L = {int(through)}",
        )
        panel.set_yscale("log")
        panel.set_ylim(bottom=ROUNDING / 3)
        panel.set_xlabel("number of layers L")
        panel.set_ylabel("TV(last row of W^L, p_st)")
        panel.legend(loc="lower left")
    return figure


def mixing_figure(gap: Mapping[str, Tensor], time: Mapping[str, Tensor], low: float, high: float) -> Figure:
    """Mixing time over spectral gap for groups of maps by name, between the lines low/gap and high/gap."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(5.2, 3.4)
        panel = figure.subplots()
        ends = [min(float(g.min()) for g in gap.values()), max(float(g.max()) for g in gap.values())]
        for (colour, marker), name in zip(SERIES, gap, strict=False):
            panel.plot(gap[name], time[name], marker, color=colour, markersize=4, linestyle="none", label=name)
        for factor, style, label in (
            (low, "--", f"{low:.2f}/gap (proven)"),
            (high, ":", f"{high:.2f}/gap (largest seen)"),
        ):
            panel.plot(ends, [factor / end for end in ends], color=OKABE_ITO["black"], linestyle=style, label=label)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("spectral gap of A = Wᵀ − I (per layer)")
        panel.set_ylabel("mixing time to TV 1/4 (one layer = one unit)")
        panel.legend(loc="upper right")
    return figure
