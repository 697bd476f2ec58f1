"""Corpora as people have them: folders with pictures in them, one endless line, two kinds of text."""

import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from network.corpus import CorpusError, open_corpus
from network.data import load_data
from network.tokenizer import BPETokenizer, ByteTokenizer, pieces, tokenizer_from_json

TEXT = "the slow variable drives the fast one, and 12 fast ones it's the slow one.\n" * 20


@pytest.fixture
def folder(tmp_path):
    for k in range(4):
        (tmp_path / f"{k}.txt").write_text(f"{k} {TEXT}")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "b.bin").write_bytes(b"PK\0\0")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "x.o").write_bytes(b"\xff\xfe")
    return tmp_path


def test_all_that_is_no_text_is_listed_at_once_with_two_ways_out(folder):
    with pytest.raises(CorpusError) as refused:
        open_corpus(folder)
    message = str(refused.value)
    assert message.startswith("4 of the 10 files") and all(n in message for n in ("a.png", "b.bin", "latin.txt", "x.o"))
    assert "--exclude '*.png'" in message and "--skip-undecodable" in message
    skipping = open_corpus(folder, skip_undecodable=True)
    assert set(skipping.skipped) == {"a.png", "b.bin", "latin.txt", "build/x.o"} and len(skipping.documents) == 5
    excluding = open_corpus(folder, exclude=["*.png", "*.bin", "build/", "latin*"])
    assert excluding.sha256 == skipping.sha256 and excluding.options == {
        "exclude": ["*.png", "*.bin", "build/", "latin*"]
    }
    with pytest.raises(CorpusError, match="leaves none of the 10 files; take fewer patterns"):
        open_corpus(folder, exclude=["*"])
    with pytest.raises(CorpusError, match="none of them text; name another folder"):
        open_corpus(folder / "build", skip_undecodable=True)
    with pytest.raises(CorpusError, match="the corpus source is fixed"):
        open_corpus("source", exclude=["*.py"])


def test_the_summary_counts_what_is_there(folder, tmp_path):
    corpus = open_corpus(folder, skip_undecodable=True)
    data = load_data(corpus, cache=tmp_path / "cache")
    training, validation = corpus.split()
    s = data.summary
    assert s.held_out == tuple(d.name for d in validation) and s.training_files == len(training)
    assert s.training_bytes == len(data.training) and s.validation_bytes == len(data.validation)
    assert s.validation_share == len(data.validation) / (len(data.training) + len(data.validation))
    assert "left out as no text: 4 files" in s.lines() and data.options == {"skip_undecodable": True}
    pairs = load_data(corpus, bpe_vocab=280, cache=tmp_path / "cache").summary
    assert pairs.validation_bytes == s.validation_bytes
    assert pairs.bytes_per_token == s.validation_bytes / pairs.validation_tokens > 1.0


def test_two_kinds_of_text_and_a_lopsided_share_are_warned_of(tmp_path):
    rng = random.Random(0)
    for k in range(6):
        (tmp_path / f"prose{k}.txt").write_text("".join(rng.choices("abcdefg \n", k=20_000)))
    same = load_data(open_corpus(tmp_path), cache=tmp_path / ".cache").summary
    assert same.byte_distance < 0.05 and [w.split(":")[0] for w in same.warnings()] == []
    held = open_corpus(tmp_path).split()[1][0]
    held.path.write_text("".join(rng.choices("0123456789,;", k=2000)))
    others = [path for path in sorted(tmp_path.glob("*.txt")) if path != held.path][:2]
    mixed = load_data(open_corpus([held.path, *others]), cache=tmp_path / ".cache")
    words = " ".join(mixed.summary.warnings())
    assert "far from 10 %" in words and "of another kind than the rest (byte frequencies" in words


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train([TEXT], 290)


def word_ends(before, after):
    """Whether GPT-2's pattern always ends a word between the two characters, of those that `pieces` looks for."""
    if after in " \n":
        return "!" <= before <= "~"
    letter, digit = (lambda c: c.isascii() and c.isalpha()), (lambda c: c.isascii() and c.isdigit())
    return (letter(before) and digit(after)) or (digit(before) and letter(after))


@given(
    words=st.lists(
        st.sampled_from(["the", " ", "  ", "\n", "12", "a1b", "it's", "!?", "é", "漢", "\t", "."]), max_size=60
    )
)
def test_a_text_in_pieces_gives_the_tokens_of_the_whole(bpe, words):
    text = "".join(words)
    whole = bpe._inner.encode(text, add_special_tokens=False).ids
    for size in (24, 40):
        cut = list(pieces(text, size))
        assert "".join(cut) == text and all(0 < len(piece) <= size for piece in cut)
        forced = any(not word_ends(a[-1], b[0]) for a, b in itertools.pairwise(cut))
        ids = [token for piece in cut for token in bpe._inner.encode(piece, add_special_tokens=False).ids]
        assert ids == whole or forced
        assert bpe.decode(ids) == text


def test_tokenizer_files_are_read_by_the_library_tokenizers(bpe, tmp_path):
    text = "it's the slow one: é漢\n 12"
    for own in (ByteTokenizer(), bpe):
        path = tmp_path / "tokenizer.json"
        path.write_text(own.to_json())
        theirs = Tokenizer.from_file(str(path))
        assert theirs.encode(text, add_special_tokens=False).ids == own.encode(text).tolist()
        assert theirs.decode(own.encode(text).tolist()) == text
        assert type(tokenizer_from_json(own.to_json())) is type(own)
    every = bytes(range(256))
    assert ByteTokenizer().encode(every).tolist() == list(range(256))
    assert [Tokenizer.from_str(ByteTokenizer().to_json()).id_to_token(k) is not None for k in range(256)] == [
        True
    ] * 256


def test_files_of_the_first_version_are_still_read(bpe):
    assert tokenizer_from_json('{"kind": "bytes"}').name == "bytes"
    old = f'{{"kind": "bpe", "tokenizer": {bpe.to_json()}}}'
    assert tokenizer_from_json(old).encode(TEXT).tolist() == bpe.encode(TEXT).tolist()


ENDLESS = """
import resource, sys
from network.tokenizer import BPETokenizer
bpe = BPETokenizer.train(["abc abd " * 9000], 260)
line = "abcd" * (int(sys.argv[1]) // 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(map(len, bpe.encode_in_pieces(line.encode()))) > 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="ru_maxrss counts bytes there")
def test_a_line_of_8_mb_is_encoded_in_bounded_memory():
    done = subprocess.run([sys.executable, "-c", ENDLESS, "8000000"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000  # kilobytes; 0.7 GB where the line is encoded at once


def test_training_streams_stay_narrow(bpe):
    assert bpe.encode(TEXT).dtype == np.uint16 and bpe.encode("").dtype == np.uint16
