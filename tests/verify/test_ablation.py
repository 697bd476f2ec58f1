import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

import verify.ablation as ablation_module
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig
from verify.ablation import Ablation, Cell, compare, main, measure, t_interval

SMALL = ["--tokens", "640", "--block-size", "16", "--n-layer", "2", "--n-embd", "8", "--n-head", "2", "--period", "4"]
SMALL += ["--eval-tokens", "64"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(4):
        (folder / f"{number}.txt").write_text("what the slow one holds the fast one follows " * (10 + number))
    return folder


def cells(**losses):
    return [
        Cell(arm, seed, loss, None, 0.01, None, 2.0 if arm == "coupled" else 1.0)
        for arm, row in losses.items()
        for seed, loss in enumerate(row)
    ]


@given(
    pairs=st.lists(st.tuples(st.floats(1, 6), st.floats(-0.1, 0.1)), min_size=2, max_size=9),
)
def test_the_paired_interval_is_scipys(pairs):
    dense = np.array([loss for loss, _ in pairs])
    coupled = dense + np.array([difference for _, difference in pairs])
    assume(np.std(coupled - dense) > 1e-6)  # SciPy warns below
    found = compare(cells(dense=dense.tolist(), coupled=coupled.tolist()), "coupled", "dense")
    expected = stats.ttest_rel(coupled, dense).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert found.difference == pytest.approx(np.mean(coupled - dense), abs=1e-12)
    assert found.seed_sd == pytest.approx(np.std(coupled, ddof=1), abs=1e-12)
    assert found.within_seed_noise == (abs(found.difference) <= np.std(dense, ddof=1))
    assert found.time_ratio == 2.0


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(0.3, 1.0, size=(2000, 3))
    covered = sum(low <= 0.3 <= high for low, high in map(t_interval, samples.tolist()))
    assert stats.binomtest(covered, 2000, 0.95).pvalue > 1e-3


def test_pairing_resolves_what_seed_noise_hides():
    dense = [2.0, 2.1, 1.9, 2.05]
    found = compare(cells(dense=dense, coupled=[loss - 0.01 for loss in dense]), "coupled", "dense")
    assert found.within_seed_noise and found.interval[1] < -0.0099


def test_one_seed_claims_no_interval():
    found = compare(cells(dense=[2.0], coupled=[1.9]), "coupled", "dense")
    assert found.difference == pytest.approx(-0.1)
    assert found.interval is found.seed_sd is found.within_seed_noise is None


def test_only_seeds_that_both_finished_are_compared():
    found = compare([*cells(dense=[2.0, 2.2], coupled=[1.9, 2.0, 9.0])], "coupled", "dense")
    assert found.difference == pytest.approx(-0.15) and found.seeds == 3
    with pytest.raises(ValueError, match="no cell of arm 'blind' among"):
        compare(cells(dense=[2.0]), "blind", "dense")


def test_frozen_is_dense_and_cells_are_those_of_training(corpus, tmp_path):
    data = load_data(open_corpus(corpus), cache=tmp_path)
    model = FastSlowConfig(block_size=16, n_layer=2, n_embd=8, n_head=2, period=4)
    training = TrainConfig(tokens=640, evaluations=1, eval_tokens=64)
    seen = []
    found = measure(model, training, data=data, seeds=(0, 1), finished=seen.append)
    rows = {row.arm: row for row in found.comparisons}
    assert list(rows) == ["dense", "frozen", "coupled"]
    assert rows["frozen"].difference == 0.0 and rows["frozen"].interval == (0.0, 0.0)
    assert rows["dense"].difference is None and rows["dense"].gate is None
    assert rows["coupled"].difference != 0.0 and rows["coupled"].gate > 0
    assert [len(so_far.cells) for so_far in seen] == [1, 2, 3, 4, 5, 6]
    again = train(model, TrainConfig(tokens=640, evaluations=1, eval_tokens=64, seed=1), data=data)
    assert found.cells[-1].validation_loss == again.validation_loss
    with pytest.raises(ValueError, match="seeds must be different"):
        measure(model, training, data=data, seeds=(0, 0))


@pytest.fixture
def command(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main([*arguments, "--corpus", str(corpus), *SMALL])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


def without_timings(text):
    content = json.loads(text)
    content["provenance"].pop("commit")  # of the checkout, which may move on
    for row in content["comparisons"]:
        row.pop("time_ratio")
    for cell in content["cells"]:
        cell.pop("seconds")
    return content


def test_the_command_prints_a_table_and_writes_json(command, tmp_path):
    code, out, _ = command("--seeds", "2", "--arms", "dense,coupled")
    assert code == 0 and len(out.strip().split("\n")) == 3 and "arm − dense" in out
    first = (tmp_path / "out" / "ablation" / "ablation.json").read_text()
    code, out, _ = command("--seeds", "2", "--arms", "dense,coupled", "--json")
    assert code == 0 and without_timings(out) == without_timings(first)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--arms", "dense,sparse"], "argument --arms: 'dense,sparse' must hold different arms of dense"),
        (["--arms", "dense,dense"], "argument --arms"),
        (["--seeds", "0"], "argument --seeds: must be >= 1, got 0"),
        (["--see", "1"], "unrecognized arguments"),
        (["--learning-rate", "nan"], "argument --learning-rate: 'nan' must be positive and finite"),
        (["--device", "abacus"], "--device abacus: not a device"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: cannot write there"),
    ],
)
def test_usage_errors(command, arguments, message):
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1


def test_ctrl_c_keeps_the_finished_cells(command, tmp_path, monkeypatch):
    true, calls = train, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return true(*arguments, **options)

    monkeypatch.setattr("network.training.train", interrupted)
    assert command("--seeds", "2")[0] == 130
    assert len(json.loads((tmp_path / "out/ablation/ablation.json").read_text())["cells"]) == 2


def test_help_answers_without_torch():
    code = "import sys; from verify.ablation import parser; parser().format_help(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_empty_table_is_only_a_head():
    assert Ablation("dense", (), {}, {}).table().count("\n") == 0
    assert ablation_module.DEFAULT_ARMS == ("dense", "frozen", "coupled")
