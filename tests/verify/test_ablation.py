"""Paired ablation: the statistics, the cells that it shares, interruption, Dask. Issue 5."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig
from verify.ablation.command import main
from verify.ablation.result import Ablation, TrainedCell
from verify.ablation.study import DEFAULT_ARMS, measure
from verify.trained.step_time import Ratio

ROOT = Path(__file__).parents[2]
SMALL = ["--tokens", "640", "--block-size", "16", "--n-layer", "2", "--n-embd", "8", "--n-head", "2"]
SMALL += ["--periods", "4", "--eval-tokens", "64", "--evaluations", "2", "--rounds", "2"]
MODEL = FastSlowConfig(block_size=16, n_layer=2, n_embd=8, n_head=2, period=4)
TRAINING = TrainConfig(tokens=640, evaluations=2, eval_tokens=64)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(4):
        (folder / f"{number}.txt").write_text("what the slow one holds the fast one follows " * (10 + number))
    return folder


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))


def ablation(*, period=8, times=None, **losses):
    path = ({"tokens": 100, "validation_loss": 3.0, "closed_gate_loss": 3.1, "gate": 0.02, "feedback_ratio": 0.1},)
    cells = tuple(
        TrainedCell(period, arm, seed, loss, loss + 0.001, 0.01, None, path, 10, 1.0)
        for arm, row in losses.items()
        for seed, loss in enumerate(row)
    )
    return Ablation(next(iter(losses)), cells, 0.01, {}, {}, times or {})


def row(found, arm, other="dense"):
    (one,) = [c for c in found.comparisons if (c.arm, c.other) == (arm, other)]
    return one


def test_pairing_resolves_what_seed_noise_hides():
    dense = [2.0, 2.1, 1.9, 2.05]
    found = row(ablation(dense=dense, coupled=[loss - 0.02 for loss in dense]), "coupled")
    assert found.within_seed_noise and found.interval[1] < -0.0199 and found.equivalent is False
    assert found.difference == pytest.approx(-0.02) and found.closed_gate_cost == pytest.approx(0.001)


def test_one_seed_claims_no_interval():
    found = row(ablation(dense=[2.0], coupled=[1.9]), "coupled")
    assert found.difference == pytest.approx(-0.1)
    assert found.interval is found.seed_sd is found.within_seed_noise is found.equivalent is None


def test_only_seeds_that_both_finished_are_compared():
    found = row(ablation(dense=[2.0, 2.2], coupled=[1.9, 2.0, 9.0]), "coupled")
    assert found.difference == pytest.approx(-0.15) and found.seeds == 3


def test_coupled_is_held_against_the_controls_too_and_intervals_are_corrected_for_all():
    noise = [0.0, 0.01, -0.02, 0.005]
    found = ablation(
        dense=[2.0 + x for x in noise],
        coupled=[1.9 + x / 2 for x in noise],
        blind=[2.0 + x / 3 for x in noise],
        local=[1.95 + x / 4 for x in noise],
    )
    pairs = [(c.arm, c.other) for c in found.comparisons]
    expected = [("dense", "dense"), ("coupled", "dense"), ("blind", "dense"), ("local", "dense")]
    assert pairs == [*expected, ("coupled", "local"), ("coupled", "blind")]
    assert row(found, "coupled", "local").difference == pytest.approx(-0.05 + sum(noise) / 16)
    from scipy import stats

    one = row(found, "coupled")
    differences = [-0.1 - x / 2 for x in noise]
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - 0.05 / 5)
    assert one.simultaneous == pytest.approx((low, high), rel=1e-9)
    assert one.simultaneous[0] < one.interval[0] < one.interval[1] < one.simultaneous[1]


def test_times_are_ratios_round_by_round():
    dense, ratios = [1.0, 2.0, 1.0, 1.0, 4.0, 1.0], [1.5, 1.5, 1.4, 1.6, 1.5, 1.5]
    times = {(8, "dense"): dense, (8, "coupled"): [a * b for a, b in zip(dense, ratios, strict=True)]}
    found = ablation(dense=[2.0], coupled=[1.9], times=times)
    assert row(found, "coupled").time == Ratio(1.5, 1.4, 1.6) and row(found, "dense", "dense").time is None
    few = ablation(dense=[2.0], coupled=[1.9], times={key: seconds[:2] for key, seconds in times.items()})
    assert row(few, "coupled").time == Ratio(1.5, None, None)


def test_json_gives_the_ablation_back():
    found = ablation(dense=[2.0, 2.1], coupled=[1.9, 2.0], times={(8, "dense"): [1.0], (8, "coupled"): [1.5]})
    assert Ablation.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["paths"][1]["gate"] == pytest.approx(0.02)
    for broken in ("{}", "[1]", "no"):
        with pytest.raises(ValueError, match="not the JSON of an ablation"):
            Ablation.from_json(broken)


def test_frozen_is_dense_and_cells_are_those_of_training(corpus, cached, tmp_path):
    seen = []
    options = {"corpus": [str(corpus)], "folder": tmp_path / "cells", "rounds": 0, "jobs": 1}
    found = measure(MODEL, TRAINING, seeds=(0, 1), periods=(4, 8), finished=seen.append, **options)
    for period in (4, 8):
        rows = {c.arm: c for c in found.comparisons if c.period == period}
        assert list(rows) == ["dense", "frozen", "coupled"]
        assert rows["frozen"].difference == 0.0 and rows["frozen"].interval == (0.0, 0.0) and rows["frozen"].equivalent
        assert rows["dense"].difference is None and rows["dense"].gate is None
        assert rows["coupled"].difference != 0.0 and rows["coupled"].gate > 0
    assert len(found.cells) == 12 and len(seen) == 10  # dense has no period: one cell serves both
    assert not seen[0].cells[2:] and len(seen[0].unfinished) == 9 and not found.unfinished
    again = train(
        replace(MODEL, arm="coupled", period=8), replace(TRAINING, seed=1), data=load_data(open_corpus(corpus))
    )
    last = found.cells[-1]
    assert (last.period, last.arm, last.seed) == (8, "coupled", 1)
    assert [point["validation_loss"] for point in last.path] == [one.validation_loss for one in again.evaluations]
    for name in ("seeds", "arms", "periods"):
        with pytest.raises(ValueError, match=f"{name} must be different"):
            measure(MODEL, TRAINING, **options | {name: (4, 4) if name != "arms" else ("dense", "dense")})
    with pytest.raises(ValueError, match="margin must be positive"):
        measure(MODEL, TRAINING, margin=0.0, **options)


def without_timings(text):
    content = json.loads(text)
    content["provenance"].pop("commit")  # of the checkout, which may move on
    content.pop("step_seconds")
    for comparison in content["comparisons"]:
        comparison.pop("time")
    for cell in content["cells"]:
        cell.pop("seconds")
    return content


@pytest.fixture
def command(corpus, cached, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main(["--corpus", str(corpus), *SMALL, *arguments])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


def test_the_command_prints_a_table_and_writes_json_and_figure(command, tmp_path):
    code, out, _ = command("--seeds", "2", "--arms", "dense,coupled", "--jobs", "1")
    assert code == 0 and out.count("\n") == 4 and "±0.01?" in out
    folder = tmp_path / "out" / "ablation"
    first = json.loads((folder / "ablation.json").read_text())
    assert {path.suffix for path in folder.iterdir()} == {".json", ".svg", ".png", ""}
    code, out, _ = command("--seeds", "2", "--arms", "dense,coupled", "--json", "--jobs", "1")
    again = json.loads(out)
    first["provenance"].pop("commit"), again["provenance"].pop("commit")  # of the checkout, which may move on
    assert code == 0 and again == first  # timings too: nothing ran again


def test_a_cell_that_fails_is_named_and_the_rest_goes_on(command, corpus, tmp_path):
    code, out, err = command("--seeds", "1", "--rounds", "0", "--jobs", "1", "--learning-rate", "1e30")
    assert code == 3 and err.count("failed: ") == 3 and "TrainingDiverged" in err and out == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--arms", "dense,sparse"], "argument --arms: 'dense,sparse' must hold different arms of dense"),
        (["--arms", "dense,dense"], "argument --arms"),
        (["--seeds", "0"], "argument --seeds: '0' is neither a number of seeds, such as 3 for 0, 1, 2, nor a list"),
        (["--see", "1"], "unrecognized arguments"),
        (["--rounds", "-1"], "argument --rounds: must be >= 0"),
        (["--periods", "4,4"], "periods must be different"),
        (["--periods", "32"], "period = 32 exceeds block_size = 16"),
        (["--margin", "0"], "argument --margin: '0' must be positive"),
        (["--learning-rate", "nan"], "learning_rate must be a number in [0, inf], got nan"),
        (["--device", "abacus"], "--device abacus: not a device"),
        (["--corpus", "/no/such/text"], "/no/such/text"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: cannot write there"),
        (["--cells", "/dev/null/x"], "--cells /dev/null/x: cannot write there"),
        (["--periods", "2,32"], "period = 32 exceeds block_size = 16"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers there"),
    ],
)
def test_usage_errors(command, monkeypatch, arguments, message):
    monkeypatch.setattr("verify.cells.dask_cluster.CONNECT_TIMEOUT", 0.2)
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and message in err.splitlines()[-1]


def test_a_block_below_the_default_period_is_no_error_where_periods_are_given(command):
    code, out, err = command("--block-size", "4", "--periods", "2", "--seeds", "1", "--rounds", "0", "--jobs", "1",
                             "--arms", "dense,coupled")  # fmt: skip
    assert code == 0, err
    assert "   2 coupled" in out


def test_help_states_the_exit_codes():
    from verify.ablation.command import parser

    text = " ".join(parser().format_help().split())
    assert "Exit codes: 0 every cell is trained; 2 usage or input; 3 a cell failed" in text
    assert "tokens per slow update; default 8" in text


def test_help_answers_without_torch():
    code = "import sys; from verify.ablation.command import parser; parser().format_help(); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_empty_table_is_only_a_head():
    assert Ablation("dense", (), 0.01, {}, {}, {}).table().count("\n") == 0
    assert DEFAULT_ARMS == ("dense", "frozen", "coupled")


def started(corpus, tmp_path, *arguments):
    """The command as a process group of its own, on cells long enough to be caught at work."""
    words = [sys.executable, "-m", "verify.ablation", "--corpus", str(corpus), *SMALL, "--rounds", "0"]
    words += ["--tokens", "12000", "--seeds", "2", "--arms", "dense,coupled", "--out", str(tmp_path), *arguments]
    environment = os.environ | {"FASTSLOW_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True, **pipes)


def ended(process):
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def finished_cells(folder, at_least=1):
    deadline = time.monotonic() + 120
    while len(found := {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}) < at_least:
        assert time.monotonic() < deadline, "no cell has ended"
        time.sleep(0.02)
    return found


CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, *(worker.pid for worker in cluster.workers.values()), flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def cluster(tmp_path):
    """Address of a Dask scheduler, and the process ids of its two workers."""
    pytest.importorskip("distributed", reason="dask.distributed, the extra `cluster`, is not installed")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    environment = os.environ | {"FASTSLOW_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=environment, **pipes) as process:
        address, *workers = process.stdout.readline().split()
        yield address, [int(pid) for pid in workers]
        process.stdin.close()


@pytest.mark.thorough
def test_interrupted_or_on_a_cluster_that_loses_a_worker_the_json_is_the_same(corpus, tmp_path, cluster):
    folder = tmp_path / "interrupted"
    process = started(corpus, folder, "--jobs", "1")
    finished_cells(folder, 1)  # ablation.json, written after a cell
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in err
    before = finished_cells(folder / "cells")
    assert 1 <= len(before) < 4
    assert json.loads((folder / "ablation.json").read_text())["unfinished"]
    ended(started(corpus, folder, "--jobs", "1"))
    after = finished_cells(folder / "cells", 4)
    assert {path: after[path] for path in before} == before  # none ran again

    address, workers = cluster
    remote = tmp_path / "remote"
    process = started(corpus, remote, "--scheduler", address)
    before = finished_cells(remote / "cells")
    os.kill(workers[0], signal.SIGKILL)
    ended(process)
    after = finished_cells(remote / "cells", 4)
    assert {path: after[path] for path in before} == before
    assert {path.name for path in after} == {path.name for path in (folder / "cells").glob("*.json")}
    local = without_timings((folder / "ablation.json").read_text())
    assert without_timings((remote / "ablation.json").read_text()) == local
    assert len(local["cells"]) == 4 and not local["unfinished"]


def test_the_same_command_runs_on_a_gpu(command):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    code, out, _ = command("--seeds", "1", "--device", "cuda", "--json")
    found = json.loads(out)
    assert code == 0 and found["provenance"]["device"].startswith("cuda")
    assert {c["arm"]: c["difference"] for c in found["comparisons"]}["frozen"] == 0.0
