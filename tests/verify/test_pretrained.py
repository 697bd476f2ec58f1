"""Blocks of Hugging Face transformers: Jacobians against T·d passes, masks as recorded, what is refused and how."""

import json
from importlib.util import find_spec

import pytest
import torch

from verify.generator_defect import block_defect, jacobians, measure_pretrained
from verify.generator_defect.command import main
from verify.generator_defect.pretrained import source
from verify.generator_defect.pretrained.replay import check, measured_jacobians, precisely, promoted, record

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.numerical, pytest.mark.filterwarnings("default")]  # those of transformers are its own

VOCABULARY = 40
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
WIDE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
}


def build(family, seed=0, **changes):
    """A small model of the family whose weights are large enough for every part of it to matter."""
    configuration, model = {
        "gpt2": lambda: (
            transformers.GPT2Config(
                n_embd=16, n_layer=2, n_head=4, n_positions=32, vocab_size=VOCABULARY, **ENDS, **changes
            ),
            transformers.GPT2Model,
        ),
        "llama": lambda: (
            transformers.LlamaConfig(**WIDE, num_key_value_heads=2, max_position_embeddings=32, **ENDS, **changes),
            transformers.LlamaModel,
        ),
        "bert": lambda: (
            transformers.BertConfig(**WIDE, max_position_embeddings=32, pad_token_id=0, **changes),
            transformers.BertModel,
        ),
        "gemma2": lambda: (
            transformers.Gemma2Config(
                **WIDE,
                num_key_value_heads=2,
                head_dim=4,
                attn_logit_softcapping=0.5,
                sliding_window=4,
                **ENDS,
                **changes,
            ),
            transformers.Gemma2Model,
        ),
    }[family]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = model(configuration)
        for parameter in made.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def ids(length=9):
    return torch.arange(length) * 7 % VOCABULARY


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "gemma2"])
def test_jacobians_in_few_passes_are_those_of_all_passes(family):
    """Absolute positions, grouped queries with rotary positions, bidirectional behind LayerNorm, capped scores."""
    for one in (promoted(r, torch.float64) for r in record(build(family), ids(), [0, 1])):
        floor = check(one)
        channel, token, weights, apart = measured_jacobians(one)
        with precisely(torch.float64):
            by_jvp = jacobians(one.update, one.x)
        size = float(by_jvp[0].abs().max())
        assert torch.allclose(channel, by_jvp[0], rtol=0, atol=1e-12 * size)
        assert torch.allclose(token, by_jvp[1], rtol=0, atol=1e-12 * size)
        assert apart < 1e-12
        assert bool(weights.triu(1).any()) == bool(token.triu(1).any()) == (family == "bert")
        assert (0 < floor < 1e-5) == (
            family in ("llama", "gemma2")
        )  # RMSNorm casts to float32 there, LayerNorm does not


def test_a_replay_is_what_the_model_computes():
    model = build("llama")
    with torch.no_grad():
        states = model(ids()[None], output_hidden_states=True).hidden_states
    first, second = record(model, ids(), [0, 1])
    assert torch.allclose(first.x, states[0][0], rtol=0, atol=1e-6)
    assert torch.allclose(second.x, states[1][0], rtol=0, atol=1e-5)
    with precisely(torch.float64):
        out = promoted(first, torch.float64).run(first.x.double())
    assert torch.allclose(out.float(), states[1][0], rtol=0, atol=1e-5)
    assert model.config._attn_implementation != "eager"  # as it was


def test_other_attention_and_blocks_that_mix_tokens_are_refused_before_any_jacobian():
    model = build("llama")
    one = promoted(record(model, ids(), [0])[0], torch.float64)
    original = one.block.mlp.forward
    one.block.mlp.forward = lambda u: original(u.cumsum(1))
    with pytest.raises(ValueError, match=r"layer 0 \(LlamaDecoderLayer\): it mixes tokens outside attention"):
        check(one)
    one.block.mlp.forward = original
    one.block.self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ValueError, match="calls the attention interface of transformers 0 times"):
        check(one)


def test_every_layer_is_told_beside_its_own_initialisations():
    model = build("bert")
    before = torch.random.get_rng_state()
    seen = []
    found = measure_pretrained(model, ids(), init_seeds=2, spectrum=3, name="small", finished=seen.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [len(part.layers) for part in seen] == [1, 2, 2, 2]
    told = json.loads(found.to_json())
    assert [row["layer"] for row in told["layers"]] == [0, 1] and told["length"] == 9
    for row in told["layers"]:
        for axis in ("channel", "token"):
            assert len(row[axis]["init"]) == 2
            low, high = row[axis]["sign_flip"]
            assert 0.0 <= low <= high <= 1.0
        assert 0.0 <= row["token"]["negated"] <= 1.0 and -1.0 <= row["correlation_with_attention"] <= 1.0
        assert 0.0 < row["restarted_first"] < 1.0 < row["steps_to_first"]
        assert len(row["init"]["weight_on_first"]) == 2
    assert len(found.table().splitlines()) == 5
    again = measure_pretrained(model, ids(), init_seeds=2, spectrum=3, layers=[1])
    assert again.layers[0]["token"]["init"] == found.layers[1]["token"]["init"]
    single = measure_pretrained(model, ids(), init_seeds=1, layers=[1], dtype=torch.float32)
    assert single.layers[0]["channel"]["shifted_distance"] == pytest.approx(
        found.layers[1]["channel"]["shifted_distance"], abs=1e-4
    )


def test_half_precision_and_quantised_weights_are_refused_and_float32_is_promoted():
    with pytest.raises(
        ValueError, match=r"bfloat16, too coarse for Jacobians .*: call model.float\(\), which is exact"
    ):
        measure_pretrained(build("gpt2").to(torch.bfloat16), ids())
    with pytest.raises(ValueError, match="dtype float16 is too coarse"):
        measure_pretrained(build("gpt2"), ids(), dtype=torch.float16)
    quantised = build("gpt2")
    quantised.h[0].extra = torch.nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"h\.0\.extra is int8: quantised blocks cannot be differentiated; load"):
        measure_pretrained(quantised, ids())
    block = torch.nn.Linear(4, 4)
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    found = block_defect(block, x, iterations=2)
    wide = block_defect(block.double(), x.double(), iterations=2)
    assert found.channel == wide.channel and found.rotated == wide.rotated
    with pytest.raises(ValueError, match=r"pass x.float\(\), which is exact"):
        block_defect(block, x.half())


@pytest.mark.parametrize(
    "tokens, options, words",
    [
        (torch.arange(33), {}, "33 tokens are too many: the model has 32 positions; take --length 32"),
        (torch.tensor([1, 99]), {}, "token 99 is none of the model's 40"),
        (torch.tensor([1]), {}, "tokens must be at least 2, got 1"),
        (torch.zeros(1, 4, dtype=torch.int64), {}, r"tokens must be integers \[T\], got \[1, 4\]"),
        (ids(), {"layers": [0, 2]}, r"layers \[0, 2\] are not all among the 2 of the model: take numbers 0 … 1"),
        (ids(), {"init_seeds": -1}, "init_seeds must be an integer >= 0, got -1"),
    ],
)
def test_what_a_model_cannot_read_is_refused(tokens, options, words):
    with pytest.raises(ValueError, match=words):
        measure_pretrained(build("gpt2"), tokens, **options)


def test_a_block_of_transformers_alone_needs_its_mask_and_agrees_with_the_layer():
    model = build("llama")
    one = record(model, ids(), [1])[0]
    given = {name: value for name, value in one.kwargs.items() if name != "hidden_states"}
    found = block_defect(one.block, one.x[None], given=given, iterations=1)
    row = measure_pretrained(model, ids(), layers=[1], init_seeds=1).layers[0]
    assert found.token.shifted_distance == pytest.approx(row["token"]["shifted_distance"], abs=1e-12)
    assert found.correlation_with_attention == pytest.approx(row["correlation_with_attention"], abs=1e-12)
    assert "token axis" in found.table()
    del given["attention_mask"]
    with pytest.raises(ValueError, match="causal by name and hears later tokens"):
        block_defect(one.block, one.x[None], given=given)


def test_any_function_of_a_stream_is_a_block_and_what_is_none_is_said():
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    W = torch.full((5, 5), 0.2, dtype=torch.float64)
    found = block_defect(lambda u: (W @ u, "more"), x, iterations=3)
    assert found.token.shifted_distance < 1e-14 and found.correlation_with_attention is None
    for block, words in (
        (lambda u: u[..., :2], r"the block gives \[1, 5, 2\] for \[1, 5, 3\]"),
        (lambda u: u.half(), "the block gives torch.float16 for float64"),
        (lambda u: u[0], r"must give back \[B, T, d\], alone or first in a tuple; got \[5, 3\]"),
        (lambda u: W[:4, :4] @ u, r"the block fails on \[1, T, d\]"),
    ):
        with pytest.raises(ValueError, match=words):
            block_defect(block, x)
    with pytest.raises(ValueError, match=r"x must be \[B, T, d\], got \[5, 3\]: of a single sequence"):
        block_defect(lambda u: u, x[0])


def saved(folder, family="gpt2", tokenizer=True, **how):
    """A model on the disk, with a tokenizer of one token per word."""
    build(family).save_pretrained(folder, **how)
    if tokenizer:
        from tokenizers import Tokenizer, models, pre_tokenizers

        words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(VOCABULARY)}, unk_token="w0"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    text = folder.parent / "text.txt"
    text.write_text(" ".join(f"w{n * 7 % VOCABULARY}" for n in range(60)))
    return ["--model", str(folder), "--text", str(text), "--length", "8", "--init-seeds", "1"]


def test_the_command_prints_the_table_and_writes_json_and_figure(tmp_path, capsys):
    words = saved(tmp_path / "model")
    capsys.readouterr()
    assert main([*words, "--layers", "1", "--out", str(tmp_path / "out")]) == 0
    table, progress = capsys.readouterr()
    assert "as saved, in float32; text text.txt" in table and "figure: " in table
    assert progress.splitlines() == [
        f"{tmp_path / 'model'}: {line}" for line in ("layer 1", "initialisation 0, layer 1")
    ]
    content = json.loads((tmp_path / "out" / "pretrained.json").read_text())
    assert content["layers"][0]["layer"] == 1 and content["provenance"]["seed"] == 0
    assert {"pretrained.png", "pretrained.svg", "pretrained.txt"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert main([*words, "--layers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == content["layers"]


def test_wrong_models_are_one_line_with_the_remedy(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "model"
    words = saved(folder, tokenizer=False)
    weights = folder / "model.safetensors"
    capsys.readouterr()

    def said(*more):
        assert main([*words, *more]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    assert "model has no tokenizer: name the folder of the one it was trained with by --tokenizer DIR" in said()
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be read" in said()
    assert "is no folder, no installed package and not in the cache" in said("--model", "some/model")
    assert "hf download some/model --local-dir DIR" in said("--model", "some/model")
    with monkeypatch.context() as installed:  # the suite does not need the extra
        installed.setattr(source, "find_spec", lambda name: name in source.NEEDED or find_spec(name))
        assert "--gguf a.gguf: not in" in said("--gguf", "a.gguf")
    assert "is a file: name its folder" in said("--model", str(weights))
    config = json.loads((folder / "config.json").read_text())

    def with_config(**changes):
        (folder / "config.json").write_text(json.dumps(config | changes))
        return said()

    assert "quantised blocks cannot be differentiated" in with_config(
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}
    )
    assert "are not those of its configuration" in with_config(n_layer=3)
    assert "are not those of its configuration" in with_config(n_embd=32)
    assert "cannot be read" in with_config(model_type="unheard_of")
    (folder / "config.json").write_text("{}")
    assert 'names no model_type: add the family, such as "model_type": "bert"' in said()
    (folder / "config.json").write_text("{")
    assert "is no JSON" in said()
    with_config()
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model.bin")
    weights.rename(tmp_path / "away")
    assert "are a pickle (pytorch_model.bin), which may run code" in said() and "--allow-pickle" in said()
    (folder / "pytorch_model.bin").unlink()
    assert "has no weights" in said()
    (folder / "config.json").unlink()
    (folder / "small.Q4_0.gguf").touch()
    assert "add --gguf small.Q4_0.gguf" in said()
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    assert "--model needs gguf to read GGUF" not in said() and "pip install 'fastslow[pretrained]'" in said()


def test_pickles_are_read_when_asked_for(tmp_path, capsys):
    words = saved(tmp_path / "model", "bert")
    folder = tmp_path / "model"
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert main([*words, "--layers", "0", "--json", "--allow-pickle"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["architecture"] == "BertModel"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--model", "DIR"], "--model needs a text to read"),
        (["RUN", "--model", "DIR"], "not both"),
        ([], "name folders of runs, or a pretrained model"),
        (["RUN", "--layers", "0"], "argument --layers: only for --model DIR"),
        (["--model", "DIR", "--text", "F", "--sequences", "2"], "argument --sequences: only for runs"),
        (
            ["--model", "DIR", "--text", "F", "--dtype", "bfloat16"],
            "bits, of which a Jacobian's small entries keep none",
        ),
        (["--model", "DIR", "--text", "F", "--layers", "one"], "no numbers of layers, such as 0,10"),
    ],
)
def test_usage(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_too_little_text_and_text_of_no_encoding(tmp_path, capsys):
    words = saved(tmp_path / "model")
    assert main([*words, "--length", "70"]) == 2
    assert "has 60 tokens, fewer than --length 70" in capsys.readouterr().err
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\x00")
    assert main(words) == 2
    assert "name a file of UTF-8 text" in capsys.readouterr().err
