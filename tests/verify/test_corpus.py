"""Corpora with a known answer: the source, its text, and exact losses against enumeration of every hidden path."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from network.data import load_data
from verify.corpus import Regimes, SystemText, made, open_corpus, parse, text_of, tokens_of
from verify.corpus.answer import block_losses, exact_losses, share, validation_start
from verify.corpus.bayes import bayes_losses, expected_losses
from verify.corpus.behind_blocks import behind_blocks
from verify.corpus.command import main

F64 = torch.float64


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))


def enumerated(source, tokens, phase, m=None):
    """−log p(x_{t+1} | last m tokens up to x_t) by summing over every path of the regime; phase None: unknown."""
    K, law, f = source.kernels.tolist(), source.stationary.tolist(), float(source.f)
    losses = []
    for t in range(len(tokens) - 1):
        first = 0 if m is None else max(0, t - m + 1)
        window = tokens[first : t + 2].tolist()
        phases = range(source.block) if phase is None else [(phase + first) % source.block]
        totals = [0.0, 0.0]  # of the window without its last token, and with it
        for start in phases:
            for path in itertools.product(range(2), repeat=len(window)):
                p = law[path[0]][start][window[0]]
                for k in range(1, len(window)):
                    border = (start + k) % source.block == 0
                    p *= (f if path[k] != path[k - 1] else 1 - f) if border else float(path[k] == path[k - 1])
                    if k == len(window) - 1:
                        totals[0] += p
                    p *= K[path[k]][window[k]][window[k - 1]]
                totals[1] += p
        losses.append(-math.log(totals[1] / totals[0]))
    return losses


@pytest.mark.parametrize("block", [1, 3])
def test_the_filters_are_sums_over_every_path_of_the_regime(block):
    source = Regimes(s=0.8, f=0.3, n=3, block=block, length=40)
    stream, regimes = (torch.from_numpy(part) for part in source.sample())
    starts = torch.tensor([5, 13])
    index = starts[:, None] + torch.arange(7)
    found = bayes_losses(source, stream[index], regimes[index], starts, (3, 50))
    rows = [stream[row] for row in index]
    said = {
        "filter": [enumerated(source, row, None) for row in rows],
        "phase_known": [enumerated(source, row, int(s) % block) for row, s in zip(rows, starts, strict=True)],
        "order_1": [enumerated(source, row, None, 1) for row in rows],
        "window_3": [enumerated(source, row, None, 3) for row in rows],
        "window_50": [enumerated(source, row, None) for row in rows],
    }
    for name, losses in said.items():
        assert found[name] == pytest.approx(np.mean(losses), rel=1e-12), name


def known_block(source, row, hidden, start, period, m):
    """−log p(x_{t+1} | y and its phase as the last block ended, x there, the last m tokens), over every hidden path."""
    K, f, losses = source.kernels.tolist(), float(source.f), []
    for t in range(period - 1, len(row) - 1):
        end = period * ((t + 1) // period) - 1
        seen = {end, *range(max(end, t - m + 1), t + 1)}
        totals = [0.0, 0.0]
        open_to = [range(source.n) if k not in seen else [int(row[k])] for k in range(end + 1, t + 1)]
        for path in itertools.product(range(2), repeat=t + 1 - end):
            for unseen in itertools.product(*open_to):
                p, x, y = 1.0, int(row[end]), int(hidden[end])
                for k, (token, r) in enumerate(zip((*unseen, int(row[t + 1])), path, strict=True), end + 1):
                    border = (start + k) % source.block == 0
                    p *= (f if r != y else 1 - f) if border else float(r == y)
                    totals[0] += p if k == t + 1 else 0.0
                    p *= K[r][token][x]
                    x, y = token, r
                totals[1] += p
        losses.append(-math.log(totals[1] / totals[0]))
    return losses


@pytest.mark.parametrize("period, reach", [(2, 3), (4, 1), (4, 2)])
def test_what_a_slow_path_can_be_worth_is_a_sum_over_what_it_does_not_see(period, reach):
    source = Regimes(s=0.8, f=0.3, n=3, block=3, length=40)
    stream, regimes = (torch.from_numpy(part) for part in source.sample())
    starts = torch.tensor([5, 13])
    index = starts[:, None] + torch.arange(9)
    windows = (stream[index], regimes[index], starts)
    found = behind_blocks(source, *windows, period=period, reach=reach)
    said = []
    for row, hidden, start in zip(*windows, strict=True):
        said += enumerated(source, row[: period + 1], None, reach)[: period - 1]
        said += known_block(source, row, hidden, int(start), period, reach)
    assert found["known"] == pytest.approx(np.mean(said), rel=1e-12)
    exact = bayes_losses(source, *windows, (reach,))
    if period == 2:  # nothing is unseen, so behind the first block it is the filter
        assert found["filter"] == pytest.approx(exact["filter"], rel=1e-12)
    else:
        assert found["filter"] not in (pytest.approx(exact["filter"]), pytest.approx(exact[f"window_{reach}"]))
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        behind_blocks(source, *windows, period=0, reach=reach)


def test_a_slow_path_is_worth_most_where_its_blocks_are_short_and_regimes_long():
    source = Regimes(s=0.7, f=Fraction(1, 64), length=30_000)
    worth = {P: block_losses(source, block_size=64, period=P, reach=3) for P in (2, 8, 32)}
    exact = exact_losses(source, block_size=64, reach=(3,))
    ends = [exact["filter"], *(worth[P]["filter"] for P in (2, 8, 32)), exact["window_3"]]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(ends)) and ends[0] < ends[2] < ends[3] < ends[4]
    assert all(one["known"] < one["filter"] for one in worth.values())


def test_the_law_in_the_long_run_is_that_of_a_long_text():
    source = Regimes(s=1.0, f=0.2, n=4, block=3, length=60_000)
    torch.testing.assert_close(source.chain.sum(0), torch.ones(24, dtype=F64))
    torch.testing.assert_close(source.stationary.sum((0, 2)), torch.full((3,), 1 / 3, dtype=F64))
    tokens, regimes = source.sample()
    seen = np.zeros((2, 3, 4))
    np.add.at(seen, (regimes, np.arange(len(tokens)) % 3, tokens), 1.0 / len(tokens))
    # the regime of a block is shared by its tokens and lasts 5 blocks: some 60,000/30 independent draws
    assert np.abs(seen - source.stationary.numpy()).max() < 5 * math.sqrt(0.25 * 30 / 60_000)


def test_what_more_is_known_costs_less():
    source = Regimes(length=30_000, f=Fraction(1, 16))
    tokens, regimes = (torch.from_numpy(part).view(-1, 300) for part in source.sample())
    L = bayes_losses(source, tokens, regimes, 300 * torch.arange(100), (2, 7, 31))
    order = ["known", "phase_known", "filter", "window_31", "window_7", "window_2", "order_1"]
    assert [L[a] < L[b] for a, b in itertools.pairwise(order)] == [True] * 6
    expected = expected_losses(source)
    for name in ("known", "order_1"):
        assert L[name] == pytest.approx(expected[name], abs=5 / math.sqrt(30_000) * 2)


def test_the_null_has_nothing_to_know():
    source = Regimes(s=0.0, length=30_000)
    found = exact_losses(source, block_size=64, reach=(5,))
    assert max(found.values()) - min(found.values()) < 1e-12


def test_a_text_is_its_tokens_and_comes_from_the_seed_alone(cache, tmp_path):
    source = Regimes(length=9000)
    corpus = open_corpus(source.name)
    assert corpus.paths == ("regimes:s=0.7,f=1/256,length=9000",) and len(corpus.documents) == 1
    text = made(source, tmp_path / "again").read_bytes()
    assert text == corpus.documents[0].path.read_bytes() == text_of(source.sample()[0])
    assert np.array_equal(tokens_of(np.frombuffer(text, np.uint8)), source.sample()[0])
    assert not np.array_equal(Regimes(length=9000, seed=1).sample()[0], source.sample()[0])
    data = load_data(corpus)
    begin = validation_start(source)
    assert np.array_equal(tokens_of(data.validation[:-1]), source.sample()[0][begin:]) and begin == 8100


def test_losses_are_of_the_windows_that_a_model_is_measured_on(cache):
    source = Regimes(length=9004, n=5)
    from network.data import validation_batches

    data = load_data(open_corpus(source.name))
    parts = list(validation_batches(data.validation, 64, 16, 4096))
    inputs, targets = (tokens_of(torch.cat([part[side] for part in parts]).numpy()) for side in (0, 1))
    _, regimes = source.sample()
    begin = validation_start(source)
    spread = np.concatenate([np.arange(14)])
    starts = begin + spread * 64
    y = torch.from_numpy(regimes[starts[:, None] + np.arange(1, 65)])
    K = source.kernels
    known = -K[y, torch.from_numpy(targets), torch.from_numpy(inputs)].log().mean()
    assert exact_losses(source, block_size=64)["known"] == pytest.approx(float(known), rel=1e-13)


def test_a_window_that_ends_on_the_separator_is_refused_with_a_length_that_works(cache):
    with pytest.raises(ValueError, match="take length = 6410") as refused:
        exact_losses(Regimes(length=6400), block_size=64)
    assert "separator" in str(refused.value)
    exact_losses(Regimes(length=6410), block_size=64)


@pytest.mark.parametrize(
    "name, source",
    [
        ("regimes", Regimes()),
        ("regimes:s=0.5,f=1/64", Regimes(s=0.5, f=Fraction(1, 64))),
        ("regimes:s=0,f=1,n=4,block=2,seed=3,length=999", Regimes(s=0, f=1, n=4, block=2, seed=3, length=999)),
        ("system:two_state,length=512", SystemText("two_state", length=512)),
        ("shakespeare", None),
        ("./regimes.txt", None),
    ],
)
def test_names_and_back(name, source):
    assert parse(name) == source
    if source is not None:
        assert parse(source.name) == source


@pytest.mark.parametrize(
    "name, message",
    [
        ("regimes:t=1", "'t=1' is not one of s=…"),
        ("regimes:s=1,s=2", "given once"),
        ("regimes:f=1/0", "f=1/0 is not a number"),
        ("regimes:f=0", r"probability in \(0, 1\].*got 0"),
        ("regimes:s=-1", "s must be a finite number >= 0"),
        ("regimes:n=95", "n must be an integer in 2 … 94, got 95"),
        ("regimes:block=0.5", "block must be an integer >= 1, got 0.5"),
        ("system:nowhere", "unknown system 'nowhere'; the built-in ones are"),
        ("system:two_state,step=0", "step must be positive"),
    ],
)
def test_what_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        parse(name)


def test_tokens_of_a_system_follow_its_kernel():
    from theory import get_system

    source = SystemText("two_state", length=4000, blocks=10, step=0.5)
    tokens, known = source.sample()
    assert tokens.min() == 0 and tokens.max() == get_system("two_state").n_states - 1 and len(tokens) == 4000
    assert 0 < known < math.log(2)
    assert np.array_equal(tokens, source.sample()[0])


def test_a_system_whose_kernel_never_moves_is_its_entropy_rate():
    # attention_causal's p_st does not move with y; a single state absorbs: with y known the tokens become certain
    _, known = SystemText("attention_causal", length=8 * 64 * 20, step=1.0).sample()
    _, mixing = SystemText("attention", length=8 * 64 * 20, step=1.0).sample()
    assert known < 0.2 * mixing


def test_the_command_writes_text_and_answer(tmp_path, capsys, cache):
    out = tmp_path / "made"
    name = "regimes:length=6410,n=4"
    assert main([name, "--out", str(out), "--block-size", "64", "--reach", "3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "made.json").read_text())
    assert record["losses"]["window_3"] <= record["losses"]["order_1"] and record["corpus"] == parse(name).name
    from network.corpus import open_corpus as read

    assert read(out).documents[0].sha256 == open_corpus(name).documents[0].sha256
    assert main([name, "--out", str(out)]) == 2 and "already holds" in capsys.readouterr().err
    assert main(["shakespeare", "--out", str(tmp_path / "x")]) == 2


def test_a_share_of_nothing_is_nothing():
    assert share(2.2, above=2.3, below=2.1) == pytest.approx(0.5)
    assert share(2.2, above=2.3, below=2.3) is None
