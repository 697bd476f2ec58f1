"""Pretrained networks in the report: every figure of the file with its nulls, in both forms, and a foreign file named.

The file is the committed study, whose figures are read from it again here."""

import json
import re

import pytest

from verify.report.command import main, write_report
from verify.report.pretrained import beside, networks
from verify.report.text import number

STUDY, CLAIMS = "benchmarks/results/pretrained.json", "benchmarks/results/claims_paper.json"


@pytest.fixture
def study(request):
    return request.config.rootpath / STUDY


@pytest.fixture
def report(request):
    """A run with one claim."""
    content = json.loads((request.config.rootpath / CLAIMS).read_text())
    return json.dumps(content | {"claims": content["claims"][:1]})


@pytest.fixture
def one(study):
    """What the command writes of a single network."""
    content = json.loads(study.read_text())
    found = next(iter(content["studies"].values()))
    return found | {"settings": found["settings"] | {"weights": "4-bit weights, dequantised", "text": "prose.txt"}}


def test_every_layer_stands_in_the_table_beside_both_nulls(study):
    studies = list(json.loads(study.read_text())["studies"].values())
    shown = networks([study])
    assert len(shown) == len(studies) >= 2
    for network, found in zip(shown, studies, strict=True):
        (table,) = network.tables
        assert [row[0] for row in table.cells] == [str(row["layer"]) for row in found["layers"]]
        for cells, row in zip(table.cells, found["layers"], strict=True):
            said = dict(zip(table.columns, cells, strict=True))
            for axis in ("channel", "token"):
                assert said[f"{axis} axis"] == number(row[axis]["shifted_distance"])
                for null, key in (("initialised", "init"), ("random signs", "sign_flip")):
                    ends = [number(end) for end in (min(row[axis][key]), max(row[axis][key]))] if row[axis][key] else []
                    assert said[f"{axis} axis, {null}"] == (" to ".join(ends) or "not measured")
            assert said["weight on token 0"] == number(row["weight_on_first"])
        assert json.loads(study.read_text())["models"][found["model"]]["weights"] in network.words
        assert [figure.title for figure in network.figures] == ["Channel axis", "Token axis", "Attention sink"]


def test_both_forms_show_what_lies_in_the_folder_of_the_run_or_one_below(one, report, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pretrained.json").write_text(json.dumps(one))
    html, text = (path.read_text() for path in write_report(report, tmp_path))
    idents = re.findall(r'\bid="([^"]*)"', html)
    assert len(set(idents)) == len(idents)
    for form in (html, text):
        for said in ("Pretrained networks", "4-bit weights, dequantised", "prose.txt", "8 initialisations"):
            assert said in form
    assert html.count("<svg") >= 3 and "Attention sink" in text
    (tmp_path / "model" / "pretrained.json").unlink()
    html, text = (path.read_text() for path in write_report(report, tmp_path))
    assert "Pretrained" not in html and "Pretrained" not in text


def test_layers_without_an_initialisation_are_drawn_without_that_null(one, tmp_path):
    for row in one["layers"]:
        row["channel"]["init"] = row["token"]["init"] = row["init"]["weight_on_first"] = []
    file = tmp_path / "pretrained.json"
    file.write_text(json.dumps(one))
    (network,) = networks(beside(tmp_path))
    assert "no initialisation was measured" in network.figures[0].description
    assert network.tables[0].cells[0][2] == "not measured"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {}, "layers": []}'])
def test_another_file_of_that_name_is_named(content, report, tmp_path):
    (tmp_path / "pretrained-mine.json").write_text(content)
    (network,) = networks(beside(tmp_path))
    assert network.name == "pretrained-mine.json" and network.words.startswith("not the JSON of python -m")
    html, text = (path.read_text() for path in write_report(report, tmp_path))
    assert "pretrained-mine.json" in html and "not the JSON of" in text


def test_the_command_takes_files_from_elsewhere_and_names_one_that_is_not_there(study, report, tmp_path, capsys):
    file = tmp_path / "claims.json"
    file.write_text(report)
    assert main([str(file), "--pretrained", str(study), "--out", str(tmp_path / "there")]) == 0
    assert "Attention sink" in (tmp_path / "there" / "report.html").read_text()
    capsys.readouterr()
    assert main([str(file), "--pretrained", str(tmp_path / "no.json")]) == 2
    assert "no such file; python -m verify.generator_defect --model DIR" in capsys.readouterr().err
