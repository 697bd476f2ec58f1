"""The slow path: transformer blocks over the pooled tokens, one position per block of P tokens.

Pooled token k sits at rotary position k, so the angles count slow time. Attention is block-causal: pooled token k reads
the blocks up to its own, all of them complete. Literal full attention over pooled tokens is the paper's other reading;
in a language model it shows every block the blocks after it, and is built only under the name that says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.fast_path import Block, KeyValueCache


class SlowPath(nn.Module):
    """`depth` blocks of d = `width` channels over y[B, N, d]; `full` makes attention non-causal, hence leaking."""

    blocks: nn.ModuleList

    def __init__(
        self, width: int, heads: int, depth: int, generator: torch.Generator | None, *, full: bool = False
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, depth, generator, causal=not full) for _ in range(depth))

    def forward(self, y: Tensor, rotary: Tensor, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """y[B, N, d] -> [B, N, d]; with caches (one a block), y holds the pooled tokens that follow those in them."""
        for i, block in enumerate(self.blocks):
            y = block(y, rotary, None if caches is None else caches[i])
        return y
