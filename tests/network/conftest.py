"""A small corpus and a model that trains in a second, shared by the tests of data and training."""

import itertools
import math
import random

import pytest

from network import training
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training_config import TrainConfig


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for number in range(12):
        words = [rng.choice(["the", "slow", "variable", "drives", "fast", "states", "and"]) for _ in range(400)]
        (folder / f"text{number:02d}.txt").write_text(" ".join(words) + "\n")
    return folder


@pytest.fixture(scope="session")
def small_data(corpus_folder, tmp_path_factory):
    return load_data(open_corpus(corpus_folder), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def small_model():
    return FastSlowConfig(block_size=32, n_layer=2, n_embd=16, n_head=2, period=4)


@pytest.fixture
def small_training():
    return TrainConfig(tokens=4 * 32 * 24, learning_rate=3e-3, evaluations=2, eval_tokens=512, checkpoint_every=7)


@pytest.fixture
def nan_at(monkeypatch):
    """nan_at(k): the k-th cross-entropy of the training to come is NaN."""
    true = training.cross_entropy

    def plant(bad):
        calls = itertools.count(1)
        monkeypatch.setattr(
            training, "cross_entropy", lambda *given: true(*given) * (math.nan if next(calls) == bad else 1.0)
        )

    return plant
