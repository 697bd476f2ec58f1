"""The numbers behind a tensor inside torch.func transforms, so that checks on values work there too.

Inside `vmap` a tensor stands for one element of a batch, and `bool(t.any())` raises. A check needs the whole batch all
the same: `plain` gives it, with the hidden batch axes in front, without derivatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import (  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_get_bdim,
)
from torch.autograd import forward_ad


def plain(t: Tensor) -> Tensor:
    """t's values, detached: [hidden batch axes of vmap, ..., shape of t]; t.detach() outside of transforms."""
    while is_functorch_wrapped_tensor(t):
        inner = get_unwrapped(t)
        t = inner.movedim(maybe_get_bdim(t), 0) if is_batchedtensor(t) else inner
    return t.detach()


def is_followed(t: Tensor) -> bool:
    """Whether a derivative in t may be asked for: by a tangent, a recording graph or a transform other than vmap."""
    while is_functorch_wrapped_tensor(t):
        if not is_batchedtensor(t):
            return True
        t = get_unwrapped(t)
    return forward_ad.unpack_dual(t).tangent is not None or (torch.is_grad_enabled() and t.requires_grad)
