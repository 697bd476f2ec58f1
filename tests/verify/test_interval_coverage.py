"""Every interval that states 95 % covers 93 to 97 % of its simulations, or is called conservative: the committed
studies, and a small one that runs the same way."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SLOPE = json.loads((BENCHMARKS / "results" / "coverage_slope.json").read_text())
OTHERS = json.loads((BENCHMARKS / "results" / "interval_coverage.json").read_text())


@pytest.mark.parametrize("source, least", [("clock", 1000), ("ode", 500), ("jumps", 500)])
def test_the_slope_of_the_headline_end_to_end(source, least):
    row = SLOPE[source]
    assert row["runs"] >= least and row["without_a_slope"] == 0 and row["stated"] == 0.95
    assert row["conservative"] == (row["coverage"] > 0.97)
    assert row["coverage"] >= 0.93
    share = row["coverage"]
    expected = math.sqrt(max(share * (1 - share), 1 / row["runs"]) / row["runs"])
    assert row["monte_carlo_error"] == pytest.approx(expected)


def test_no_occupation_or_paired_interval_covers_less_than_it_states():
    assert OTHERS["level"] == 0.95
    for row in OTHERS["occupation"]:
        assert row["least covered"] >= 0.93, row["chain"]
    for row in OTHERS["paired"]:
        assert 0.93 <= row["covered"] <= 0.97, row


def test_the_study_at_a_small_size():
    spec = importlib.util.spec_from_file_location("coverage_slope", BENCHMARKS / "coverage_slope.py")
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    found = study.noise_free(study.clock_gaps, (64, 128, 256), 4, 200)
    assert found["runs"] == 4 and found["coverage"] == 1.0
    assert found["true_slope"] == pytest.approx(1.0, abs=1e-3)
    intervals = [(0.9, 1.1), (0.99, 1.2), (1.01, 1.2), None]
    counted = study.summary(intervals, [1.0, 1.1, 1.1, None], 1.0, (64, 128, 256))
    assert counted["runs"] == 3 and counted["coverage"] == 2 / 3 and counted["without_a_slope"] == 1
