"""Attention over the last w tokens: a mask written out, to rounding, in values, gradients, caches and leaks."""

import itertools
import time

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from network import FastSlowConfig, FastSlowLM
from network.decoder import Decoder
from network.fast_path import Attention
from network.gate import gate_parameters
from network.leak_check import leak_check
from network.rotary import rotary_table
from network.window import LEAST_BLOCK, band_mask, window_attention

pytestmark = pytest.mark.numerical

F64 = torch.float64


def draws(*shape, seed=0, count=3, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, dtype=dtype, generator=generator) for _ in range(count)]


def written_out(q, k, v, window):
    """softmax over the pairs with 0 <= t − s < w, in float64, by its formula."""
    q, k, v = (u.double() for u in (q, k, v))
    t = torch.arange(q.shape[2])
    lag = t[:, None] - t[None, :]
    scores = (q @ k.mT / q.shape[3] ** 0.5).masked_fill(~((lag >= 0) & (lag < window)), -torch.inf)
    return scores.softmax(-1) @ v


@pytest.mark.numerical
@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("window", [1, 2, 5, LEAST_BLOCK, LEAST_BLOCK + 1, 70, 200])
@pytest.mark.parametrize("length", [1, 3, LEAST_BLOCK, 97, 160])
def test_it_is_masked_attention_to_rounding(window, length, dtype):
    q, k, v = draws(2, 3, length, 8, seed=length, dtype=dtype)
    # A weighted mean of v: scores err by some (c + 2) η |q||k|/√c, and the mean by twice that and (T + 2) η.
    size = float((q.norm(dim=-1).max() * k.norm(dim=-1).max()) / 8**0.5)
    bound = torch.finfo(dtype).eps * (2 * (8 + 2) * size + length + 2) * float(v.abs().max())
    assert float((window_attention(q, k, v, window) - written_out(q, k, v, window)).abs().max()) <= bound


@given(window=st.integers(1, 80), length=st.integers(1, 120), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_its_gradients_are_those_of_the_mask(window, length, seed):
    given_ = [u.requires_grad_() for u in draws(1, 2, length, 4, seed=seed)]
    out = draws(1, 2, length, 4, seed=seed + 1, count=1)[0]
    found = torch.autograd.grad((window_attention(*given_, window) * out).sum(), given_)
    sought = torch.autograd.grad((written_out(*given_, window) * out).sum(), given_)
    for one, other in zip(found, sought, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_a_window_that_covers_everything_has_the_bits_of_full_attention():
    q, k, v = draws(2, 2, 50, 4)
    assert torch.equal(window_attention(q, k, v, 50), F.scaled_dot_product_attention(q, k, v, is_causal=True))


def test_a_window_of_one_reads_the_token_itself():
    q, k, v = draws(1, 2, 75, 4)
    torch.testing.assert_close(window_attention(q, k, v, 1), v)


def test_the_band_is_the_last_w_positions():
    found = band_mask(2, 5, 3, torch.device("cpu"))
    assert found.tolist() == [[False, True, True, True, False], [False, False, True, True, True]]


@pytest.mark.parametrize("window", [1, 2, 3, 8, 40])
def test_l_layers_reach_l_times_w_minus_one_and_the_token_itself(window):
    config = FastSlowConfig(
        vocab_size=11, block_size=60, n_layer=3, n_embd=8, n_head=2, arm="dense", attention_window=window
    )
    model = FastSlowLM(config, generator=torch.Generator().manual_seed(0)).double()
    tokens = torch.randint(11, (1, 60), generator=torch.Generator().manual_seed(1))
    reach = 3 * (window - 1) + 1
    before = model(tokens)
    replaced = tokens.clone()
    replaced[0, 0] = (replaced[0, 0] + 1) % 11
    moved = (model(replaced) - before).abs().amax((0, 2)) > 0
    assert bool(moved[: min(reach, 60)].all()) and not bool(moved[reach:].any())


def opened(seed=0, dtype=F64, **changes):
    sizes = {"vocab_size": 13, "block_size": 96, "n_layer": 3, "n_embd": 16, "n_head": 2, "period": 5}
    model = FastSlowLM(FastSlowConfig(**{**sizes, **changes}), generator=torch.Generator().manual_seed(seed)).to(dtype)
    with torch.no_grad():
        for gate in gate_parameters(model).values():
            gate.fill_(0.5)
    return model.eval()


@pytest.mark.parametrize(
    "window, arm", [(1, "local"), (3, "coupled"), (40, "dense"), (95, "coupled"), (200, "coupled")]
)
def test_cached_reading_gives_the_logits_of_the_full_forward(window, arm):
    model = opened(arm=arm, attention_window=window)
    tokens = torch.randint(13, (2, 96), generator=torch.Generator().manual_seed(2))
    whole = model(tokens).detach()
    for cuts in (range(97), (0, 50, 51, 52, 90, 96), (0, 7, 96)):
        decoder = Decoder(model)
        read = torch.cat([decoder.read(tokens[:, a:b]) for a, b in itertools.pairwise(cuts)], 1)
        torch.testing.assert_close(read, whole, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    "window, gate",
    [(1, "scalar"), (4, "channel"), (31, "projection"), (33, "scalar"), (64, "channel"), (300, "scalar")],
)
def test_no_window_and_no_gate_leaks(window, gate):
    model = opened(attention_window=window, gate=gate, gate_start=0.1, n_layer=2, n_embd=8)
    report = leak_check(model, length=70)
    assert report.largest == 0.0 and not report.leaks and not report.empty


def test_the_leak_check_sees_a_band_that_is_one_token_ahead(monkeypatch):
    import network.window

    true = network.window.band_mask
    monkeypatch.setattr(network.window, "band_mask", lambda q, k, w, d: true(q, k, w, d).roll(1, 1))
    assert leak_check(opened(attention_window=4), length=70).leaks


def test_the_slow_path_is_never_windowed():
    model = opened(attention_window=2, n_slow_layer=2)
    assert [block.attention.window for block in model.fast] == [2, 2, 2]
    assert all(block.attention.window is None for block in model.coupling.slow.blocks)


def test_derivatives_of_a_windowed_layer_to_first_order():
    layer = Attention(4, 2, 1, torch.Generator().manual_seed(0), window=3).double()
    rotary = rotary_table(LEAST_BLOCK + 3, 4, 2).double()
    x = draws(1, LEAST_BLOCK + 3, 4, count=1)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, rotary)[:, -3:], (x,))


@pytest.mark.slow
@pytest.mark.numerical
@pytest.mark.parametrize("window", [32, 256])
def test_time_is_linear_in_the_length(window):
    def cpu(length):
        given_ = [u.requires_grad_() for u in draws(1, 4, length, 16, dtype=torch.float32)]
        best = float("inf")
        for _ in range(5):
            start = time.thread_time()
            window_attention(*given_, window).sum().backward()
            best = min(best, time.thread_time() - start)
        return best

    assert cpu(8192) / cpu(4096) <= 2.2
