"""Causal attention over the last w tokens, in blocks: time and memory O(T·w), never a T × T mask.

With blocks of b >= w − 1 tokens, a token reads nothing older than the block before its own: every block of queries
meets 2b keys under one band mask, all blocks in one call. The first block has no predecessor and is a call of its own.
What the band hides has weight exactly 0, so no bit of a token depends on what it may not read.

L layers of window w reach back L(w − 1) + 1 tokens, the token itself counted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_BLOCK = 32  # a shorter block does less work, yet takes longer: kernels handle 32 queries at once


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """softmax(q kᵀ/√c) v over the last `window` positions up to the query's own: [B, h, T, c] each -> [B, h, T, c]."""
    length = q.shape[2]
    if window >= length:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    block = min(max(window, LEAST_BLOCK), length)
    blocks = -(-length // block)
    band = band_mask(block, 2 * block, window, q.device)
    # Zeros behind the last token: no token before them reads them.
    padded = (F.pad(u, (0, 0, 0, blocks * block - length)) if blocks * block > length else u for u in (q, k, v))
    q, k, v = (u.transpose(1, 2).unflatten(1, (blocks, block)) for u in padded)  # [B, n, b, h, c]
    first = (u[:, 0].transpose(1, 2) for u in (q, k, v))
    y = F.scaled_dot_product_attention(*first, attn_mask=band[:, block:]).transpose(1, 2)
    if blocks > 1:
        pairs = [torch.cat([u[:, :-1], u[:, 1:]], 2).flatten(0, 1).transpose(1, 2) for u in (k, v)]
        queries = q[:, 1:].flatten(0, 1).transpose(1, 2)
        rest = F.scaled_dot_product_attention(queries, *pairs, attn_mask=band).transpose(1, 2)
        y = torch.cat([y, rest.unflatten(0, (len(y), blocks - 1)).flatten(1, 2)], 1)
    return y[:, :length].transpose(1, 2)


def band_mask(queries: int, keys: int, window: int, device: torch.device) -> Tensor:
    """Which of the `keys` newest positions each of the `queries` last ones reads: bool [queries, keys]."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    newest = keys - queries  # the position of the first query among the keys
    return ones.tril(newest).triu(newest - window + 1)
