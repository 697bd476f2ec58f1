"""What every model asks of the tokens it is given, in one place."""

from __future__ import annotations

import torch
from torch import Tensor

from network.arguments import Tokens
from network.config import FastSlowConfig


def check_tokens(tokens: Tokens, config: FastSlowConfig, home: torch.device) -> None:
    """Raise `ValueError` unless tokens[B, T] are integer ids below vocab_size, 1 <= T <= block_size, on `home`."""
    if not isinstance(tokens, Tensor) or tokens.dtype not in (torch.int64, torch.int32):
        what = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"tokens must be an int64 or int32 tensor of ids, got {what}")
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(f"tokens must have shape [B, T] with B, T >= 1, got {list(tokens.shape)}")
    if tokens.shape[1] > config.block_size:
        raise ValueError(f"T = {tokens.shape[1]} tokens exceed block_size = {config.block_size}: pass a window of them")
    if tokens.device != home:
        raise ValueError(f"tokens are on {tokens.device} and the model on {home}: move one with .to(device)")
    if config.arm == "blind" and len(tokens) == 1:
        raise ValueError("arm 'blind' reads another sequence of the batch; a batch of 1 has none: pass B >= 2")
    # On a GPU the comparison would stall the stream at every step; the data loader has checked the ids there.
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(v) for v in tokens.aminmax())
        if low < 0 or high >= config.vocab_size:
            bad = ((tokens < 0) | (tokens >= config.vocab_size)).nonzero()[0].tolist()
            value, last = int(tokens[tuple(bad)]), config.vocab_size - 1
            raise ValueError(f"tokens{bad} = {value} is outside 0 … {last} (vocab_size − 1)")
