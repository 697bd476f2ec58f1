"""A run as a Hugging Face folder: the same logits, the same tokens, the same text."""

import pytest
import torch

pytest.importorskip("transformers")

import network
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.export import main
from network.training import train
from network.training_config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers itself


@pytest.mark.parametrize("bpe, remote", [(None, False), (280, True)])
def test_logits_tokens_and_text_are_those_of_the_run(corpus_folder, tmp_path, bpe, remote, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = load_data(open_corpus(corpus_folder), bpe_vocab=bpe, cache=tmp_path / "cache")
    model = FastSlowConfig(data.vocab_size, block_size=16, n_layer=2, n_embd=8, n_head=2, period=4, gate="channel")
    run, out = tmp_path / "run", tmp_path / "exported"
    train(model, TrainConfig(tokens=640, evaluations=1, eval_tokens=64), data=data, run=run)
    assert main([str(run), str(out)]) == 0
    theirs = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=remote)
    own = network.load_run(run)
    text = "the slow variable drives"
    ids = AutoTokenizer.from_pretrained(out)(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == network.load_tokenizer(run).encode(text).tolist()
    window = ids[:, :16]
    with torch.no_grad():
        found = theirs(window, labels=window)
        torch.testing.assert_close(found.logits, own(window), rtol=1e-6, atol=1e-6)
        assert found.loss == pytest.approx(
            torch.nn.functional.cross_entropy(found.logits[0, :-1], window[0, 1:]).item()
        )
    longer = theirs.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert torch.equal(longer, network.generate(own, ids, 12, temperature=0))
    with pytest.raises(ValueError, match="attention_mask hides tokens"):
        theirs(window, attention_mask=torch.zeros_like(window))
    assert main([str(run), str(out)]) == 2 and "name a new one" in capsys.readouterr().err


def test_a_run_of_arm_generator_is_refused_and_measured_elsewhere(corpus_folder, tmp_path, capsys):
    from verify.generator_defect.command import main as defect

    data = load_data(open_corpus(corpus_folder), cache=tmp_path / "cache")
    model = FastSlowConfig(data.vocab_size, block_size=16, n_embd=8, n_head=2, period=4, arm="generator")
    run = tmp_path / "run"
    train(model, TrainConfig(tokens=640, evaluations=1, eval_tokens=64), data=data, run=run)
    assert main([str(run), str(tmp_path / "out")]) == 2 and "use network.load_run" in capsys.readouterr().err
    assert defect([str(run)]) == 2 and "manifold_gap --network" in capsys.readouterr().err
