"""A study over variants: rows, pairs and shares from finished cells, and what the studies of the coupling ask for."""

import importlib.util
from pathlib import Path

import pytest

from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.cells import CellResult
from verify.corpus import Regimes, open_corpus
from verify.trained.study import Study
from verify.trained.variants import Variant, rows, run_study, table

ROOT = Path(__file__).parent.parent.parent
SOURCE = Regimes(length=6410, n=4)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path_factory.getbasetemp() / "regimes"))


def variant(arm, **how):
    model = FastSlowConfig(arm=arm, block_size=32, n_layer=1, n_embd=8, n_head=2, period=4, attention_window=2)
    return Variant("small", arm, model, TrainConfig(tokens=256, evaluations=1, eval_tokens=64), SOURCE.name, **how)


def of(*variants):
    texts = open_corpus([SOURCE.name])
    models, trainings = {one: one.model for one in variants}, {one: one.training for one in variants}
    return Study(models, trainings, range(3), texts=texts)


def ended(cell, loss, gate=None):
    result = {"validation_loss": loss, "closed_gate_loss": None if gate is None else loss + 0.1, "gate": gate}
    return CellResult(cell, result | {"path": [{"gate": gate}]}, 1.0)


def test_rows_pair_seeds_and_share_the_gap_to_the_filter():
    dense, coupled = variant("dense"), variant("coupled", against=("dense",))
    study = of(dense, coupled)
    cells = study.cells
    losses = {dense: (1.4, 1.42, 1.44), coupled: (1.35, 1.38, 1.37)}
    done = {
        cells[one, seed].key: ended(cells[one, seed], losses[one][seed], 0.2 if one is coupled else None)
        for one in losses
        for seed in range(3 if one is dense else 2)
    }
    failed = cells[coupled, 2]
    done[failed.key] = CellResult(failed, None, 1.0, error="TrainingDiverged: the loss is nan")
    study.ended |= done
    base, own = rows(study)
    assert base["seeds"] == [0, 1, 2] and base["against"] == {} and base["gates"] == [None] * 3
    found = own["against"]["dense"]
    assert own["seeds"] == [0, 1] and "diverged" in own["failed"][0].lower()
    assert found["differences"] == pytest.approx([-0.05, -0.04]) and found["mean"] == pytest.approx(-0.045)
    floor = own["filter"]
    assert found["shares_closed"] == pytest.approx([0.05 / (1.4 - floor), 0.04 / (1.42 - floor)])
    assert own["closed_gate_costs"] == pytest.approx([0.1, 0.1]) and own["gate_paths"] == [[0.2], [0.2]]
    assert "− dense" in table([base, own]) and "|α| 0.2 … 0.2" in table([base, own])


def test_a_study_trains_once_and_can_be_read_without_training(tmp_path):
    made = [variant("dense"), variant("coupled", against=("dense",))]
    assert run_study(made, (0,), folder=tmp_path, train=False) == []
    first = run_study(made, (0,), folder=tmp_path, jobs=1)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2 and [row["name"] for row in first] == ["dense", "coupled"]
    assert run_study(made, (0, 1), folder=tmp_path, train=False) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files


def test_the_studies_of_the_coupling_are_whole():
    spec = importlib.util.spec_from_file_location("coupling", ROOT / "benchmarks" / "coupling.py")
    coupling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(coupling)
    for name, (made, seeds) in coupling.STUDIES.items():
        variants = made(1024) if name == "long" else made()
        named = {(one.group, one.name): one for one in variants}
        assert len(named) == len(variants) and seeds >= 2, name
        assert all((one.group, other) in named for one in variants for other in one.against), name
    asked = coupling._named(coupling.opening(), "scalar, own objective; projection")
    assert [(one.name, one.against) for one in asked] == [("projection", ()), ("scalar, own objective", ())]
    with pytest.raises(ValueError, match="no variant is called 'scaler'; the study has dense; projection"):
        coupling._named(coupling.opening(), "scaler")
    s_f_p = [one for one in coupling.phase() if one.name.startswith("coupled")]
    assert len(s_f_p) == 2 * 6 * 6
    assert all(one.model.attention_window for one in coupling.phase_window())
