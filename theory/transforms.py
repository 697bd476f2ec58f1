"""What the modes of torch must not change: checks on values inside transforms, precision, compiled kernels.

Inside `vmap` a tensor stands for one element of a batch, and `bool(t.any())` raises. A check needs the whole batch all
the same: `plain` gives it, with the hidden batch axes in front, without derivatives. Inside `torch.autocast` every
product of float32 matrices is rounded to 8 or 11 bits; `full_precision` is out of it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import (  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_get_bdim,
)
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode

P = ParamSpec("P")
R = TypeVar("R")


def plain(t: Tensor) -> Tensor:
    """t's values, detached: [hidden batch axes of vmap, ..., shape of t]; t.detach() outside of transforms."""
    while is_functorch_wrapped_tensor(t):
        inner = get_unwrapped(t)
        t = inner.movedim(maybe_get_bdim(t), 0) if is_batchedtensor(t) else inner
    return t.detach()


@contextmanager
def unrecorded() -> Iterator[None]:
    """Out of a capture (`theory.captured`): a check on values is no part of what a function computes."""
    if getattr(_get_current_dispatch_mode(), "captures", False):
        with _disable_current_modes():
            yield
    else:
        yield


def is_followed(t: Tensor) -> bool:
    """Whether a derivative in t may be asked for: by a tangent, a recording graph or a transform other than vmap."""
    while is_functorch_wrapped_tensor(t):
        if not is_batchedtensor(t):
            return True
        t = get_unwrapped(t)
    return forward_ad.unpack_dual(t).tangent is not None or (torch.is_grad_enabled() and t.requires_grad)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, computing in the dtype of its arguments inside torch.autocast too."""

    @functools.wraps(function)
    def alike(*args: P.args, **kwargs: P.kwargs) -> R:
        lowered = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not lowered:
            return function(*args, **kwargs)
        with ExitStack() as off:
            for kind in lowered:
                off.enter_context(torch.autocast(kind, enabled=False))
            return function(*args, **kwargs)

    return alike


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which torch.compile calls as it is: it cannot trace compiled kernels of another kind."""
    opaque: Any = torch._disable_dynamo(function)  # pyright: ignore[reportPrivateImportUsage]

    @functools.wraps(function)
    def alike(*args: P.args, **kwargs: P.kwargs) -> R:
        # Only where the compiler is at work: the first call would import it, which takes seconds.
        return opaque(*args, **kwargs) if "torch._dynamo" in sys.modules else function(*args, **kwargs)

    return alike
