"""The attention weights of a network, read off the call that it makes itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def read_attention(run: Callable[[], Any]) -> list[Tensor]:
    """W[B, h, T, T] of every `scaled_dot_product_attention` that `run()` makes, in its order.

    Each call is repeated with the identity for its values, so that it returns W: mask, positions and scale are the
    network's own. Needs as many keys as queries.
    """
    kept: list[Tensor] = []

    class Reading(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func is torch.nn.functional.scaled_dot_product_attention:
                q, k, v = args[:3]
                identity = torch.eye(v.shape[-2], dtype=v.dtype, device=v.device).expand(*v.shape[:-1], v.shape[-2])
                kept.append(func(q, k, identity, *args[3:], **(kwargs or {})))
            return out

    with torch.no_grad(), Reading():
        run()
    return kept
