"""The generator language model: its chain, its clock, its loss, and what it is as a fast-slow system."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from network import FastSlowConfig, FastSlowLM, GeneratorLM
from network.build import build_model
from network.decoder import Decoder, decoder_of
from network.leak_check import leak_check
from network.pooling import block_mean
from network.sampling import generate
from network.training import train

V, P, D = 11, 4, 3
CONFIG = FastSlowConfig(arm="generator", vocab_size=V, block_size=48, period=P, n_embd=16, n_slow=D)


def model_of(seed=0, **changes):
    model = GeneratorLM(replace(CONFIG, **changes), generator=torch.Generator().manual_seed(seed)).double()
    rng = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():  # C = 0 and B near 0 at the start would hide them
        for weight in (model.base, model.shift):
            weight.copy_(torch.randn(weight.shape, generator=rng, dtype=torch.float64))
    return model


def tokens_of(batch, length, seed=0):
    return torch.randint(V, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_the_kernel_is_the_formula_entry_by_entry():
    model, y = model_of().requires_grad_(False), torch.tensor([0.3, -0.7, 0.1], dtype=torch.float64)
    K, A = model.kernel(y), model.generator(y)
    W, U, Vm, B, C = model.modulation, model.into, model.out_of, model.base, model.shift
    for j in range(V):
        logits = [
            B[i, j] + sum(U[i, r] * (W[r] @ y) * Vm[j, r] for r in range(W.shape[0])) + C[i] @ y for i in range(V)
        ]
        torch.testing.assert_close(K[:, j], torch.stack(logits).softmax(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(A + torch.eye(V, dtype=torch.float64), K, rtol=0, atol=1e-15)
    off = A - torch.diag(A.diagonal())
    assert bool((off >= 0).all()) and float(A.sum(0).abs().max()) <= V * torch.finfo(torch.float64).eps


def test_the_slow_path_is_its_recursion():
    model, tokens = model_of(), tokens_of(2, 45)
    x = block_mean(F.one_hot(tokens, V).double(), P)
    y, states = torch.zeros(2, D, dtype=torch.float64), []
    for k in range(x.shape[1]):
        y = y + model.velocity(x[:, k], y)
        states.append(y)
    torch.testing.assert_close(model.slow.blocks(tokens), torch.stack(states, 1), rtol=1e-12, atol=1e-14)
    held = model.slow(tokens)
    assert not held[:, : P - 1].any() and bool((held.abs() < 1).all())
    for t in range(P - 1, 45):
        torch.testing.assert_close(held[:, t], states[(t + 1) // P - 1], rtol=1e-12, atol=1e-14)
    start = torch.full((2, D), 0.5, dtype=torch.float64)
    first = start + model.velocity(x[:, 0], start)
    torch.testing.assert_close(model.slow.states(model.slow.drive(tokens), start)[:, 0], first, rtol=1e-12, atol=1e-14)


def test_logits_are_columns_of_the_kernel():
    model, tokens = model_of(), tokens_of(2, 17)
    K = model.kernel(model.slow(tokens))
    columns = K.gather(-1, tokens[..., None, None].expand(-1, -1, V, 1))[..., 0]
    torch.testing.assert_close(model(tokens).softmax(-1), columns, rtol=1e-12, atol=0)
    at_rest = model.kernel(torch.zeros(D, dtype=torch.float64))[:, tokens].movedim(0, -1)
    torch.testing.assert_close(model(tokens, closed=True).softmax(-1), at_rest, rtol=1e-12, atol=0)


def test_the_block_loss_is_the_cross_entropy_of_the_next_block():
    model, tokens = model_of(), tokens_of(3, 4 * P + 2)
    logits, loss = model(tokens, targets=tokens)
    x, y = block_mean(F.one_hot(tokens, V).double(), P), model.slow.blocks(tokens)
    expected = -(x[:, 1:] * model.phi_theta(y[:, :-1]).log()).sum(-1).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert torch.equal(logits, model(tokens))
    _, none = model(short := tokens_of(2, 2 * P - 1), targets=short)
    assert none.item() == 0.0 and none.requires_grad


def test_every_weight_gets_a_gradient():
    model = model_of()
    logits, loss = model(tokens_of(2, 20), targets=tokens_of(2, 20))
    (logits.square().mean() + loss).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(9, 40), st.integers(0, 3))
def test_no_future_is_read(period, block, seed):
    report = leak_check(model_of(seed, period=period, block_size=block), seed=seed)
    assert report.largest == 0.0 and not report.leaks
    assert report.reach is not None and (report.reach > 0 or block <= period)


def test_the_leak_check_sees_a_shifted_unpool():
    model = model_of()
    honest = model.slow.unpool
    model.slow.unpool = lambda c, period, length: honest(c, period, length).roll(-1, 1)
    assert leak_check(model).leaks


@given(st.lists(st.integers(1, 7), min_size=1, max_size=8), st.integers(1, 6))
def test_reading_in_pieces_is_reading_at_once(sizes, period):
    model, tokens = model_of(period=period, block_size=64), tokens_of(2, sum(sizes))
    decoder = decoder_of(model)
    pieces = torch.cat([decoder.read(part) for part in tokens.split(sizes, 1)], 1)
    torch.testing.assert_close(pieces, model(tokens), rtol=1e-10, atol=1e-12)


def test_it_generates_beyond_its_window():
    model = model_of()
    new = generate(model, tokens_of(2, 5), 120, generator=torch.Generator().manual_seed(0))
    assert new.shape == (2, 125) and int(new.max()) < V
    decoder = decoder_of(model)
    decoder.read(tokens_of(1, 48))
    with pytest.raises(ValueError, match="49 tokens exceed block_size = 48: begin a new Decoder"):
        decoder.read(tokens_of(1, 1))
    assert isinstance(decoder_of(FastSlowLM(FastSlowConfig(vocab_size=V))), Decoder)


def test_the_system_is_the_network():
    model, tokens = model_of(), tokens_of(4, 40)
    model.remember_box(tokens)
    arguments = model.system_arguments()
    y = model.slow.blocks(tokens)
    assert torch.equal(arguments["low"], y.amin((0, 1))) and torch.equal(arguments["high"], y.amax((0, 1)))
    assert (arguments["n_states"], arguments["n_slow"]) == (V, D)
    torch.testing.assert_close(arguments["generator"](y), model.generator(y), rtol=0, atol=0)
    x = torch.full((V,), 1 / V, dtype=torch.float64)
    with torch.no_grad():
        model.base.zero_()  # a copy: training on does not change a system at hand
    assert not torch.equal(arguments["generator"](y), model.generator(y))
    torch.testing.assert_close(arguments["slow"](x, y), model.velocity(x, y), rtol=0, atol=0)


def test_it_learns_the_tokens_and_the_next_block(small_data, small_training):
    model = FastSlowConfig(arm="generator", block_size=32, period=4, n_embd=16)
    result = train(model, replace(small_training, tokens=8_000, learning_rate=2e-2, weight_decay=0.0), data=small_data)
    assert result.losses[0] > 5.2 and result.losses[-1] < 4.0  # ln 256 = 5.5
    assert result.validation_loss < 3.0
    assert isinstance(result.model, GeneratorLM) and float(result.model.low.min()) > -1


def test_it_runs_where_there_is_no_memory_behind_it():
    model = GeneratorLM(CONFIG).to("meta")
    logits, loss = model(nothing := torch.zeros(2, 20, dtype=torch.int64, device="meta"), targets=nothing)
    (logits.sum() + loss).backward()
    assert logits.shape == (2, 20, V) and model.base.grad is not None and model.device.type == "meta"


def test_the_seed_fixes_the_weights_and_the_arm_the_class():
    one, two = (build_model(CONFIG, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert isinstance(one, GeneratorLM) and isinstance(build_model(FastSlowConfig()), FastSlowLM)
    with pytest.raises(ValueError, match="needs a FastSlowConfig with arm='generator', got arm='coupled'"):
        GeneratorLM(FastSlowConfig())
    with pytest.raises(ValueError, match="GeneratorLM\\(config\\)"):
        FastSlowLM(CONFIG)
    with pytest.raises(ValueError, match="n_embd = 2 is too narrow for arm 'generator'"):
        FastSlowConfig(arm="generator", n_embd=2, n_head=1)
    with pytest.raises(ValueError, match="n_slow must be an integer >= 1, got 0"):
        FastSlowConfig(arm="generator", n_slow=0)
    with pytest.raises(ValueError, match=r"tokens\[0, 0\] = 11 is outside 0 … 10"):
        one(torch.full((1, 4), 11))
