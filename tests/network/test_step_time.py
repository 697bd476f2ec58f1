"""The step-time benchmark: its peer is of equal size, and on an idle machine the targets hold."""

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "benchmarks" / "step_time.py"


@pytest.fixture(scope="module")
def step_time():
    spec = importlib.util.spec_from_file_location("step_time", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_peer_and_dense_have_the_same_matrices(step_time):
    built = step_time.models(32, 4)

    def matrices(model, leave_out=()):
        return sorted(tuple(p.shape) for n, p in model.named_parameters() if p.ndim == 2 and n not in leave_out)

    # The peer's learned positions are what rotary ones replace.
    assert matrices(built["peer"], leave_out=("wpe.weight",)) == matrices(built["dense"])
    tokens = torch.randint(256, (2, 32))
    assert built["peer"](tokens).shape == built["dense"](tokens).shape


def test_the_peer_is_causal(step_time):
    peer = step_time.models(16, 2)["peer"].double()
    tokens = torch.randint(255, (1, 16))
    with torch.no_grad():
        before = peer(tokens)
        tokens[0, 9] += 1
        assert torch.equal(peer(tokens)[:, :9], before[:, :9])


def test_a_measurement_carries_every_ratio(step_time):
    result = step_time.measure(32, 2, 2, torch.device("cpu"), rounds=2, inner=1)
    assert {(row["model"], row["over"]) for row in result["ratios"]} == {row[:2] for row in step_time.RATIOS}
    assert all(row["median"] > 0 for row in result["ratios"])


@pytest.mark.slow
@pytest.mark.parametrize("block_size, batch", [(256, 16), (2048, 2)])
def test_the_targets_hold(step_time, block_size, batch):
    result = step_time.measure(block_size, batch, 4, torch.device("cpu"), rounds=15, inner=2)
    for row in result["ratios"]:
        if row["target"] is not None:
            assert row["median"] <= row["target"], row
