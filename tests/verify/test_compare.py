"""Runs that are trained already: paired where they are pairs, in bits per byte, refused where texts differ."""

import json
import math

import pytest

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig
from verify.compare import compare
from verify.compare.command import main
from verify.compare.comparison import Trained, rows
from verify.statistics.paired import t_interval

SETTINGS = {"model.n_embd": 8, "model.block_size": 16, "training.batch_size": 4, "training.tokens": 100}


def one(arm, seed, bits, **more):
    settings = {**SETTINGS, "model.arm": arm, "training.seed": seed, **more}
    return Trained(f"{arm}-{seed}", settings, "text", seed, 2.0, bits)


def test_runs_of_one_seed_are_pairs_and_the_interval_is_students():
    found = rows(
        [one("dense", s, 2.0 + 0.1 * s) for s in range(3)] + [one("local", s, 1.9 + 0.11 * s) for s in (2, 0, 1)]
    )
    dense, local = found
    assert (dense.name, local.name) == ("arm dense", "arm local") and dense.difference is None
    differences = [1.9 + 0.11 * s - (2.0 + 0.1 * s) for s in range(3)]
    assert local.how == "paired" and local.pairs == 3
    assert local.interval == pytest.approx(t_interval(differences)) and local.difference == pytest.approx(-0.09)


def test_runs_that_share_no_start_are_compared_as_two_samples():
    from scipy import stats

    wide = {"model.n_embd": 16}
    bits = ([2.0, 2.2, 2.1], [1.5, 1.6, 1.8])
    found = rows(
        [one("dense", s, b) for s, b in enumerate(bits[0])]
        + [one("dense", s, b, **wide) for s, b in enumerate(bits[1])]
    )
    low, high = stats.ttest_ind(bits[1], bits[0], equal_var=False).confidence_interval(0.95)
    assert [row.name for row in found] == ["n_embd 8", "n_embd 16"]
    assert found[1].how == "unpaired" and found[1].interval == pytest.approx((low, high))
    tuned = {"init_from.run": "a"}
    assert rows([one("dense", 0, 2.0), one("dense", 0, 1.9, **tuned)])[1].how == "single"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("compared")
        patched.setenv("FASTSLOW_CACHE", str(folder / "cache"))
        for k in range(12):
            text = f"the slow one {k} holds what the fast one follows " * 30
            (folder / "texts").mkdir(exist_ok=True)
            (folder / "texts" / f"{k}.txt").write_text(text)
        corpus = open_corpus(folder / "texts")
        for name, bpe, seed in (("bytes0", None, 0), ("bytes1", None, 1), ("pairs0", 270, 0)):
            data = load_data(corpus, bpe_vocab=bpe)
            model = FastSlowConfig(data.vocab_size, block_size=16, n_layer=1, n_embd=8, n_head=2, period=4)
            train(
                model, TrainConfig(tokens=256, seed=seed, evaluations=1, eval_tokens=64), data=data, run=folder / name
            )
        (folder / "other.txt").write_text("another text altogether " * 200)
        other, model = (
            load_data(open_corpus(folder / "other.txt")),
            FastSlowConfig(**{**model.to_dict(), "vocab_size": 256}),
        )
        train(model, TrainConfig(tokens=64, evaluations=1, eval_tokens=64), data=other, run=folder / "else")
        yield folder


def test_bytes_and_byte_pairs_compare_in_bits_per_byte(runs, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(runs / "cache"))
    assert main([str(runs / "bytes0"), str(runs / "bytes1"), str(runs / "pairs0"), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert len(first["runs"]) == 2 and second["name"] == "bpe 270, vocab_size 270" and second["how"] == "single"
    assert first["bits_per_byte"] == pytest.approx(first["loss"] / math.log(2))
    assert second["bits_per_byte"] < second["loss"] / math.log(2)
    assert main([str(runs / "bytes0"), str(runs / "pairs0")]) == 0
    assert "train more seeds" in capsys.readouterr().out


def test_what_does_not_compare_is_refused(runs, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(runs / "cache"))
    assert main([str(runs / "bytes0"), str(runs / "else")]) == 2
    assert "was held out another text than" in capsys.readouterr().err
    assert main([str(runs / "else"), str(runs / "else")]) == 2
    assert "each named once" in capsys.readouterr().err
    with pytest.raises(ValueError, match="two runs or more"):
        compare([runs / "else"])
