"""Block means and their causal return: the two maps between the token clock and the slow clock, ε = 1/P.

Block k holds the tokens kP … kP + P − 1. `block_mean` averages each *complete* block, so T tokens give N = ⌊T/P⌋ slow
states and the tokens after the last complete block enter none. `unpool` hands the slow signals back: token t receives
that of block (t + 1)//P − 1, the newest one that is complete once t has been read, and exactly 0 before the first.
The block before it would waste what is known; the block after it would show a token its own future.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from network.arguments import Integer


def block_mean(x: Tensor, period: Integer) -> Tensor:
    """The mean over each complete block of P = `period` tokens: x[B, T, d] -> y[B, ⌊T/P⌋, d].

    Raises `ValueError` for a period that is not an integer in 1 … T.
    """
    if x.ndim != 3:
        raise ValueError(f"x must have shape [B, T, d], got {list(x.shape)}")
    _check_period(period)
    batch, length, width = x.shape
    if period > length:
        raise ValueError(f"period = {period} exceeds the T = {length} tokens of x: no block is complete")
    blocks = length // period
    # The backward pass of a slice fills an array of its own, even where the slice is all of x.
    complete = x if blocks * period == length else x[:, : blocks * period]
    return complete.reshape(batch, blocks, period, width).sum(2) / period


def unpool(c: Tensor, period: Integer, length: Integer) -> Tensor:
    """Slow signals c[B, N, d] at the token clock: u[B, T, d] with u[:, t] = c[:, (t + 1)//P − 1], and 0 for t < P − 1.

    `length` is T, with N = ⌊T/P⌋; `ValueError` where they do not belong together.
    """
    if c.ndim != 3:
        raise ValueError(f"c must have shape [B, N, d], got {list(c.shape)}")
    _check_period(period)
    if c.shape[1] != length // period:
        raise ValueError(
            f"c has {c.shape[1]} blocks, but length = {length} at period = {period} has {length // period}"
        )
    # A zero block in front delays each signal by P tokens, one too many: block k is complete at its own last token.
    batch, blocks, width = c.shape
    shifted = F.pad(c, (0, 0, 1, 0)).unsqueeze(2).expand(batch, blocks + 1, period, width)
    return shifted.reshape(batch, (blocks + 1) * period, width)[:, 1 : length + 1]


def _check_period(period: Any) -> None:
    if isinstance(period, bool) or not isinstance(period, int) or period < 1:
        raise ValueError(f"period must be an integer >= 1, got {period!r}")
