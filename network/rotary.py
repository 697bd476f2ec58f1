"""Rotary positions: queries and keys turned by their position, so that their product depends on distance alone.

Channel pair i of a head is turned by t · 10000^(−2i/hd) at position t (Su et al. 2021, RoFormer); a pair is two
channels that stand next to each other. The table holds (cos, sin) for every pair of queries and keys: [T, d, 2].

A pair is a complex number and a turn a complex product. In eager mode that product, in place on the projection's own
result, is the cheapest form; the compiler fuses real arithmetic instead, and low precision has no complex numbers.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor


def rotary_table(length: int, width: int, heads: int) -> Tensor:
    """(cos, sin) for positions t < `length` and each channel pair of queries and keys, d = `width`: [T, d, 2]."""
    head_width = width // heads
    frequency = 10000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()], -1).float().repeat(1, 2 * heads, 1)


def queries_keys_values(x: Tensor, weight: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v[B, T, d] of x[B, T, d] by weight[3d, d], with q and k turned; rotary[T, d, 2] for the positions of x."""
    exact = x.dtype == rotary.dtype and x.dtype in (torch.float32, torch.float64)
    if not exact or _under_autocast(x.device.type) or torch.compiler.is_compiling():
        qkv = _turned(F.linear(x, weight), rotary)
    elif x.requires_grad:
        return cast(tuple[Tensor, Tensor, Tensor], _TurnedProjection.apply(x, weight, rotary))
    else:
        qkv = _turn_in_place(F.linear(x, weight), rotary)
    q, k, v = qkv.chunk(3, -1)
    return q, k, v


def _under_autocast(device: str) -> bool:
    # Devices without autocast, such as `meta`, refuse the question whether it is on.
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _turned(qkv: Tensor, rotary: Tensor) -> Tensor:
    pairs, turned = qkv.unflatten(-1, (-1, 2)), rotary.shape[-2]
    (a, b), (cos, sin) = pairs[..., :turned, :].unbind(-1), rotary.unbind(-1)
    done = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).to(qkv.dtype)
    return torch.cat([done, pairs[..., turned:, :]], -2).flatten(-2)


def _turn_in_place(qkv: Tensor, rotary: Tensor, *, back: bool = False) -> Tensor:
    table = torch.view_as_complex(rotary)
    pairs = torch.view_as_complex(qkv.unflatten(-1, (-1, 2)))
    pairs[..., : rotary.shape[-2]].mul_(table.conj() if back else table)
    return qkv


class _TurnedProjection(torch.autograd.Function):
    """Projection and turn as one step, so that its backward pass can turn the joined gradients back in place."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, rotary: Tensor) -> tuple[Tensor, ...]:
        return _turn_in_place(F.linear(x, weight), rotary).chunk(3, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, rotary = ctx.saved_tensors
        g = _turn_in_place(torch.cat(gradients, -1), rotary, back=True)
        dx = g @ weight if ctx.needs_input_grad[0] else None
        dweight = g.flatten(0, -2).T @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        return dx, dweight, None
