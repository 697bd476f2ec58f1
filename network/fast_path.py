"""The fast path: pre-norm transformer blocks at the token rate, x ← x + attention(norm x), x ← x + MLP(norm x).

RMSNorm without a learned gain (Zhang and Sennrich 2019; the linear map that follows absorbs one), rotary positions (Su
et al. 2021) on queries and keys, causal attention through `scaled_dot_product_attention`, an MLP of width 4d with GELU,
no biases. The slow path is built from the same blocks at the pooled rate.

A rotary table holds (cos, sin) of t · 10000^(−2i/hd) for position t and the channel pair (2i, 2i + 1) of a head,
repeated for every head: [T, d/2, 2].
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(x: Tensor) -> Tensor:
    """x / √(mean x² + η) over the last axis, η the dtype's machine epsilon."""
    # The compiler derives and fuses the backward pass by itself; in eager mode the one below takes half the time.
    return x * _inverse_rms(x) if torch.compiler.is_compiling() else _RMSNorm.apply(x)[0]


def _inverse_rms(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    # A norm that overflows must show as NaN: its reciprocal alone would turn the vector into zeros.
    return (norm * norm / x.shape[-1] + torch.finfo(x.dtype).eps).rsqrt() + 0.0 * norm


class _RMSNorm(torch.autograd.Function):
    """y = x/rms(x) with J = (I − y yᵀ/d)/rms(x), which is symmetric: forward and reverse mode are the same map."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        inverse = _inverse_rms(x)
        return x * inverse, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _apply_symmetric_jacobian(gradients[0], *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _apply_symmetric_jacobian(tangents[0], *ctx.saved_tensors), None


def _apply_symmetric_jacobian(g: Tensor, y: Tensor, inverse: Tensor) -> Tensor:
    return inverse * torch.addcmul(g, y, (g * y).sum(-1, keepdim=True), value=-1.0 / y.shape[-1])


def rotary_table(length: int, width: int, heads: int) -> Tensor:
    """(cos, sin) for positions t < `length` and every channel pair of `heads` heads in d = `width`: [T, d/2, 2]."""
    head_width = width // heads
    frequency = 10000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()], -1).float().repeat(1, heads, 1)


def rotate(q: Tensor, rotary: Tensor) -> Tensor:
    """Turn each channel pair of q[B, T, d] by the angle of its position; rotary[T, d/2, 2]."""
    pairs = q.unflatten(-1, (-1, 2))
    if q.dtype == rotary.dtype and q.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling():
        # One pass over memory in eager mode; the compiler fuses real arithmetic but no complex one.
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotary)).flatten(-2)
    (a, b), (cos, sin) = pairs.unbind(-1), rotary.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(q.dtype)


class KeyValueCache:
    """Keys and values of the positions read so far, [B, h, length, hd] each, in room for `capacity` positions."""

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
    """Multi-head self-attention over [B, T, d]; `causal=False` lets every position read every other."""

    def __init__(
        self, width: int, heads: int, depth: int, generator: torch.Generator | None, causal: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = linear(width, 3 * width, generator)
        self.out = linear(width, width, generator, shrink=(2 * depth) ** -0.5)

    def forward(self, x: Tensor, rotary: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x[B, T, d] -> [B, T, d]; with a cache, x holds the positions that follow those in it."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).split(width, -1)
        q, k, v = (
            u.view(batch, length, self.heads, -1).transpose(1, 2) for u in (rotate(q, rotary), rotate(k, rotary), v)
        )
        if cache is None or cache.length == 0:
            causal, mask = self.causal, None
        else:
            causal, mask = False, None
            if length > 1:
                past = cache.length
                mask = torch.ones(length, past + length, dtype=torch.bool, device=x.device).tril(past)
        if cache is not None:
            k, v = cache.append(k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """d -> 4d -> d with GELU."""

    def __init__(self, width: int, depth: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.up = linear(width, 4 * width, generator)
        self.down = linear(4 * width, width, generator, shrink=(2 * depth) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x[..., d] -> [..., d]."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """x + attention(norm x), then x + MLP(norm x). `depth` is the number of blocks that add to the same stream."""

    def __init__(
        self, width: int, heads: int, depth: int, generator: torch.Generator | None, causal: bool = True
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, depth, generator, causal)
        self.mlp = MLP(width, depth, generator)

    def forward(self, x: Tensor, rotary: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x[B, T, d] -> [B, T, d]."""
        x = x + self.attention(rms_norm(x), rotary, cache)
        return x + self.mlp(rms_norm(x))


def linear(fan_in: int, fan_out: int, generator: torch.Generator | None, shrink: float = 1.0) -> nn.Linear:
    """A linear map without bias, weights N(0, shrink²/fan_in) drawn on the CPU from `generator` (None: torch's)."""
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=False, device="cpu"))
    nn.init.normal_(layer.weight, std=shrink * fan_in**-0.5, generator=generator)
    return layer
