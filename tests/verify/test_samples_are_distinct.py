"""What counts as one sample more: another seed, and nothing else."""

import pytest

from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.ablation.result import Ablation, TrainedCell
from verify.ablation.study import measure
from verify.generator_defect.table import spread, spread_table

pytestmark = pytest.mark.numerical


def record(seed, distance, **changes):
    block = {"block": 0, "coupled": True, "distance": distance}
    settings = {"model": {"arm": "coupled", "period": 4}}
    return {"settings": settings, "training": {"seed": seed, "tokens": 9}, "step": 3, "blocks": [block]} | changes


def test_the_same_seed_twice_is_one_sample():
    (entry,) = spread([record(0, 0.5), record(0, 0.5), record(1, 0.7)])
    assert entry["seeds"] == [0, 1] and entry["figures"]["distance"][0] == pytest.approx(0.6)
    (entry,) = spread([record(0, 0.5), record(0, 0.5)])
    assert entry["seeds"] == [0] and entry["figures"]["distance"] == [0.5, None, None]
    assert spread_table([record(0, 0.5), record(0, 0.5)]) == ""


def test_runs_on_other_texts_are_no_samples_of_one_another():
    texts = [{"sha256": name, "bpe": None} for name in ("a", "b")]
    entries = spread([record(seed, 0.5, data=data) for seed, data in enumerate(texts)])
    assert [entry["seeds"] for entry in entries] == [[0], [1]]


def test_a_difference_counts_its_pairs_and_an_arm_its_seeds():
    cells = [
        TrainedCell(8, arm, seed, 2.0 + 0.01 * seed, None, None, None, (), 10, 1.0)
        for arm, seeds in (("dense", (0, 1)), ("coupled", (0, 1, 2)))
        for seed in seeds
    ]
    found = Ablation("dense", tuple(cells), 0.01, {}, {}, {})
    dense, coupled = found.comparisons
    assert (dense.seeds, dense.pairs, coupled.seeds, coupled.pairs) == (2, 0, 3, 2)
    head, _, second = found.table().splitlines()[:3]
    assert "pairs" in head and " 3 " in second and " 2 " in second[40:]


def test_the_ablation_times_its_steps_as_it_trains(monkeypatch, tmp_path):
    asked = {}

    def stop(models, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("verify.trained.step_time.step_time_cell", stop)
    training = TrainConfig(dtype="bfloat16", compile=True)
    with pytest.raises(KeyboardInterrupt):
        measure(FastSlowConfig(), training, corpus=["shakespeare"], folder=tmp_path)
    assert asked["dtype"] == "bfloat16" and asked["compile"] is True
