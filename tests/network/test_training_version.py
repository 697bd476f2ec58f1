"""The arithmetic of training is pinned: whoever changes it raises `TRAINING_VERSION`, or this fails.

A tiny run of each arm in float64. What processors differ by is the last bit of the initial weights, which are drawn in
float32: 6e-8 of a weight, seen as 1.6e-8 of the loss between vectorised and plain kernels. A change of arithmetic that
matters is seen above 1e-6.
"""

import dataclasses

import pytest
import torch

from network import training
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.defaults import TRAINING_VERSION
from network.training_config import TrainConfig

pytestmark = pytest.mark.numerical

PINNED_VERSION = 1
PINNED = {
    "dense": 5.14784645610304,
    "coupled": 5.145817821162872,
    "blind": 5.146813672026103,
    "local": 5.147043271711568,
}
TOLERANCE = 1e-6
MODEL = FastSlowConfig(block_size=16, n_layer=2, n_embd=8, n_head=2, period=4, gate="channel")
TRAINING = TrainConfig(tokens=8 * 4 * 16, evaluations=1, eval_tokens=256, dtype="float64", seed=3)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        text = " ".join(str((7 * k + number) ** 3 % 1009) for k in range(400))
        (tmp_path / f"{number}.txt").write_text(text)
    return load_data(open_corpus([str(tmp_path / f"{number}.txt") for number in range(4)]))


def final_loss(arm, data):
    model = dataclasses.replace(MODEL, arm=arm, vocab_size=data.vocab_size)
    return training.train(model, TRAINING, data=data).evaluations[-1].validation_loss


@pytest.mark.parametrize("arm", PINNED)
def test_losses_of_a_tiny_run_are_those_of_this_version(arm, data):
    assert TRAINING_VERSION == PINNED_VERSION, "pin the losses of the new version: copy what the next line reports"
    assert final_loss(arm, data) == pytest.approx(PINNED[arm], rel=TOLERANCE, abs=0)


def with_epsilon(model, config):
    made = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=1e-6)
    return made


@pytest.mark.parametrize(
    "name, planted",
    [
        ("make_optimizer", with_epsilon),
        (
            "cross_entropy",
            lambda logits, *rest, true=training.cross_entropy: true(logits, *rest) + 1e-3 * logits.square().mean(),
        ),
    ],
)
def test_a_change_of_arithmetic_is_seen(name, planted, data, monkeypatch):
    monkeypatch.setattr(training, name, planted)
    assert final_loss("coupled", data) != pytest.approx(PINNED["coupled"], rel=TOLERANCE, abs=0)


def test_a_change_of_the_rate_by_one_step_is_seen(data, monkeypatch):
    true = TrainConfig.rate
    monkeypatch.setattr(TrainConfig, "rate", lambda self, step, steps: true(self, step + 1, steps))
    assert final_loss("coupled", data) != pytest.approx(PINNED["coupled"], rel=TOLERANCE, abs=0)
