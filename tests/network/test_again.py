"""A run that is gone on with: more tokens on a stretch of its own, its weights in a new run, what is refused."""

import json

import pytest
import torch

from network import load_run
from network.checkpoint import CheckpointError, load_checkpoint
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.inherit import inherit
from network.model import FastSlowLM
from network.run_folder import read_run
from network.run_log import read_log
from network.schedule import Schedule
from network.tokenizer import load_tokenizer
from network.training import train
from network.training_config import TrainConfig

TINY = FastSlowConfig(block_size=16, n_layer=1, n_embd=8, n_head=2, period=4)
SHORT = TrainConfig(tokens=4 * 16 * 6, learning_rate=3e-3, evaluations=1, eval_tokens=64, checkpoint_every=4)


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "first"
    train(TINY, SHORT, data=small_data, run=run)
    return run


def test_a_stretch_has_the_schedule_of_a_run_of_its_length():
    training = TrainConfig(tokens=64 * 30, warmup=0.25, final=0.1)
    schedule = Schedule.of(training, 16, [{"step": 10, "tokens": 64 * 12}])
    assert schedule.stretches == ((0, 12), (10, 30)) and schedule.steps == 30
    assert [schedule.rate(k) for k in range(10)] == [training.rate(k, 12) for k in range(10)]
    assert [schedule.rate(k) for k in range(10, 30)] == [training.rate(k, 20) for k in range(20)]
    assert schedule.rate(29) == pytest.approx(0.1 * training.learning_rate)
    assert schedule.evaluation_steps() >= {12, 30}


def test_more_tokens_read_on_and_are_written_down(trained, small_data, tmp_path):
    import shutil
    from dataclasses import replace

    run = tmp_path / "longer"
    shutil.copytree(trained, run)
    more, said = replace(SHORT, tokens=2 * SHORT.tokens), []
    whole = train(TINY, more, data=small_data, run=run, resume=True, say=said.append)
    assert read_run(run)["extensions"] == [{"step": 6, "tokens": SHORT.tokens}] and len(whole.losses) == 12
    assert any(line.startswith("from step 6 on, a stretch of its own: the rate rises") for line in said)
    rates = [record["rate"] for record in read_log(run) if record["kind"] == "step"]
    assert rates == [SHORT.rate(k, 6) for k in range(6)] * 2
    # In pieces it ends at the same bits: an interruption after the first of the new steps.
    pieces = tmp_path / "pieces"
    shutil.copytree(trained, pieces)
    asked = iter([True] + [False] * 20)
    assert train(TINY, more, data=small_data, run=pieces, resume=True, stop=lambda: next(asked)).stopped
    rest = train(TINY, more, data=small_data, run=pieces, resume=True)
    assert rest.losses == whole.losses
    with pytest.raises(CheckpointError, match="is a run of 768 tokens: --tokens 384 would shorten it; name more"):
        train(TINY, SHORT, data=small_data, run=run, resume=True)
    with pytest.raises(CheckpointError, match=r"learning_rate: 0\.003 .* With --init-from RUN in place of --resume"):
        train(TINY, replace(more, learning_rate=1e-3), data=small_data, run=run, resume=True)


def test_weights_begin_a_new_run_of_another_arm_and_rate(trained, small_data, tmp_path):
    from dataclasses import replace

    said, new = [], tmp_path / "new"
    one = replace(SHORT, tokens=64, learning_rate=1e-9, warmup=0.0)
    result = train(replace(TINY, arm="dense"), one, data=small_data, run=new, init_from=trained, say=said.append)
    assert any(
        line.endswith(f"of {trained}; left behind: coupling.gate, coupling.phi_theta, coupling.slow") for line in said
    )
    assert read_run(new)["init_from"] == {"run": str(trained), "step": 6}
    before = load_run(trained)
    for name, weight in result.model.named_parameters():
        torch.testing.assert_close(weight, before.get_parameter(name), rtol=0, atol=1e-7)
    assert train(replace(TINY, arm="dense"), one, data=small_data, run=new, resume=True).losses == result.losses


def test_what_is_not_there_is_drawn_anew_and_what_cannot_fit_is_refused(trained):
    coupled = FastSlowLM(TINY, generator=torch.Generator().manual_seed(5))
    drawn = coupled.coupling.gate
    other = FastSlowConfig(**{**TINY.to_dict(), "gate": "channel", "n_slow_layer": 2, "block_size": 32})
    model = FastSlowLM(other, generator=torch.Generator().manual_seed(5))
    found = inherit(model, other, trained)
    assert found.drawn == ("coupling.gate", "coupling.slow") and found.left == ("coupling.gate",)
    assert model.coupling.gate.alpha.abs().max() == 0 and drawn is coupled.coupling.gate
    assert torch.equal(model.embedding.weight, load_checkpoint(trained).weights()["embedding.weight"])
    wide = FastSlowConfig(**{**TINY.to_dict(), "n_embd": 16})
    with pytest.raises(CheckpointError, match="do not fit a model of n_embd = 16; take --n-embd 8, as they have"):
        inherit(FastSlowLM(wide), wide, trained)


def test_a_new_corpus_is_read_with_the_tokenizer_of_the_weights(corpus_folder, tmp_path):
    data = load_data(open_corpus(corpus_folder), bpe_vocab=270, cache=tmp_path)
    model = FastSlowConfig(**{**TINY.to_dict(), "vocab_size": 270})
    train(model, SHORT, data=data, run=tmp_path / "pairs")
    (tmp_path / "other").mkdir()
    for k in range(3):
        (tmp_path / "other" / f"{k}.txt").write_text(f"fast states and the slow {k} " * 60)
    corpus = open_corpus(tmp_path / "other")
    with pytest.raises(CheckpointError, match="were trained on other tokens than those of the data"):
        train(model, SHORT, data=load_data(corpus, bpe_vocab=270, cache=tmp_path), init_from=tmp_path / "pairs")
    own = load_data(corpus, tokenizer=load_tokenizer(tmp_path / "pairs"), cache=tmp_path)
    assert own.tokenizer.to_json() == data.tokenizer.to_json() and own.sha256 != data.sha256
    train(model, SHORT, data=own, run=tmp_path / "tuned", init_from=tmp_path / "pairs")
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["data"]["tokenizer"]
