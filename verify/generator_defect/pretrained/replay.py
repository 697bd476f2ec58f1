"""The blocks of a transformer as its model calls them, to be called again with the same masks and positions.

The model reads the text once with eager attention, which makes every mask a tensor; a hook before each block keeps what
the model gave it. A replay puts another x in the place of the stream and leaves all else as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from verify.generator_defect.pretrained.passes import attention_jacobians
from verify.generator_defect.pretrained.probe import attention_by, in_double, probing

STREAM = "hidden_states"


@dataclass(frozen=True)
class Recorded:
    """One block with what its model gave it. layer: its number. x[T, d]: the stream that entered it."""

    layer: int
    block: torch.nn.Module
    x: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, x: Float[Tensor, "T d"]) -> Tensor:
        """What the block makes of the stream x[T, d], all else as recorded."""
        given = x[None]
        if STREAM in self.kwargs:
            out = self.block(*self.args, **{**self.kwargs, STREAM: given})
        else:
            out = self.block(given, *self.args[1:], **self.kwargs)
        return stream(out)[0]

    def update(self, x: Float[Tensor, "T d"]) -> Tensor:
        """F(x) = block(x) − x, with the block's own attention."""
        return self.run(x) - x


def stream(out: Any) -> Tensor:
    """The stream[B, T, d] that a block gives back, alone or first in a tuple."""
    found = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(found, Tensor) or found.dim() != 3:
        raise ValueError(
            f"a block must give back [B, T, d], alone or first in a tuple; got {_shape(found)}: wrap it in a function "
            "that picks its stream"
        )
    return found


def _shape(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def blocks_of(model: torch.nn.Module) -> Sequence[torch.nn.Module]:
    """The list of blocks of a model of transformers; `ValueError` where it has none of the right length."""
    config: Any = getattr(model, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    for part in model.modules():
        if isinstance(part, torch.nn.ModuleList) and len(part) == count:
            return list(part)
    raise ValueError(
        f"{type(model).__name__} has no list of {count} blocks (num_hidden_layers): measure its blocks one by one, by "
        "verify.generator_defect.block_defect(block, x)"
    )


def record(model: torch.nn.Module, tokens: Tensor, layers: Sequence[int]) -> list[Recorded]:
    """The blocks of these numbers, as `model` calls them on tokens[T]; the model is left as it is."""
    blocks = blocks_of(model)
    found: dict[int, Recorded] = {}

    def keep(layer: int, block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if layer in found:
            raise ValueError(f"layer {layer} is called twice on the way through: its stream has no single update")
        given = kwargs[STREAM] if STREAM in kwargs else args[0]
        found[layer] = Recorded(layer, block, given[0].detach().clone(), args, dict(kwargs))

    hooks = [blocks[n].register_forward_pre_hook(partial(keep, n), with_kwargs=True) for n in layers]
    training = model.training
    try:
        with torch.no_grad(), attention_by(model, "eager"):
            model.eval()
            model(tokens[None], use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if layer not in found:
            raise ValueError(f"layer {layer} was not called on the way through the model")
        if not bool(torch.isfinite(found[layer].x).all()):
            raise RuntimeError(f"the stream that enters layer {layer} is not finite: the weights have diverged")
    return [found[layer] for layer in layers]


def promoted(recorded: Recorded, dtype: torch.dtype) -> Recorded:
    """A copy of what was recorded in that precision: weights, stream, masks and positions; without gradients, and with
    eager attention."""
    block = copy.deepcopy(recorded.block).to(dtype).eval().requires_grad_(False)
    for part in block.modules():
        config: Any = getattr(part, "config", None)
        if hasattr(config, "_attn_implementation"):
            config._attn_implementation = "eager"
    args, kwargs = _promoted(recorded.args, dtype), _promoted(recorded.kwargs, dtype)
    return Recorded(recorded.layer, block, recorded.x.to(dtype), args, kwargs)


def _promoted(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return value
        lowest = torch.finfo(value.dtype).min  # masks are the lowest number there is, in whatever precision they have
        out = value.detach().to(dtype)
        return torch.where(value == lowest, torch.finfo(dtype).min, out)
    if isinstance(value, dict):
        return {key: _promoted(item, dtype) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_promoted(item, dtype) for item in value)
    return value


@contextmanager
def precisely(dtype: torch.dtype) -> Iterator[None]:
    """A block of code without gradients, in float64 through and through if that is the dtype."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(in_double() if dtype == torch.float64 else nullcontext())
        yield


def check(recorded: Recorded) -> float:
    """Whether `attention_jacobians` is about this block (promoted already), before anything expensive is done: one call
    of attention, which is softmax attention; and all else on tokens one by one. `ValueError` if not.

    Returns what casts to float32 inside the block change in F, relative to its size: the floor of what the model as it
    is run in float32 could say.
    """
    x, where = recorded.x, f"layer {recorded.layer} ({type(recorded.block).__name__})"
    tolerance = torch.finfo(x.dtype).eps ** 0.75  # far above the rounding of a block, far below another attention
    with torch.no_grad():
        cast = recorded.update(x)
    with precisely(x.dtype):
        own = recorded.run(x)
        if own.shape != x.shape:
            raise ValueError(f"{where} gives {list(own.shape)} for {list(x.shape)}: it is no update of a stream")
        size = float((own - x).norm())
        try:
            with probing(recorded.block) as probe:
                ours = recorded.run(x)
                if probe.calls != 1:
                    raise ValueError(f"it calls the attention interface of transformers {probe.calls} times, not once")
                probe.held = (probe.weights()[0] @ probe.heads()[2]).transpose(1, 2).contiguous()
                moved = x.clone()
                moved[0] += 1.0
                others = recorded.run(moved)[1:]
        except ValueError as error:
            raise ValueError(f"{where}: {error}; {OTHERWISE}") from None
        if (apart := float((ours - own).norm()) / size) > tolerance:
            raise ValueError(f"{where}: its attention is not softmax attention (off by {apart:.1e}); {OTHERWISE}")
        if (apart := float((others - own[1:]).norm()) / size) > tolerance:
            raise ValueError(f"{where}: it mixes tokens outside attention (by {apart:.1e}); {OTHERWISE}")
    return float((cast - (own - x)).norm()) / size


OTHERWISE = "measure it by verify.generator_defect.block_defect(block, x), in T·d passes"


def measured_jacobians(recorded: Recorded) -> tuple[Tensor, Tensor, Tensor, float]:
    """J_tt[T, d, d], C[T, T] and W[H, T, T] of a block that passed `check`; and how far one direction of them is from
    forward mode through the block's own attention, relative."""
    x = recorded.x
    with precisely(x.dtype):
        with probing(recorded.block) as probe:
            channel, token, weights = attention_jacobians(recorded.run, probe, x)
        s = len(x) // 2
        direction = torch.zeros_like(x)
        rng = torch.Generator().manual_seed(recorded.layer)
        direction[s] = torch.randn(x.shape[1], generator=rng, dtype=torch.float64).to(x)
        straight = jvp(recorded.update, (x,), (direction,))[1]
        expected = channel[s] @ direction[s]
        apart = float((straight[s] - expected).norm() / expected.norm())
    if apart > torch.finfo(x.dtype).eps ** 0.5:
        raise RuntimeError(
            f"layer {recorded.layer}: the Jacobian in d + H·c passes is off by {apart:.1e} from forward mode; "
            f"{OTHERWISE}"
        )
    return channel, token, weights, apart
