"""The figures of the notebooks: every axis has its label, what is drawn is what was given, no session is changed."""

import io
import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from matplotlib import image

from verify.manifold_gap import measure
from verify.plotting import LOWEST
from verify.plotting import attention as notebook_attention
from verify.plotting import generator as notebook_generator
from verify.plotting import manifold as notebook_manifold
from verify.plotting import network as notebook_network
from verify.plotting.display import POINTS_PER_INCH, show
from verify.plotting.manifold import BESIDE

pytestmark = pytest.mark.numerical

ROOT = Path(__file__).parents[2]
DEFECT = ROOT / "benchmarks" / "results" / "generator_defect.json"


def line(panel, label):
    """(x, y) of the line with this label, as lists."""
    (found,) = [one for one in panel.lines if one.get_label() == label]
    return [list(map(float, values)) for values in found.get_data()]


def check_labels(figure, *, panels):
    drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(drawn) == panels
    assert all(axes.get_xlabel() for axes in drawn)
    first = [axes for axes in drawn if axes.get_subplotspec().colspan.start == 0]
    assert first and all(axes.get_ylabel() for axes in first)
    figure.canvas.draw()


@pytest.fixture(scope="module")
def result():
    return measure("two_state", [2, 8, 64, 512])


def test_show_gives_a_png_of_the_stated_size_and_leaves_the_session_alone(result):
    before = dict(mpl.rcParams)
    figure = notebook_manifold.error_budget_figure(result)
    data, metadata = show(figure)._repr_mimebundle_()
    assert dict(mpl.rcParams) == before
    height, width = image.imread(io.BytesIO(data["image/png"]), format="png").shape[:2]
    inches = figure.get_size_inches()
    assert (width, height) == (round(200 * inches[0]), round(200 * inches[1]))
    assert metadata == {"image/png": {"width": round(POINTS_PER_INCH * inches[0]), "height": round(110 * inches[1])}}
    assert data["text/plain"] == "Figure: total variation over ε = 1/P (dimensionless)"


def test_error_budget_draws_every_part_of_every_row(result):
    figure = notebook_manifold.error_budget_figure(result)
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    for label, name in (
        ("gap: TV(φ_θ, p_st)", "gap_tv"),
        ("pooling: TV(x̄, p_st)", "pooling_tv"),
        ("learning: TV(φ_θ, x̄)", "learning_tv"),
        ("certificate: proven ≥ gap", "certificate_tv"),
    ):
        x, y = line(panel, label)
        assert x == [row.epsilon for row in result.rows]
        assert y == [max(getattr(row, name), LOWEST) for row in result.rows]
    assert panel.get_ylim()[0] < result.floor_tv


def test_optimisers_draws_each_gap_and_its_floor(result):
    other = replace(result, fit="other", rows=result.rows[1:3], floor_tv=1e-3)
    figure = notebook_manifold.optimisers_figure([result, other])
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    assert line(panel, "predicted")[1] == [row.predicted_tv for row in result.rows]

    def groups(marker):
        return [one for one in panel.lines if one.get_marker() == marker and len(one.get_xdata())]

    (first, beside) = (sorted(x for group in drawn for x in group.get_xdata()) for drawn in (groups("o"), groups("^")))
    assert [x * BESIDE**0.5 for x in first] == pytest.approx(sorted(row.epsilon for row in result.rows))
    assert [x / BESIDE**0.5 for x in beside] == pytest.approx(sorted(row.epsilon for row in result.rows[1:3]))
    open_ = [one for one in groups("o") if one.get_markerfacecolor() == "none"]
    assert sum(len(one.get_xdata()) for one in open_) == sum(not row.usable for row in result.rows) > 0
    assert set(line(panel, "other: floor 1e-03")[1]) == {1e-3}


def test_phase_plane_has_a_panel_for_each_eps_and_a_line_for_each_trajectory():
    y, value = torch.rand(2, 3, 5, dtype=torch.float64)
    figure = notebook_manifold.phase_plane_figure(
        {0.5: (y, value), 0.1: (y + 1, value)}, (y[0], value[0]), slow="slow one", fast="fast one"
    )
    check_labels(figure, panels=2)
    left, right = figure.axes
    assert left.get_title(loc="left") == "ε = 0.5" and right.get_title(loc="left") == "ε = 0.1"
    assert [list(one.get_xdata()) for one in right.lines[:3]] == (y + 1).tolist()
    assert line(right, "start")[0] == (y[:, 0] + 1).tolist() and line(right, "end")[1] == value[:, -1].tolist()


def test_boundary_layer_stops_at_the_last_time_and_falls_at_the_gap():
    time = torch.linspace(0.0, 10.0, 41, dtype=torch.float64)
    distance = {0.2: 0.5 * (-2 * time).exp() + 1e-3, 0.01: 0.5 * (-2 * time).exp()}
    figure = notebook_manifold.boundary_layer_figure(time, distance, 2.0, t_end=1.0)
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    assert max(line(panel, "ε = 0.2")[0]) == 5.0 and max(line(panel, "ε = 0.01")[0]) == 10.0
    x, y = line(panel, "exp(−gap · t/ε)")
    assert y == pytest.approx((0.501 * torch.exp(-2 * torch.tensor(x))).tolist(), rel=1e-6)


def test_orders_names_each_slope():
    eps = torch.logspace(-3, -1, 4, dtype=torch.float64)
    error = [eps ** (k + 1) for k in range(4)]
    figure = notebook_manifold.orders_figure(eps, error, [2 * e for e in error], [1.0, 2.0, 3.0, 4.0])
    check_labels(figure, panels=2)
    left, right = figure.axes
    assert line(left, "k = 2: slope 3.00")[1] == error[2].tolist()
    assert [list(one.get_ydata()) for one in right.lines] == [(2 * e).tolist() for e in error]


def test_routes_are_drawn_in_order_with_zero_at_the_end_of_the_axis():
    figure = notebook_generator.routes_figure({"first": 0.0, "second": 1e-3}, rounding=1e-15, sampling=1e-2)
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["first", "second"]
    assert list(panel.lines[0].get_xdata()) == [LOWEST, 1e-3]
    assert [one.get_xdata()[0] for one in panel.lines[1:]] == [1e-15, 1e-2]


def test_metastable_sets_negative_entries_apart():
    sites = torch.linspace(-1, 1, 4, dtype=torch.float64)
    exact = torch.tensor([0.1, 0.4, 0.4, 0.1], dtype=torch.float64)
    wrong = torch.tensor([-1e-3, 0.4, 0.5, 0.1], dtype=torch.float64)
    figure = notebook_generator.metastable_figure(sites, exact, {"wrong": wrong})
    check_labels(figure, panels=2)
    left, right = figure.axes
    assert line(left, "wrong")[1] == wrong[1:].tolist()
    (crosses,) = [one for one in left.lines if one.get_marker() == "x"]
    assert crosses.get_xdata().tolist() == [-1.0] and crosses.get_ydata().tolist() == [1e-3]
    assert right.lines[0].get_ydata().tolist() == pytest.approx([1.01, LOWEST, 0.25, LOWEST])


def test_certificate_has_the_line_that_no_point_may_cross():
    tv = {"one": torch.tensor([1e-6, 0.1], dtype=torch.float64)}
    figure = notebook_generator.certificate_figure(tv, {"one": 2 * tv["one"]})
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    x, y = line(panel, "certificate = truth")
    assert x == y and panel.get_xlim() == panel.get_ylim()
    assert line(panel, "one")[1] == [2e-6, 0.2]


def test_attention_shows_each_map_over_its_stationary_distribution():
    W = torch.rand(4, 4, dtype=torch.float64).softmax(-1)
    p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    figure = notebook_attention.attention_figure({"full": W}, {"full": p})
    check_labels(figure, panels=2)
    above, below = figure.axes[:2]
    assert above.images[0].get_array().tolist() == W.tolist()
    assert [bar.get_height() for bar in below.patches] == p.tolist()


def test_layers_and_mixing_draw_the_data_and_the_lines_that_they_are_held_against():
    depth = torch.arange(1, 5)
    tv = 0.5 ** depth.double()
    figure = notebook_attention.layers_figure(depth, {"causal": tv}, {"causal": 2 * tv}, through=3.0)
    check_labels(figure, panels=1)
    assert line(figure.axes[0], "causal")[1] == tv.tolist()
    assert figure.axes[0].lines[1].get_ydata().tolist() == (2 * tv).tolist()
    gap = torch.tensor([0.1, 0.5], dtype=torch.float64)
    figure = notebook_attention.mixing_figure({"full": gap}, {"full": 1 / gap}, 0.69, 2.0)
    check_labels(figure, panels=1)
    (panel,) = figure.axes
    assert line(panel, "full") == [gap.tolist(), (1 / gap).tolist()]
    assert line(panel, "0.69/gap (proven)")[1] == pytest.approx([6.9, 1.38])
    assert line(panel, "2.00/gap (largest seen)")[1] == pytest.approx([20.0, 4.0])


def test_influence_counts_what_is_read_before_it_is_written():
    moved = torch.ones(8, 8, dtype=torch.float64).tril()
    leaking = moved.clone()
    leaking[2, 5] = 1e-12
    figure = notebook_network.influence_figure({"causal": moved, "leaking": leaking}, 4)
    check_labels(figure, panels=2)
    left, right = figure.axes
    assert left.get_title(loc="left") == "causal: 0 leaks" and right.get_title(loc="left") == "leaking: 1 leaks"
    kind = right.images[0].get_array()
    assert kind[2, 5] == 2 and kind[5, 2] == 1 and left.images[0].get_array()[2, 5] == 0


def test_the_bars_are_the_intervals_of_the_json_however_few_the_seeds():
    study = json.loads(DEFECT.read_text())
    last = max(network["step"] for network in study["networks"])
    two, one = [n for n in study["networks"] if n["step"] == last and n["coupled"]][:2]
    two |= {"seeds": [0, 1], "figures": two["figures"] | {"channel.distance": [0.5, 0.2, 0.8]}}
    one |= {"seeds": [0], "figures": one["figures"] | {"channel.distance": [0.6, None, None]}}
    panel = notebook_network.defect_figure(study).axes[0]
    bars = next(c for c in panel.containers if c.get_label() == "coupled block, trained")
    marks, _, (segments,) = bars
    assert marks.get_ydata()[:2].tolist() == [0.5, 0.6]
    ends = [segment[:, 1].tolist() for segment in segments.get_segments()[:2]]
    assert ends == [pytest.approx([0.2, 0.8]), pytest.approx([0.6, 0.6])]


def test_defect_shows_the_blocks_at_the_end_of_training_and_true_generators_at_zero():
    study = json.loads(DEFECT.read_text())
    figure = notebook_network.defect_figure(study)
    check_labels(figure, panels=2)
    last = max(network["step"] for network in study["networks"])
    for panel, axis in zip(figure.axes, ("channel.distance", "token.shifted_distance"), strict=True):
        bars = {container.get_label(): container for container in panel.containers}
        for coupled, label in ((False, "first block, trained"), (True, "coupled block, trained")):
            own = [n for n in study["networks"] if n["step"] == last and n["coupled"] == coupled]
            marks, _, (segments,) = bars[label]
            assert marks.get_ydata().tolist() == [n["figures"][axis][0] for n in own]
            ends = [segment[:, 1].tolist() for segment in segments.get_segments()]
            assert ends == [pytest.approx(n["figures"][axis][1:], abs=1e-12) for n in own]
        assert max(line(panel, "a true generator block")[1]) < 1e-12
