"""What a block is made to call while its Jacobian is taken: an attention that shows q, k, v, and one precision only.

`probing(block)` puts a function of our own in the place of the block's softmax attention, by the interface that every
attention of transformers goes through. It keeps the queries (scaled), keys and values of each call, and gives back
either softmax attention or an output that is held. With the output held, a block acts on its tokens one by one.

`in_double()` takes casts to float32 inside a model, as in its norms and rotary angles, for casts to float64: a Jacobian
in float64 would otherwise carry their rounding of 1e-7.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NAME = "fastslow_probe"


@dataclass
class Probe:
    """What the last call of attention got: q[1, H, T, c] times its scale, k[1, H', T, c], v[1, H', T, c'], the mask
    that is added to the scores, the cap of the scores. held[1, T, H, c']: what the next calls answer, if not None."""

    q: Tensor | None = None
    k: Tensor | None = None
    v: Tensor | None = None
    mask: Tensor | None = None
    cap: float | None = None
    held: Tensor | None = None
    calls: int = 0

    def __call__(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """The attention function of the interface of transformers."""
        if attention_mask is None and getattr(module, "is_causal", False) and query.shape[-2] > 1:
            raise ValueError("causal attention got no mask: replay the block with the arguments that its model gave it")
        if s_aux is not None:
            raise ValueError("its attention has sinks of its own (s_aux), whose rows do not sum to one")
        self.q = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        self.k, self.v, self.mask, self.cap = key, value, attention_mask, softcap
        self.calls += 1
        if self.held is not None:
            return self.held, None
        return (self.weights()[0] @ _over_heads(value, query.shape[1])).transpose(1, 2), None

    def heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of the last call, all with as many heads as queries have."""
        if self.q is None or self.k is None or self.v is None:
            raise ValueError("it does not call the attention interface of transformers, which this measures through")
        return self.q, _over_heads(self.k, self.q.shape[1]), _over_heads(self.v, self.q.shape[1])

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """W[1, H, T, T], and the derivative of the capped scores by the scores (None: no cap)."""
        q, k, _ = self.heads()
        scores, slope = q @ k.mT, None
        if self.cap is not None:
            capped = torch.tanh(scores / self.cap)
            scores, slope = self.cap * capped, 1.0 - capped.square()
        if self.mask is not None:
            scores = scores + self.mask
        return scores.softmax(-1), slope


def _over_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values [1, H', T, c] repeated for the query heads that share them."""
    return x.repeat_interleave(heads // x.shape[1], 1)


@contextmanager
def probing(block: torch.nn.Module) -> Iterator[Probe]:
    """A block of code in which the attention of `block` is a `Probe`. The configuration of `block` and the interface
    are as before at its end."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    probe = Probe()
    ALL_ATTENTION_FUNCTIONS[NAME] = probe
    try:
        with attention_by(block, NAME):
            yield probe
    finally:
        del ALL_ATTENTION_FUNCTIONS[NAME]


@contextmanager
def attention_by(module: torch.nn.Module, name: str) -> Iterator[None]:
    """A block of code in which every attention inside `module` is the implementation of that name."""
    found = {id(c): c for part in module.modules() if hasattr(c := getattr(part, "config", None), ATTRIBUTE)}
    before = [(config, getattr(config, ATTRIBUTE)) for config in found.values()]
    try:
        for config, _ in before:
            setattr(config, ATTRIBUTE, name)
        yield
    finally:
        for config, implementation in before:
            setattr(config, ATTRIBUTE, implementation)


ATTRIBUTE = "_attn_implementation"


class _InDouble(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        return func(*args, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


def in_double() -> TorchFunctionMode:
    """A context in which whatever is asked for in float32 is computed in float64."""
    return _InDouble()
