"""The fast path against formulas written out: norm, rotary positions, attention, caches, initial weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, jacfwd, jacrev, vmap

from network.fast_path import MLP, Attention, Block, KeyValueCache, linear
from network.norm import rms_norm
from network.rotary import _turned, queries_keys_values, rotary_table

pytestmark = pytest.mark.numerical

F64 = torch.float64


def randn(*shape, seed=0, **kwargs):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed), **kwargs)


def test_rms_norm_is_the_formula_and_pytorchs_own():
    x = randn(3, 4, 6)
    expected = x.numpy() / np.sqrt((x.numpy() ** 2).mean(-1, keepdims=True) + np.finfo(np.float64).eps)
    np.testing.assert_allclose(rms_norm(x).numpy(), expected, rtol=1e-14)
    for dtype in (torch.float32, torch.float64):
        own = F.rms_norm(x.to(dtype), (6,))
        # each side: n roundings under the root, which halves them, and three more; eps is two of them
        torch.testing.assert_close(rms_norm(x.to(dtype)), own, rtol=(6 + 6) / 2 * torch.finfo(dtype).eps, atol=0)


def test_rms_norm_has_the_same_bits_with_and_without_gradients():
    x = randn(5, 8)
    assert torch.equal(rms_norm(x), rms_norm(x.clone().requires_grad_()))


def test_derivatives_of_rms_norm_to_second_order_in_every_mode():
    x = randn(3, 5).requires_grad_()
    assert gradcheck(rms_norm, (x,), check_batched_grad=True) and gradgradcheck(rms_norm, (x,))
    v = x.detach()[0]
    first, second = jacfwd(_plain_rms)(v), jacfwd(jacfwd(_plain_rms))(v)
    for mode in (jacrev, jacfwd):
        torch.testing.assert_close(mode(rms_norm)(v), first)
    for outer, inner in ((jacrev, jacrev), (jacrev, jacfwd), (jacfwd, jacfwd)):
        torch.testing.assert_close(outer(inner(rms_norm))(v), second)
    # Forward over reverse is refused, not silently wrong.
    with pytest.raises(NotImplementedError, match="jvp"):
        hessian(lambda v: rms_norm(v).square().sum())(v)


def _plain_rms(x):
    return x * (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).rsqrt()


def test_a_norm_that_overflows_shows_as_nan():
    assert bool(rms_norm(torch.tensor([1e30, 1.0])).isnan().all())
    assert torch.equal(rms_norm(torch.zeros(3)), torch.zeros(3))


def test_rotary_positions_turn_pairs_by_their_angle():
    width, heads, length = 8, 2, 7
    table = rotary_table(length, width, heads).double()
    q, k, v = queries_keys_values(randn(1, length, width), torch.cat([torch.eye(width, dtype=F64)] * 3), table)
    x = randn(1, length, width).numpy()
    for t in range(length):
        for head in range(heads):
            for i in range(2):
                a, b = (x[0, t, head * 4 + 2 * i + j] for j in range(2))
                angle = t * 10000.0 ** (-2 * i / 4)
                turned = complex(a, b) * complex(math.cos(angle), math.sin(angle))
                pair = q[0, t, head * 4 + 2 * i : head * 4 + 2 * i + 2]
                np.testing.assert_allclose(pair.numpy(), [turned.real, turned.imag], atol=1e-6)
    assert torch.equal(q, k) and np.array_equal(v.numpy(), x)


def test_products_of_turned_vectors_depend_on_distance_alone():
    length, width = 12, 8
    table = rotary_table(length, width, 1).double()
    x = randn(width).expand(1, length, width)
    q, k, _ = queries_keys_values(x, randn(3 * width, width, seed=1), table)
    scores = q[0] @ k[0].T
    for distance in range(length):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)


def test_the_three_ways_to_turn_agree():
    table, weight = randn(6, 8, 2), randn(24, 8)
    x = randn(2, 6, 8, seed=1)
    plain = _turned(F.linear(x, weight), table).chunk(3, -1)
    for form in (x, x.clone().requires_grad_()):
        for one, other in zip(queries_keys_values(form, weight, table), plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


def test_derivatives_of_the_turned_projection():
    table = randn(4, 8, 2)
    x, weight = randn(2, 4, 8, seed=1).requires_grad_(), randn(24, 8, seed=2).requires_grad_()

    def project(x, weight):
        return queries_keys_values(x, weight, table)

    assert gradcheck(project, (x, weight)) and gradgradcheck(project, (x, weight))
    assert gradcheck(lambda weight: project(x.detach(), weight), (weight,))
    one = vmap(jacrev(project), in_dims=(0, None))(x.detach()[:, None], weight.detach())[0]
    assert one.shape == (2, 1, 4, 8, 1, 4, 8)
    torch.testing.assert_close(one, vmap(jacfwd(project), in_dims=(0, None))(x.detach()[:, None], weight.detach())[0])


@pytest.mark.parametrize("causal", [True, False])
def test_attention_against_softmax_written_out(causal):
    width, heads, length = 8, 2, 5
    attention = Attention(width, heads, 1, torch.Generator().manual_seed(0), causal).double()
    table = rotary_table(length, width, heads).double()
    x = randn(2, length, width)
    q, k, v = (u.unflatten(-1, (heads, -1)) for u in queries_keys_values(x, attention.qkv.weight, table))
    expected = torch.zeros(2, length, heads, 4, dtype=F64)
    for t in range(length):
        last = t + 1 if causal else length
        scores = torch.einsum("bhc,bshc->bhs", q[:, t], k[:, :last]) / 2.0
        expected[:, t] = torch.einsum("bhs,bshc->bhc", scores.softmax(-1), v[:, :last])
    torch.testing.assert_close(attention(x, table), attention.out(expected.flatten(2)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pieces", [(6,), (1,) * 6, (3, 1, 2), (2, 4)])
def test_attention_piece_by_piece(pieces):
    block = Block(8, 2, 1, torch.Generator().manual_seed(0)).double()
    table, x = rotary_table(6, 8, 2).double(), randn(3, 6, 8)
    cache, start, out = KeyValueCache(6), 0, []
    for piece in pieces:
        end = start + piece
        out.append(block(x[:, start:end], table[start:end], cache))
        start = end
    torch.testing.assert_close(torch.cat(out, 1), block(x, table), rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="position 6 does not fit a cache of 6 positions"):
        block(x[:, :1], table[:1], cache)


def test_the_mlp_is_gelu_between_two_maps():
    mlp, x = MLP(4, 1, torch.Generator().manual_seed(0)).double(), randn(3, 4)
    h = x @ mlp.up.weight.T
    expected = (h * 0.5 * (1 + torch.erf(h / 2**0.5))) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected)


def test_gradients_of_a_block_against_finite_differences():
    block, table = Block(4, 1, 1, torch.Generator().manual_seed(0)).double(), rotary_table(3, 4, 1).double()
    assert gradcheck(lambda x: block(x, table), (randn(1, 3, 4).requires_grad_(),))


def test_the_update_keeps_the_precision_of_the_stream_under_autocast():
    block, table = Block(8, 2, 1, torch.Generator().manual_seed(0)), rotary_table(4, 8, 2)
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x, table)
        z = block(x.clone().requires_grad_(), table)
    assert y.dtype == z.dtype == torch.float32
    torch.testing.assert_close(y, block(x, table), rtol=0.05, atol=0.05)
    assert torch.equal(y, z.detach())


def test_initial_weights_have_the_stated_scale_and_draw_nothing_global():
    state = torch.get_rng_state()
    weight = linear(256, 512, torch.Generator().manual_seed(0), shrink=0.5).weight
    assert torch.equal(torch.get_rng_state(), state)
    # 131,072 draws: the sample deviation is within 1 % of the law's, at five standard errors.
    assert float(weight.detach().std()) == pytest.approx(0.5 / 16, rel=0.01)
