"""The leak check: exactly nothing for the causal model, and every planted leak found."""

import json

import pytest
import torch

from network import FastSlowConfig, FastSlowLM
from network.checkpoint import save_checkpoint
from network.leak_check import leak_check, main

pytestmark = pytest.mark.numerical

SMALL = {"vocab_size": 11, "block_size": 71, "n_layer": 2, "n_embd": 16, "n_head": 2}
PERIODS = (1, 2, 3, 4, 5, 8, 16, 32)


def build(**changes):
    return FastSlowLM(FastSlowConfig(**{**SMALL, **changes}), generator=torch.Generator().manual_seed(0))


def one_block_early(c, period, length):
    """u[t] = c[(t + P)//P − 1 …]: each token reads its own block before that is complete."""
    early = c.repeat_interleave(period, 1)
    return torch.nn.functional.pad(early, (0, 0, 0, length - early.shape[1]))


@pytest.mark.parametrize("period", PERIODS)
def test_no_logit_before_a_replaced_token_moves(period):
    report = leak_check(build(period=period), length=71)
    assert not report.leaks and report.largest == 0.0 and report.by is None
    assert report.reach > 1e-3 and not report.empty
    assert 71 % period or period == 1


@pytest.mark.parametrize("arm", ["dense", "frozen", "blind", "local"])
def test_the_other_arms_leak_nothing(arm):
    report = leak_check(build(arm=arm, period=5), length=33)
    assert not report.leaks
    assert (report.reach is None) == (arm in ("dense", "frozen"))


@pytest.mark.parametrize("gate", ["channel", "projection"])
@pytest.mark.parametrize("n_slow_layer", [1, 3])
def test_every_gate_is_opened(gate, n_slow_layer):
    report = leak_check(build(gate=gate, n_slow_layer=n_slow_layer), length=30, seed=4)
    assert not report.leaks and report.reach > 1e-3


@pytest.mark.parametrize("period", PERIODS)
def test_full_attention_over_pooled_tokens_is_caught(period):
    report = leak_check(build(period=period, slow_attention="full_leaking"), length=71)
    # The end of the first block sees the first token of the second.
    assert report.leaks and (report.changed, report.by) == (period - 1, period)
    assert report.largest > 1e-6


@pytest.mark.parametrize("period", PERIODS[1:])
def test_an_unpool_one_block_early_is_caught(period):
    model = build(period=period)
    model.coupling.unpool = one_block_early
    report = leak_check(model, length=71)
    assert report.leaks and (report.changed, report.by) == (0, 1)


def test_a_fast_path_that_is_not_causal_is_caught():
    model = build(arm="dense")
    model.fast[1].attention.causal = False
    assert leak_check(model, length=12).changed == 0


def test_the_model_itself_is_left_alone():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    leak_check(model, length=20)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and model.training


@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_a_slow_path_that_reaches_nothing_is_said_to_prove_nothing(constant):
    """Nor does a signal that is the same whatever the tokens, also where it comes a block early."""
    model = build()
    with torch.no_grad():
        model.coupling.phi_theta.out.weight.zero_()
        model.coupling.phi_theta.out.bias.fill_(constant)
    assert leak_check(model, length=20).empty
    model.coupling.unpool = one_block_early
    report = leak_check(model, length=20)
    assert report.empty and not report.leaks


def test_what_is_refused():
    for length in (8, 72):
        with pytest.raises(ValueError, match=f"length = {length} must lie in 9 … 71"):
            leak_check(build(), length=length)
    with pytest.raises(ValueError, match="vocab_size = 1"):
        leak_check(build(vocab_size=1))
    model = build()
    with torch.no_grad():
        model.fast[0].mlp.down.weight[0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="not finite"):
        leak_check(model, length=20)


def test_the_default_length_covers_four_blocks_or_all_there_is():
    assert leak_check(build(period=2, block_size=80)).length == 64
    assert leak_check(build(period=16)).length == 67
    assert leak_check(build(block_size=20)).length == 20


@pytest.mark.parametrize("slow_attention, code", [("block_causal", 0), ("full_leaking", 1)])
def test_the_command(slow_attention, code, tmp_path, capsys):
    model = build(slow_attention=slow_attention)
    description = {"model": model.config.to_dict(), "training": {"dtype": "float32"}}
    save_checkpoint(tmp_path, model, step=3, config=description, counters={}, training_state={})
    assert main([str(tmp_path), "--length", "30"]) == code
    text = capsys.readouterr().out
    assert ("no leak" in text) == (code == 0) and ("LEAK: position 7 sees token 8" in text) == (code == 1)
    assert main([str(tmp_path), "--length", "30", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert report["leaks"] == (code == 1) and report["length"] == 30
    assert main([str(tmp_path), "--length", "500"]) == 2
    assert "must lie in 9 … 71" in capsys.readouterr().err
