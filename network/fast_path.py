"""The fast path: pre-norm transformer blocks at the token rate, x ← x + attention(norm x), x ← x + MLP(norm x).

RMSNorm (norm.py), rotary positions (rotary.py), causal attention through `scaled_dot_product_attention`, over all
earlier tokens or the last w of them (window.py), an MLP of width 4d with GELU, no biases. The slow path is built from
the same blocks at the pooled rate.

Weights are drawn from N(0, 1/fan-in), those of the two maps that write to the stream divided by √(2 · depth). The tied
embedding follows the same rule: with an embedding far smaller than the blocks' first updates (nanoGPT's 0.02 at d = 64)
the tokens drown, which costs 0.19 nats per byte after 500,000 tokens (one seed, learning rate 0.01).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.norm import rms_norm
from network.rotary import queries_keys_values
from network.window import band_mask, window_attention


class KeyValueCache:
    """Keys and values of the positions read so far, [B, h, length, hd] each, in room for `capacity` positions."""

    capacity: int
    length: int

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self._keys = self._values = torch.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v[B, h, t, hd] behind the earlier ones and return all; `ValueError` when they do not fit."""
        start, end = self.length, self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"position {end - 1} does not fit a cache of {self.capacity} positions")
        if start == 0:
            self._keys = k.new_empty(*k.shape[:2], self.capacity, k.shape[3])
            self._values = torch.empty_like(self._keys)
        self._keys[:, :, start:end], self._values[:, :, start:end] = k, v
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class Attention(nn.Module):
    """Multi-head self-attention over [B, T, d]; `causal=False` lets every position read every other.

    window: how many positions a causal layer reads, its own counted (None: all before it).
    """

    heads: int
    causal: bool
    window: int | None
    qkv: nn.Linear
    out: nn.Linear

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int,
        generator: torch.Generator | None,
        causal: bool = True,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.window = heads, causal, window
        self.qkv = linear(width, 3 * width, generator)
        self.out = linear(width, width, generator, shrink=(2 * depth) ** -0.5)

    def forward(self, x: Tensor, rotary: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x[B, T, d] -> [B, T, d]; with a cache, x holds the positions that follow those in it."""
        batch, length, width = x.shape
        q, k, v = (
            u.view(batch, length, self.heads, -1).transpose(1, 2)
            for u in queries_keys_values(x, self.qkv.weight, rotary)
        )
        past = 0 if cache is None else cache.length
        if cache is not None:
            k, v = cache.append(k, v)
        if past:
            y = self._after(q, k, v)
        elif self.window is not None:
            y = window_attention(q, k, v, self.window)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))

    def _after(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the last positions, q[B, h, t, c], over all those so far, k and v[B, h, past + t, c]."""
        length = q.shape[2]
        window = k.shape[2] if self.window is None else self.window
        seen = min(k.shape[2], length + window - 1)
        k, v = k[:, :, -seen:], v[:, :, -seen:]
        mask = band_mask(length, seen, window, q.device) if length > 1 else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class MLP(nn.Module):
    """d -> 4d -> d with GELU."""

    up: nn.Linear
    down: nn.Linear

    def __init__(self, width: int, depth: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.up = linear(width, 4 * width, generator)
        self.down = linear(4 * width, width, generator, shrink=(2 * depth) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x[..., d] -> [..., d]."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """x + attention(norm x), then x + MLP(norm x). `depth` is the number of blocks that add to the same stream."""

    attention: Attention
    mlp: MLP

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int,
        generator: torch.Generator | None,
        causal: bool = True,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, depth, generator, causal, window)
        self.mlp = MLP(width, depth, generator)

    def forward(self, x: Tensor, rotary: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x[B, T, d] -> [B, T, d]."""
        x = _add(x, self.attention(rms_norm(x), rotary, cache))
        return _add(x, self.mlp(rms_norm(x)))


def _add(x: Tensor, update: Tensor) -> Tensor:
    # The update is fresh from its projection: overwriting it spares one array. Autocast computes it in lower precision
    # than the stream, which has to keep its own.
    return update.add_(x) if update.dtype == x.dtype else x + update


def linear(fan_in: int, fan_out: int, generator: torch.Generator | None, shrink: float = 1.0) -> nn.Linear:
    """A linear map without bias, weights N(0, shrink²/fan_in) drawn on the CPU from `generator` (None: torch's)."""
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=False, device="cpu"))
    nn.init.normal_(layer.weight, std=shrink * fan_in**-0.5, generator=generator)
    return layer
