"""Step times: in turn, as ratios, resumable as a cell."""

import numpy as np
import pytest
import torch
from scipy import stats

from network.config import FastSlowConfig
from verify.cells import run_cells
from verify.trained.step_time import interleaved, ratio, seconds_of, step_time_cell, time_cell, training_step

CPU = torch.device("cpu")
SIZES = {"block_size": 16, "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 32}


def test_every_model_is_timed_in_every_round_and_first_in_turn():
    order = []
    seconds = interleaved({n: lambda n=n: order.append(n) for n in "abc"}, rounds=4, device=CPU, warm_up=2)
    assert "".join(order) == "abcbcacababcbcacab"
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 4)


def test_a_ratio_is_the_median_over_rounds_and_its_interval_covers_it():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        base = rng.lognormal(size=25)  # a machine whose speed wanders slows both sides of a ratio
        found = ratio((base * 0.8 * rng.lognormal(0.0, 0.1, size=25)).tolist(), base.tolist())
        assert found.low <= found.median <= found.high
        covered += found.low <= 0.8 <= found.high
    assert stats.binomtest(covered, 500, 0.95, alternative="less").pvalue > 1e-3
    few = ratio([1.0, 2.0], [2.0, 2.0])
    assert (few.median, few.low, few.high) == (0.75, None, None)


@pytest.mark.parametrize("arm", ["dense", "frozen", "coupled", "blind", "local"])
def test_a_step_trains_the_model(arm, monkeypatch):
    built = []

    class Watched(torch.optim.AdamW):  # a type: a module that is imported meanwhile may have it in an annotation
        def __init__(self, parameters, **options):
            built.append(list(parameters))
            super().__init__(built[-1], **options)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    step = training_step(FastSlowConfig(arm=arm, period=4, **SIZES), batch=2, device=CPU)
    before = [p.detach().clone() for p in built[0]]
    step(), step()
    assert all(not torch.equal(a, b) for a, b in zip(before, built[0], strict=True))


@pytest.mark.thorough
def test_the_cell_times_each_distinct_model_once_and_is_resumed(tmp_path, monkeypatch):
    models = [FastSlowConfig(arm=arm, period=P, **SIZES) for P in (4, 8) for arm in ("dense", "coupled")]
    cell = step_time_cell(models, batch=2, device="cpu", rounds=2, processor="any")
    assert len(cell.configuration["models"]) == 3  # dense has no period
    how = {"batch": 2, "device": "cpu", "rounds": 2, "processor": "any"}
    other = [step_time_cell(models, **how, dtype="bfloat16"), step_time_cell(models, **how, compile=True)]
    assert len({one.key for one in (cell, *other)}) == 3
    monkeypatch.setattr(
        "verify.trained.step_time.training_step", lambda model, **k: lambda: asked.append((model.arm, k))
    )
    asked = []
    time_cell(other[0].configuration)
    assert {k["dtype"] for _, k in asked} == {"bfloat16"} and {k["compile"] for _, k in asked} == {False}
    monkeypatch.undo()
    timed = time_cell(cell.configuration)
    assert seconds_of(timed, models[0]) == seconds_of(timed, models[2])
    assert len(seconds_of(timed, models[1])) == 2 and min(seconds_of(timed, models[3])) > 0
    assert seconds_of(timed, FastSlowConfig(arm="local", period=4, **SIZES)) is None
    first = run_cells([cell], folder=tmp_path, jobs=1)[0]
    again = run_cells([cell], folder=tmp_path, jobs=1)[0]
    assert again.resumed and again.result == first.result
