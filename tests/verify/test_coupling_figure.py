"""The figures of the positive control show every seed, the intervals of the JSON, and no share that was not trained."""

from verify.trained.coupling_figure import control_figure, phase_figure


def row(name, group, **against):
    found = {
        other: {"differences": values, "mean": sum(values) / len(values), "interval": None}
        for other, values in against.items()
    }
    return {"name": name, "group": group, "against": found, "gates": [0.2], "gate_paths": [[0.01, 0.2]]}


def test_the_control_shows_each_comparison_with_its_seeds_and_its_interval():
    coupled, blind = row("coupled", "s = 0.7, f = 1/256", dense=[-0.08, -0.06]), row("blind", "s = 0.7", dense=[0.001])
    coupled["against"]["dense"]["interval"] = (-0.2, 0.06)
    shut = {"name": "dense", "gates": [None], "gate_paths": [[None]]}
    figure = control_figure({"rows": [coupled, blind]}, {"rows": [shut, row("scalar", "s = 0.5")]})
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "blind − dense\ns = 0.7",
        "coupled − dense\ns = 0.7",
    ]
    ends = [c[2][0].get_segments()[0][:, 0].tolist() for c in left.containers]
    assert ends == [[0.001, 0.001], [-0.2, 0.06]]
    seeds = [line.get_xdata() for line in left.lines if line.get_markersize() == 3]
    assert [list(values) for values in seeds] == [[0.001], [-0.08, -0.06]]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["scalar"]


def test_the_phase_figure_names_a_share_only_where_a_model_was_trained():
    predicted = [
        {"s": s, "f": f, "period": period, "worth": 0.04 * s * (1 - f) / period}
        for s in (0.5, 0.7)
        for f in (1 / 256, 1 / 4, 1.0)
        for period in (2, 8)
    ]
    trained = row("coupled, P = 8", "s = 0.7, f = 1/4", dense=[-0.01])
    trained["against"]["dense"]["shares_closed"] = [0.5, 0.6]
    figure = phase_figure({"predicted": predicted, "rows": [trained]})
    weak, strong, bar = figure.axes
    assert [text.get_text() for text in weak.texts] == [] and [text.get_text() for text in strong.texts] == ["55%"]
    assert strong.texts[0].get_position() == (1, 1)
    assert [label.get_text() for label in weak.get_yticklabels()] == ["1/256", "1/4", "1"]
    assert float(strong.images[0].get_array().max()) == max(one["worth"] for one in predicted)
    assert "nats per token" in bar.get_ylabel()
