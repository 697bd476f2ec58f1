"""The 27 letters: a corpus transform."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.corpus import open_corpus
from network.data import load_data
from network.tokenizer import LetterTokenizer, tokenizer_from_json


@given(st.text(max_size=200))
def test_letters_are_lowered_and_all_else_is_one_space(text):
    tokenizer = LetterTokenizer()
    tokens = tokenizer.encode(text)
    decoded = tokenizer.decode(tokens.tolist())
    assert tokens.dtype == np.uint8 and "  " not in decoded and set(decoded) <= set("abcdefghijklmnopqrstuvwxyz ")
    assert tokenizer.encode(decoded).tolist() == tokens.tolist()
    kept = [c for c in text.encode().lower() if ord("a") <= c <= ord("z")]
    assert [c for c in decoded.encode() if c != ord(" ")] == kept


def test_the_json_round_trip():
    again = tokenizer_from_json(LetterTokenizer().to_json())
    assert isinstance(again, LetterTokenizer) and again.vocab_size == 27 and not again.ends_documents


def test_documents_join_in_one_space(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(4):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"\n  The END, {number}.\n\n" * 9)
    data = load_data(open_corpus(tmp_path / "texts"), letters=True, cache=tmp_path / "cache")
    assert data.letters and data.vocab_size == 27 and data.bpe_vocab is None
    for tokens in (data.training, data.validation):
        assert set(data.tokenizer.decode(tokens.tolist()).split(" ")) == {"the", "end", ""}
        assert not ((tokens[1:] == 0) & (tokens[:-1] == 0)).any() and tokens[-1] == 0 and tokens[0] != 0
    with pytest.raises(ValueError, match="two vocabularies"):
        load_data(open_corpus(tmp_path / "texts"), letters=True, bpe_vocab=300, cache=tmp_path / "cache")


def test_a_run_on_letters_is_trained_resumed_and_generates(corpus_folder, tmp_path, monkeypatch, capsys):
    from network import generate_command, train
    from network.run_folder import read_run

    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    options = ["--tokens", "2048", "--block-size", "32", "--n-embd", "16", "--arm", "generator", "--quiet"]
    run = ["--out", str(tmp_path / "run")]
    assert train.main(["--corpus", str(corpus_folder), "--letters", *options, *run]) == 0
    assert read_run(tmp_path / "run")["data"]["letters"] is True
    assert train.main(["--resume", str(tmp_path / "run"), "--quiet"]) == 0
    capsys.readouterr()
    assert generate_command.main([str(tmp_path / "run"), "--prompt", "The slow", "--tokens", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["tokens"]) == 40 and max(found["tokens"]) < 27  # a space does not end the text
