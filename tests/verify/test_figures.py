"""The headline figure: every row is on it, the axes carry their units, nothing of the user's style is touched."""

import matplotlib as mpl
import pytest

from verify.figures import OKABE_ITO, manifold_gap_figure, save_figure
from verify.manifold_gap import measure


@pytest.fixture(scope="module")
def result():
    return measure("two_state", [2, 64, 256, 1024])


def test_every_row_is_drawn_and_the_floor_is_shaded(result):
    panel = manifold_gap_figure([result]).axes[0]
    drawn = [len(line.get_xdata()) for line in panel.lines if line.get_marker() in ("o", "x")]
    assert sum(drawn) == len(result.rows)
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert any("predicted" in label for label in labels) and any("floor" in label for label in labels)
    assert "ε" in panel.get_xlabel() and "total variation" in panel.get_ylabel()
    assert panel.get_ylim()[0] < min(row.gap_tv for row in result.rows)


def test_several_systems_make_one_panel_each(result):
    figure = manifold_gap_figure([result, result, result, result])
    assert sum(axes.axison for axes in figure.axes) == 4


def test_saving_is_whole_reproducible_and_leaves_rcparams_alone(result, tmp_path):
    before = dict(mpl.rcParams)
    first = save_figure(manifold_gap_figure([result]), tmp_path / "a")
    second = save_figure(manifold_gap_figure([result]), tmp_path / "b")
    assert dict(mpl.rcParams) == before
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_palette_is_okabe_and_ito():
    assert OKABE_ITO["vermilion"] == "#D55E00" and len(OKABE_ITO) == 8


def test_a_row_at_the_floor_is_drawn_and_printed_but_not_fitted(monkeypatch):
    from verify.fits import lbfgs
    from verify.tables import gap_table

    monkeypatch.setattr(lbfgs, "ITERATIONS", 5)
    floored = measure("two_state", [64, 1024, 4096], fit="lbfgs")
    assert all(row.floor_limited and not row.usable for row in floored.rows) and floored.slope is None
    panel = manifold_gap_figure([floored]).axes[0]
    drawn = [len(line.get_xdata()) for line in panel.lines if "floor" in str(line.get_label())]
    assert 3 in drawn
    assert all(f"{row.period:>7} " in gap_table(floored) for row in floored.rows)
