"""Attention maps as Markov chains: causal and full, single and double precision, as frameworks give them."""

import numpy as np
import pytest
import torch

import theory
from theory import GeneratorError, attention_chain


def softmax(*shape, causal, seed=0, dtype=torch.float64):
    scores = 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if causal:
        scores = scores.masked_fill(torch.ones(shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    return scores.to(dtype).softmax(-1)


def test_causal_against_the_formulas():
    W = softmax(2, 3, 9, 9, causal=True)
    found = attention_chain(W)
    assert bool(found.causal.all()) and found.gap.shape == (2, 3)
    N = torch.linalg.inv(torch.eye(8, dtype=W.dtype) - W[..., 1:, 1:])
    m = torch.cat([torch.zeros(2, 3, 1, dtype=W.dtype), N.sum(-1)], -1)
    torch.testing.assert_close(found.steps, m)
    torch.testing.assert_close(found.steps_to_first, m[..., 1:].mean(-1))
    torch.testing.assert_close(found.weight_on_first, W[..., 1:, 0].mean(-1))
    torch.testing.assert_close(found.gap, 1 - W.diagonal(dim1=-2, dim2=-1)[..., 1:].amax(-1))
    first = 1 / (1 + m.mean(-1))
    torch.testing.assert_close(found.stationary[..., 0], first)
    torch.testing.assert_close(found.stationary[..., 1:], first[..., None] * N.sum(-2) / 9)
    torch.testing.assert_close(found.stationary.sum(-1), torch.ones(2, 3, dtype=W.dtype))


def test_full_attention_and_a_mixed_batch():
    W = torch.stack([softmax(7, 7, causal=False), softmax(7, 7, causal=True, seed=1)])
    found = attention_chain(W)
    assert found.causal.tolist() == [False, True]
    A = W[0].mT - torch.eye(7, dtype=W.dtype)
    values = np.sort(np.linalg.eigvals(A.numpy()).real)
    np.testing.assert_allclose(found.gap[0], -values[-2], rtol=1e-10)
    torch.testing.assert_close(found.stationary[0], theory.stationary_distribution(theory.from_rates(A)))
    torch.testing.assert_close(found.gap[1], attention_chain(W[1]).gap)
    torch.testing.assert_close(found.stationary[1], attention_chain(W[1]).stationary)


def test_single_precision_and_derivatives():
    W = softmax(4, 32, 32, causal=True, dtype=torch.float32)
    found, double = attention_chain(W), attention_chain(W.double() / W.double().sum(-1, keepdim=True))
    assert found.stationary.dtype == torch.float32
    torch.testing.assert_close(found.steps.double(), double.steps, rtol=1e-6, atol=0)
    W = softmax(5, 5, causal=False).requires_grad_(True)
    attention_chain(W).stationary[0].backward()
    assert W.grad is not None and bool(torch.isfinite(W.grad).all())


def test_a_row_that_sees_itself_alone_never_arrives():
    W = torch.eye(4).tril()
    W[1] = torch.tensor([0.5, 0.5, 0, 0])
    W[3] = torch.tensor([1.0, 0, 0, 0])  # row 2 looks at itself alone, as single precision can round to
    found = attention_chain(W)
    assert found.steps.tolist() == [0.0, 2.0, float("inf"), 1.0]
    assert float(found.gap) == 0.0
    assert found.stationary.tolist() == [0.0, 0.0, 1.0, 0.0]


def test_previous_token_head_has_gap_one_and_passage_time_t():
    W = torch.diag(torch.ones(5, dtype=torch.float64), -1)
    W[0, 0] = 1.0
    found = attention_chain(W)
    assert found.steps.tolist() == [0, 1, 2, 3, 4, 5] and float(found.gap) == 1.0


@pytest.mark.parametrize(
    "W, message",
    [
        (softmax(4, 4, causal=False) * 1.001, "row 0 of W sums to 1.001"),
        (softmax(4, 4, causal=False).mT, "columns do: pass W.mT"),
        (torch.log(softmax(4, 4, causal=False)), "after the softmax"),
        (torch.full((3, 3), torch.nan), "weight nan at"),
        (torch.ones(3), "square"),
    ],
)
def test_what_is_no_attention(W, message):
    with pytest.raises(GeneratorError, match=message):
        attention_chain(W)
