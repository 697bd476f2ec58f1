"""Trained models as cells: what is in the key, what is set aside, and that the texts are those of the key."""

from dataclasses import replace

import pytest
import torch

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.training_config import TrainConfig
from verify.trained.cell import canonical, train_cell, training_cell

MODEL = FastSlowConfig(block_size=16, n_layer=2, n_embd=8, n_head=2, period=4)
TRAINING = TrainConfig(tokens=640, evaluations=2, eval_tokens=64)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text("what the slow one holds the fast one follows " * (10 + number))
    return open_corpus([str(folder)])


def key(model=MODEL, training=TRAINING, sha256="a", device="cpu"):
    return training_cell(model, training, corpus=["texts"], sha256=sha256, device=device).key


def test_the_key_is_the_whole_configuration():
    others = [
        *(key(replace(MODEL, arm=arm)) for arm in ("dense", "frozen", "blind", "local")),
        key(replace(MODEL, period=8)),
        key(replace(MODEL, n_slow_layer=2)),
        key(training=replace(TRAINING, seed=1)),
        key(training=replace(TRAINING, learning_rate=1e-3)),
        key(sha256="b"),
        key(device="cuda"),
    ]
    assert len({key(), *others}) == 11 and key() == key()


def test_what_an_arm_does_not_use_is_not_part_of_it():
    dense, local = replace(MODEL, arm="dense"), replace(MODEL, arm="local")
    assert key(dense) == key(replace(dense, period=8, n_slow_layer=3, gate="channel"))
    assert key(local) == key(replace(local, n_slow_layer=3)) != key(replace(local, period=8))
    assert canonical(MODEL) == MODEL and canonical(replace(MODEL, vocab_size=7)).vocab_size == 7


def test_the_seed_and_the_arm_decide_the_result_and_threads_do_not(corpus):
    def trained(arm="coupled"):
        cell = training_cell(replace(MODEL, arm=arm), TRAINING, corpus=corpus.paths, sha256=corpus.sha256)
        result = train_cell(cell.configuration)
        del result["seconds"]
        return result

    found = trained()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert trained() == found
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [point["tokens"] for point in found["path"]] == [320, 640] and found["tokens"] == 640
    dense, frozen = trained("dense"), trained("frozen")
    assert frozen["validation_loss"] == dense["validation_loss"] != found["validation_loss"]
    assert dense["gate"] is dense["closed_gate_loss"] is None and frozen["gate"] == 0.0 < found["gate"]
    assert found["closed_gate_loss"] != found["validation_loss"] and found["parameters"] > dense["parameters"]


def test_other_texts_under_the_same_name_are_refused(corpus):
    cell = training_cell(MODEL, TRAINING, corpus=corpus.paths, sha256="0" * 64)
    with pytest.raises(ValueError, match="holds other texts here"):
        train_cell(cell.configuration)
