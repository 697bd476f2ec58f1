"""The Pareto study: pairing, controls and the verdict on planted losses; the benchmark end to end at a small size."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from network.config import FastSlowConfig
from verify.plotting import save_figure
from verify.trained.pareto import architecture, pareto, table
from verify.trained.pareto_figure import pareto_figure
from verify.trained.step_time import Ratio

ROOT = Path(__file__).parents[2]
DENSE = FastSlowConfig(arm="dense")
SHALLOW = replace(DENSE, n_layer=2)
COUPLED = replace(DENSE, arm="coupled", n_layer=2, n_slow_layer=2, period=4)
LOCAL = replace(COUPLED, arm="local")
NOISE = (0.0, 0.03, -0.02)


def planted(coupled=1.95, time=0.7):
    means = {DENSE: 2.0, SHALLOW: 2.1, COUPLED: coupled, LOCAL: 1.98}
    own = {DENSE: (0.001, 0.0, 0.0), SHALLOW: (0.0, 0.002, 0.0), COUPLED: (0.0, 0.0, 0.001), LOCAL: (0.002, 0.0, 0.0)}
    losses = {m: {s: mean + NOISE[s] + own[m][s] for s in range(3)} for m, mean in means.items()}
    times = {DENSE: 1.0, SHALLOW: 0.5, COUPLED: time, LOCAL: 0.6}
    ratios = {m: Ratio(t, t - 0.01, t + 0.01) for m, t in times.items()}
    return {p.name: p for p in pareto(losses, dict.fromkeys(means, 1000), ratios, DENSE)}


def test_seed_noise_pairs_out_and_the_gain_is_split():
    points = planted()
    assert set(points) == {"dense 4", "dense 2", "coupled 2 + 2, P = 4", "local 2, P = 4"}
    point = points["coupled 2 + 2, P = 4"]
    assert point.difference.mean == pytest.approx(-0.05, abs=1e-3) and point.difference.interval[1] < -0.04
    assert point.gain.mean == pytest.approx(0.15, abs=1e-3)
    assert point.explained.mean == pytest.approx(0.12, abs=1e-3)
    assert point.remainder.mean == pytest.approx(0.03, abs=1e-3) and point.remainder.interval[0] > 0.02
    assert point.gain.mean == pytest.approx(point.explained.mean + point.remainder.mean)
    assert points["dense 4"].difference is None and points["local 2, P = 4"].remainder is None


def test_an_architecture_without_a_finished_seed_is_left_out():
    losses = {DENSE: {0: 2.0, 1: 2.1}, SHALLOW: {0: 2.2, 1: 2.2}, COUPLED: {}}
    found = pareto(losses, dict.fromkeys(losses, 1000), dict.fromkeys(losses, Ratio(1.0, 0.9, 1.1)), DENSE)
    assert {point.name for point in found} == {"dense 4", "dense 2"}


def test_it_meets_the_target_only_where_the_interval_says_so():
    met = {name for name, point in planted().items() if point.meets}
    assert met == {"coupled 2 + 2, P = 4", "local 2, P = 4"}
    assert not planted(time=0.795)["coupled 2 + 2, P = 4"].meets  # the interval of its time ends at 0.805
    assert not planted(coupled=1.9995)["coupled 2 + 2, P = 4"].meets  # below in the mean, not in the interval


def test_one_seed_meets_nothing():
    points = pareto(
        {DENSE: {0: 2.0}, SHALLOW: {0: 1.0}},
        {DENSE: 1, SHALLOW: 1},
        dict.fromkeys((DENSE, SHALLOW), Ratio(0.5, None, None)),
        DENSE,
    )
    assert not any(point.meets for point in points)


def test_table_and_figure_name_every_architecture(tmp_path):
    points = list(planted().values())
    lines = table(points).splitlines()
    assert len(lines) == 5 and "coupled − local -0.0303" in table(points) and lines[1].startswith("dense 2")
    assert save_figure(pareto_figure(points), tmp_path / "pareto").stat().st_size > 10_000
    assert architecture(LOCAL) == "local 2, P = 4"


@pytest.mark.slow
def test_the_benchmark_runs_end_to_end(tmp_path):
    words = (
        "--tokens 1024 --block-size 32 --n-embd 8 --learning-rate 0.01 --seeds 2 --rounds 7 --periods 4 --jobs 1 "
        "--attention-window 5"
    )
    command = [sys.executable, "benchmarks/pareto.py", *words.split(), "--cells", str(tmp_path / "cells")]
    for _ in range(2):
        subprocess.run([*command, "--out", str(tmp_path / "pareto.json")], cwd=ROOT, check=True)
    found = json.loads((tmp_path / "pareto.json").read_text())
    assert len(found["points"]) == 7 and (tmp_path / "pareto.svg").exists()
    assert len(list((tmp_path / "cells").glob("*.json"))) == 7 * 2 + 1
