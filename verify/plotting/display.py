"""A figure as the value of a notebook cell, drawn in the style of the package and not in that of the session.

Figures of this package are made without pyplot, so the inline backend does not know them. `show` draws one inside the
package's rc context and hands its PNG to whatever displays the cell. For a vector file there is
`verify.plotting.save_figure`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verify.plotting import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_PER_INCH = 110  # on the page: a figure of 6.8 inches is 748 wide


@dataclass(frozen=True)
class Shown:
    """A drawn figure: its PNG, its size on the page, and what is said of it where no image can be shown."""

    png: bytes
    width: int
    height: int
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, object], object]:
        bundle: dict[str, object] = {"image/png": self.png, "text/plain": self.text}
        return bundle, {"image/png": {"width": self.width, "height": self.height}}


def show(figure: Figure) -> Shown:
    """`figure` as what the last line of a cell displays; the axis labels stand for it where it is read as text."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    panels = [axes for axes in figure.axes if axes.get_xlabel() and axes.get_ylabel()]
    text = "Figure: " + "; ".join(f"{axes.get_ylabel()} over {axes.get_xlabel()}" for axes in panels)
    width, height = (round(POINTS_PER_INCH * inches) for inches in figure.get_size_inches())
    return Shown(buffer.getvalue(), width, height, text)
