"""Floating-point operations of a model, by formula: a product of a × b by b × c matrices counts 2abc.

Per token of a layer of width d: 24 d² in the projections and the MLP of width 4d, and 2 · 2 · d · (T + 1)/2 in the
score and value products of causal attention over T tokens (the masked half is not
counted, whether or not a kernel computes it; with a window of w tokens w (2T − w + 1)/2 pairs remain). The slow
path has T/P tokens in place of T: its projections cost P times less, its score and value products P² times. φ_θ,
d → 4d → d, runs at the pooled rate. Norms, rotations and a scalar gate are not counted. A training step is three
forward passes (Kaplan et al., arXiv 2001.08361, section 2.1; Chowdhery et al., arXiv 2204.02311, appendix B, where
attention is counted in full).
"""

from __future__ import annotations

from network.config import FastSlowConfig

PEAK = {  # dense bfloat16 with float32 accumulation, operations per second, from the makers' data sheets
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def forward_flops(config: FastSlowConfig) -> int:
    """Operations of one forward pass over a sequence of `block_size` tokens."""
    d, T = config.n_embd, config.block_size
    total = config.n_layer * _layer(d, T, config.attention_window) + 2 * T * d * config.vocab_size
    if config.arm == "dense" or (config.arm == "frozen" and not config.compute_frozen):
        return total
    pooled = T // config.period
    slow = 0 if config.arm == "local" else config.n_slow_layer
    gate = 2 * pooled * d * d if config.gate == "projection" else 0
    return total + slow * _layer(d, pooled) + pooled * 16 * d * d + gate


def training_flops(config: FastSlowConfig) -> int:
    """Operations of a training step on one sequence: three forward passes."""
    return 3 * forward_flops(config)


def peak_flops(device_name: str) -> float | None:
    """The data sheet's bfloat16 operations per second of the device called `device_name`; None where not listed."""
    return next((peak for name, peak in PEAK.items() if all(word in device_name for word in name.split())), None)


def _layer(d: int, T: int, window: int | None = None) -> int:
    """One block over T tokens: projections, MLP, and the pairs of causal attention, T(T + 1)/2 without a window."""
    w = T if window is None else min(window, T)
    return 24 * T * d * d + 2 * w * (2 * T - w + 1) * d
