"""Committed cells outlive the code that made them: moves, error messages and new options lose none."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from network.config import FastSlowConfig
from network.defaults import ADDED_MODEL, ADDED_TRAINING, FIRST_MODEL, FIRST_TRAINING
from network.run_folder import read_run
from network.training_config import TrainConfig
from verify.cells import read_cell
from verify.trained.cell import NAME, training_cell

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results" / "cells"


@dataclasses.dataclass(frozen=True)
class Later(FastSlowConfig):
    """A configuration of a later version, with one more option."""

    one_more: Any = None


def contents():
    return {file.name: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def rebuilt(identity, model=FastSlowConfig):
    """The cell that today's code makes of the configuration that a file names."""
    asked = identity["configuration"]
    return training_cell(
        model.from_dict({**FIRST_MODEL, **asked["model"]}),
        TrainConfig.from_dict({**FIRST_TRAINING, **asked["training"]}),
        corpus=asked["corpus"],
        sha256=asked["sha256"],
        device=asked["device"],
        reading=asked.get("reading"),
    )


@pytest.mark.parametrize("model", [FastSlowConfig, Later])
def test_every_committed_cell_is_found_also_after_an_option_is_added(model, monkeypatch):
    monkeypatch.setattr("verify.trained.cell.metadata.version", lambda name: "2.13.0+another.build")
    trained = {name: c for name, c in contents().items() if c["identity"]["work"] == NAME}
    assert len(trained) >= 159
    for name, content in trained.items():
        cell = rebuilt(content["identity"], model)
        assert cell.file == name
        assert read_cell(cell, FOLDER).result == content["result"]


def test_every_file_is_named_by_its_identity():
    for name, content in contents().items():
        assert name.endswith(".json") and "-" in name
        assert content["identity"]["configuration"].get("training_version") == 1


def test_the_tables_of_defaults_name_every_field():
    for kind, tables in (
        (FastSlowConfig, (FIRST_MODEL, ADDED_MODEL)),
        (TrainConfig, (FIRST_TRAINING, ADDED_TRAINING)),
    ):
        first, added = tables
        assert [f.name for f in dataclasses.fields(kind)] == [*first, *added], "a new field needs a row in ADDED_…"
        assert not first.keys() & added.keys()


def test_an_older_run_folder_loads(tmp_path):
    stored = {
        "format": "fastslow run 1",
        "model": dict(FIRST_MODEL),
        "training": dict(FIRST_TRAINING),
        "data": {"corpus": ["shakespeare"], "bpe": None, "sha256": "0" * 64},
    }
    (tmp_path / "config.json").write_text(json.dumps(stored))
    found = read_run(tmp_path)
    assert found["model"] == FastSlowConfig.from_dict(FIRST_MODEL).to_dict()
    assert Later.from_dict(stored["model"]).one_more is None
    with pytest.raises(ValueError, match="missing \\['n_embd'\\]"):
        FastSlowConfig.from_dict({name: value for name, value in FIRST_MODEL.items() if name != "n_embd"})


def test_an_edited_error_message_loses_no_cell(tmp_path):
    """Keys are of configurations, not of source text: the same with every message of the package rewritten."""
    root = FOLDER.parents[2]
    for package in ("network", "verify"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    edited = tmp_path / "network" / "config.py"
    edited.write_text(edited.read_text().replace("must be", "has to be"))
    code = (
        "import network.config as c, verify.trained.cell as t; from network.training_config import TrainConfig;"
        "print(c.__file__); print(t.training_cell(c.FastSlowConfig(), TrainConfig(), corpus=['x'], sha256='s').key)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    file, key = run.stdout.split()
    assert Path(file) == edited and "has to be" in edited.read_text()
    assert key == training_cell(FastSlowConfig(), TrainConfig(), corpus=["x"], sha256="s").key
