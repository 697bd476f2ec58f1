"""m⁺ − p_st(A) = A^# K b / P, on streams of every kind, with any label."""

from fractions import Fraction
from functools import cache

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import group_inverse, stationary_distribution, stream_identity


@cache
def regimes(length, n, seed):
    """Tokens of a chain of second order whose kernel switches: nothing like a Markov chain."""
    rng = torch.Generator().manual_seed(seed)
    kernels = torch.rand(2, n, n, n, generator=rng).square()
    coins, tokens, regime = torch.rand(2, length, generator=rng), [0, 1 % n], 0
    for t in range(2, length):
        regime ^= int(coins[0, t] < 0.02)
        weights = kernels[regime, tokens[-1], tokens[-2]].cumsum(0)
        tokens.append(int((weights < coins[1, t] * weights[-1]).sum()))
    return torch.tensor(tokens)


@pytest.mark.numerical
@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(1, 4), st.integers(0, 1))
def test_it_is_exact_whatever_stream_and_label(n, period, labels, seed):
    stream = regimes(400, n, seed)
    rng = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(stream) - period, (150,), generator=rng)
    label = torch.randint(labels, (150,), generator=rng)
    found = stream_identity(stream, label, n_states=n, starts=starts, period=period)
    # A^# has norm of order 1 here; n η ‖A^#‖ bounds what the solve loses.
    scale = float(group_inverse(found.A).abs().sum(-2).max())
    assert float(found.residual.max()) <= 8 * n * torch.finfo(torch.float64).eps * max(1.0, scale)
    assert float((found.after - (found.K @ found.before[..., None])[..., 0]).abs().max()) < 1e-14
    torch.testing.assert_close(found.after - found.before, found.ends / period, rtol=0, atol=1e-14)
    torch.testing.assert_close(found.stationary, stationary_distribution(found.A), rtol=0, atol=0)
    kept = len(found.labels) + len(found.without_column) + len(found.several_classes)
    assert kept == len(label.unique()) and float(found.weights.sum()) == pytest.approx(1.0)


def test_counts_are_those_of_the_definition():
    stream, period, n = regimes(400, 4, 1), 9, 4
    starts = torch.arange(0, 380, 3)
    label = stream[starts]
    found = stream_identity(stream, label, n_states=n, starts=starts, period=period)
    for k, which in enumerate(found.labels.tolist()):
        own = starts[label == which]
        J = torch.zeros(n, n)
        for s in own.tolist():
            for t in range(s, s + period):
                J[stream[t + 1], stream[t]] += 1
        torch.testing.assert_close(found.K[k], (J / J.sum(0)).double(), rtol=1e-7, atol=0)
        assert found.blocks[k].item() == len(own)
    blocks = stream[starts[:, None] + torch.arange(period + 1)]
    same = stream_identity(blocks, label, n_states=n)
    torch.testing.assert_close(same.K, found.K, rtol=0, atol=0)
    torch.testing.assert_close(same.boundary, found.boundary, rtol=0, atol=0)


def test_in_rational_arithmetic_the_residual_is_zero():
    stream = regimes(60, 3, 2).tolist()
    period, starts = 5, range(0, 54, 2)
    J = sympy.zeros(3, 3)
    first, last = sympy.zeros(3, 1), sympy.zeros(3, 1)
    for s in starts:
        first[stream[s]] += 1
        last[stream[s + period]] += 1
        for t in range(s, s + period):
            J[stream[t + 1], stream[t]] += 1
    total = sympy.Rational(len(starts))
    K = sympy.Matrix(3, 3, lambda i, j: sympy.Rational(J[i, j], sum(J[:, j])))
    p = (K - sympy.eye(3)).nullspace()[0]
    p = p / sum(p)
    m = sympy.Matrix(3, 1, lambda i, _: sum(J[i, :]) / (total * period))
    A = K - sympy.eye(3)
    inverse = (A - p * sympy.ones(1, 3)).inv() + p * sympy.ones(1, 3)
    boundary = inverse * K * (last - first) / total / period
    assert m - p - boundary == sympy.zeros(3, 1)
    found = stream_identity(
        torch.tensor(stream), torch.zeros(len(starts), dtype=torch.int64), n_states=3, starts=list(starts), period=5
    )
    exact = torch.tensor([[float(Fraction(int(v.p), int(v.q))) for v in boundary]], dtype=torch.float64)
    torch.testing.assert_close(found.boundary, exact, rtol=0, atol=1e-15)


def test_swapped_ends_double_the_residual_and_another_labels_chain_is_refused():
    stream, period = regimes(4000, 5, 3), 16
    starts = torch.arange(0, 3900, 8)
    found = stream_identity(stream, stream[starts], n_states=5, starts=starts, period=period)
    swapped = 0.5 * (found.after - found.stationary + found.boundary).abs().sum(-1)
    torch.testing.assert_close(swapped, found.boundary.abs().sum(-1), rtol=1e-10, atol=1e-14)
    other = 0.5 * (found.after - found.stationary.roll(1, 0) - found.boundary).abs().sum(-1)
    assert float(other.min()) > 1e6 * float(found.residual.max())


def test_a_markov_chain_gives_the_closed_form_of_the_token_clock():
    from theory import from_rates
    from theory.clock.block_mean import block_mean  # the definition, P steps of K

    rng = torch.Generator().manual_seed(0)
    K = torch.rand(4, 4, generator=rng, dtype=torch.float64)
    K, P = K / K.sum(0), 7
    start = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    p = stationary_distribution(from_rates(K))
    mean, end = block_mean(K, start, P)
    boundary = group_inverse(from_rates(K)) @ K @ (end - start) / P
    torch.testing.assert_close(mean - p, boundary, rtol=0, atol=1e-15)


def test_labels_without_a_chain_are_set_aside_and_counted():
    blocks = torch.tensor([[0, 1, 0, 1, 2], [0, 1, 1, 0, 1], [3, 0, 1, 0, 1], [0, 1, 0, 1, 0], [2, 2, 3, 3, 3]])
    labels = torch.tensor([0, 1, 2, 3, 3])
    found = stream_identity(blocks, labels, n_states=5)
    assert found.without_column == (0,)  # 2 is only ever last
    assert found.several_classes == (3,)  # {0, 1} and {3}
    assert found.labels.tolist() == [1, 2]  # 3, only ever first, is transient
    assert float(found.stationary[1, 3]) == 0.0 and float(found.K[1, :, 3].sum()) == 1.0
    assert float(found.residual.max()) < 1e-15
    with pytest.raises(ValueError, match="no label is left of 1: 1 have a symbol that only ends blocks"):
        stream_identity(blocks[:1], labels[:1], n_states=5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tokens": torch.rand(9)}, "tokens must hold integers, got torch.float32"),
        ({"tokens": torch.tensor([0, 1, 7, 0, 1, 0])}, r"tokens\[2\] = 7 is outside 0 … 1"),
        ({"starts": [0, 5]}, r"starts\[1\] = 5 is outside 0 … 3: a block of `period` tokens must end"),
        ({"starts": [0, -1]}, r"starts\[1\] = -1 is outside"),
        ({"labels": [0, -2]}, r"labels\[1\] = -2 is outside 0 … 0"),
        ({"labels": [0]}, r"labels must hold one label a block, \[2\]; got \[1\]"),
        ({"starts": None}, "pass blocks tokens"),
        ({"period": 0}, "period"),
        ({"n_states": 0}, "n_states"),
    ],
)
def test_what_is_refused(change, message):
    given = {"tokens": torch.tensor([0, 1, 1, 0, 1, 0]), "labels": [0, 0], "n_states": 2, "starts": [0, 2], "period": 2}
    given |= change
    with pytest.raises(ValueError, match=message):
        stream_identity(given.pop("tokens"), given.pop("labels"), **given)
