"""Block means and their causal return, against index arithmetic written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from network.pooling import block_mean, unpool

pytestmark = pytest.mark.numerical

F64 = torch.float64


@st.composite
def lengths(draw):
    period = draw(st.integers(1, 9))
    return period, draw(st.integers(period, 40))


@given(lengths())
def test_block_mean_is_the_mean_of_each_complete_block(sizes):
    period, length = sizes
    x = torch.randn(2, length, 3, dtype=F64)
    y = block_mean(x, period)
    assert y.shape == (2, length // period, 3)
    for k in range(length // period):
        expected = sum(x[:, t] for t in range(k * period, (k + 1) * period)) / period
        torch.testing.assert_close(y[:, k], expected, rtol=1e-13, atol=1e-15)


@given(lengths())
def test_unpool_hands_token_t_the_newest_complete_block(sizes):
    period, length = sizes
    c = torch.randn(2, length // period, 3, dtype=F64)
    u = unpool(c, period, length)
    assert u.shape == (2, length, 3)
    for t in range(length):
        newest = (t + 1) // period - 1
        # Complete at t: its last token is t or earlier, and that of the next block is not.
        assert (newest + 1) * period - 1 <= t < (newest + 2) * period - 1
        expected = torch.zeros(2, 3, dtype=F64) if newest < 0 else c[:, newest]
        assert torch.equal(u[:, t], expected)


@given(lengths())
def test_unpool_of_block_mean_reads_no_later_token(sizes):
    period, length = sizes
    x = torch.randn(1, length, 1, dtype=F64, requires_grad=True)
    u = unpool(block_mean(x, period), period, length)
    for t in range(length):
        if not u[0, t].requires_grad:
            continue
        (gradient,) = torch.autograd.grad(u[0, t].sum(), x, retain_graph=True)
        read = gradient[0, :, 0].nonzero()[:, 0].tolist()
        newest = (t + 1) // period - 1
        assert read == (list(range(newest * period, (newest + 1) * period)) if newest >= 0 else [])


def test_unpool_by_hand():
    c = torch.tensor([[[1.0], [2.0]]], dtype=F64)
    assert unpool(c, 3, 8)[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert unpool(c, 3, 6)[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2]
    assert unpool(torch.ones(1, 4, 1, dtype=F64), 1, 4)[0, :, 0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("period", [0, -1, 2.0, True, "4", float("nan")])
def test_a_period_that_is_no_positive_integer_is_refused(period):
    with pytest.raises(ValueError, match="period must be an integer >= 1"):
        block_mean(torch.zeros(1, 8, 2), period)
    with pytest.raises(ValueError, match="period must be an integer >= 1"):
        unpool(torch.zeros(1, 1, 2), period, 8)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="period = 9 exceeds the T = 8 tokens"):
        block_mean(torch.zeros(1, 8, 2), 9)
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, d\]"):
        block_mean(torch.zeros(8, 2), 2)
    with pytest.raises(ValueError, match="c has 3 blocks, but length = 8 at period = 4 has 2"):
        unpool(torch.zeros(1, 3, 2), 4, 8)
    with pytest.raises(ValueError, match=r"c must have shape \[B, N, d\]"):
        unpool(torch.zeros(3, 2), 4, 8)
