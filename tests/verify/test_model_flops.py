"""Operations by formula against torch's own counter, which sees every product but those of attention on a CPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from network import FastSlowConfig, FastSlowLM
from network.model_flops import forward_flops, peak_flops, training_flops


def pairs(T, window=None):
    """Scores of causal attention over T tokens, counted one by one."""
    return sum(1 for t in range(T) for s in range(T) if s <= t and (window is None or t - s < window))


def attention(config):
    """Operations of the score and value products: 2 per multiplication and addition, both products, all channels."""
    total = config.n_layer * pairs(config.block_size, config.attention_window)
    if config.arm in ("coupled", "blind") or config.compute_frozen:
        total += config.n_slow_layer * pairs(config.block_size // config.period)
    return 2 * 2 * config.n_embd * total


@settings(max_examples=30)
@given(
    arm=st.sampled_from(["dense", "frozen", "coupled", "blind", "local"]),
    T=st.integers(4, 40),
    period=st.integers(1, 4),
    layers=st.integers(1, 3),
    slow=st.integers(1, 2),
    gate=st.sampled_from(["scalar", "projection"]),
    window=st.sampled_from([None, 1, 3, 50]),
)
def test_the_formula_counts_what_torch_counts(arm, T, period, layers, slow, gate, window):
    config = FastSlowConfig(
        vocab_size=31,
        block_size=T,
        n_layer=layers,
        n_slow_layer=slow,
        n_embd=12,
        n_head=2,
        period=period,
        arm=arm,
        gate=gate,
        attention_window=window,
    )
    model = FastSlowLM(config)
    tokens = torch.randint(31, (2, T))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens)
    assert counter.get_total_flops() == 2 * (forward_flops(config) - attention(config))
    assert training_flops(config) == 3 * forward_flops(config)


def test_a_frozen_slow_path_costs_only_where_it_is_computed():
    skipped, computed = FastSlowConfig(arm="frozen"), FastSlowConfig(arm="frozen", compute_frozen=True)
    assert forward_flops(skipped) == forward_flops(FastSlowConfig(arm="dense"))
    assert forward_flops(computed) == forward_flops(FastSlowConfig(arm="coupled"))


@pytest.mark.parametrize(
    "name, peak",
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12), ("abacus", None)],
)
def test_the_peak_is_that_of_the_data_sheet(name, peak):
    assert peak_flops(name) == peak
