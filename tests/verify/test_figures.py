"""The headline figure: every row is on it, the axes carry their units, nothing of the user's style is touched."""

from dataclasses import replace

import matplotlib as mpl
import pytest

from verify.manifold_gap import measure
from verify.manifold_gap.figure import manifold_gap_figure
from verify.plotting import OKABE_ITO, save_figure


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


def test_the_lower_panel_holds_measured_over_predicted_of_the_fitted_rows(result):
    above, below = manifold_gap_figure([result]).axes
    fitted = [row for row in result.rows if row.usable]
    assert 0 < len(fitted) < len(result.rows)
    points = max(below.lines, key=lambda line: len(line.get_xdata()))
    assert list(points.get_xdata()) == [row.epsilon for row in fitted]
    assert list(points.get_ydata()) == [row.gap_tv / row.predicted_tv for row in fitted]
    low, high = below.get_ylim()
    assert low <= 0.98 and high >= 1.02
    assert "ε" in below.get_xlabel() and "predicted" in below.get_ylabel()
    assert not above.xaxis.label.get_visible() and above.get_xlim() == below.get_xlim()


def test_sampling_errors_are_bars_of_the_ratio(result):
    noisy = replace(result, rows=[replace(row, gap_error=0.1 * row.gap_tv) for row in result.rows])
    _, below = manifold_gap_figure([noisy]).axes
    (bars,) = below.containers
    ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
    fitted = [row for row in noisy.rows if row.usable]
    assert [high - low for low, high in ends] == [
        pytest.approx(2 * (noisy.floor_tv + 0.3 * row.gap_tv) / row.predicted_tv) for row in fitted
    ]


def test_without_a_fitted_row_there_is_no_lower_panel(result):
    early = replace(result, rows=[replace(row, pre_asymptotic=True) for row in result.rows], slope=None)
    (panel,) = manifold_gap_figure([early]).axes
    assert panel.xaxis.label.get_visible()
    flat = replace(result, rows=[replace(row, predicted_tv=0.0) for row in result.rows])
    assert len(manifold_gap_figure([flat]).axes) == 1
    assert len(manifold_gap_figure([replace(result, rows=result.rows[:1])]).axes) == 1


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
    from verify.manifold_gap.table import gap_table

    monkeypatch.setattr(lbfgs, "ITERATIONS", 5)
    floored = measure("two_state", [64, 1024, 4096], fit="lbfgs")
    assert all(row.floor_limited and not row.usable for row in floored.rows) and floored.slope is None
    panel = manifold_gap_figure([floored]).axes[0]
    drawn = [len(line.get_xdata()) for line in panel.lines if "floor" in str(line.get_label())]
    assert 3 in drawn
    assert all(f"{row.period:>7} " in gap_table(floored) for row in floored.rows)


# along training


def cell(arm, seed, loss, path):
    from verify.ablation.result import TrainedCell

    gate = None if arm == "dense" else 0.1
    points = tuple(
        {"tokens": tokens, "validation_loss": value, "closed_gate_loss": None, "gate": gate, "feedback_ratio": None}
        for tokens, value in path
    )
    return TrainedCell(8, arm, seed, loss, None, gate, None, points, 1, 1.0)


def ablation(seeds):
    from verify.ablation.result import Ablation

    dense = [cell("dense", s, 1.0 + s, [(1e6, 2.0), (2e6, 1.5)]) for s in range(seeds)]
    coupled = [cell("coupled", s, 1.1 + s + 0.01 * s, [(1e6, 2.2), (2e6, 1.4)]) for s in range(seeds)]
    return Ablation("dense", (*dense, *coupled), 0.01, {}, {}, {})


def test_the_last_point_along_training_is_the_final_evaluation():
    from verify.ablation.figure import ablation_figure

    found = ablation(5)
    left, _ = ablation_figure(found).axes
    (bars,) = left.containers
    row = next(row for row in found.comparisons if row.arm == "coupled")
    assert bars[0].get_ydata().tolist() == pytest.approx([0.2, row.difference]) and row.difference > 0
    assert bars[2][0].get_segments()[-1][:, 1].tolist() == pytest.approx(row.interval)
    labels = left.get_legend_handles_labels()[1]
    assert "one seed" not in labels and "± seed noise of the baseline" in labels


def test_few_seeds_are_thin_lines_without_bars():
    from verify.ablation.figure import ablation_figure

    left, _ = ablation_figure(ablation(2)).axes
    assert left.containers == []
    thin = [line for line in left.lines if line.get_linewidth() == 0.6 and len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in thin] == [pytest.approx([0.2, 0.1]), pytest.approx([0.2, 0.11])]
    noise = [line for line in left.lines if line.get_linestyle() == "--"]
    assert sorted(line.get_ydata()[0] for line in noise) == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert left.get_legend_handles_labels()[1] == [
        "± margin of equivalence",
        "± seed noise of the baseline",
        "coupled",
        "one seed",
    ]
