"""Following a torch function entry by entry: each tensor gets a shadow, an array of scalar expressions.

While the function runs on one point, without batch, every operation that torch dispatches is repeated on the shadows
by NumPy on arrays of objects. Views of a tensor are views of its shadow, so what is written in place arrives. An
operation that is not in the table, a number asked for in Python (`.item()`, `.tolist()`, `if y > 0`) or a result
without any expression that torch dispatched ends the attempt with `Untraceable`; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from theory.captured.arithmetic import Arithmetic
from theory.captured.arrays import Untraceable, is_symbolic
from theory.captured.scalars import Graph, TooLarge
from theory.captured.shapes import Shapes


def trace(function: Callable[..., Tensor], graph: Graph, *points: Tensor) -> np.ndarray:
    """The entries of function(*points) as an array of expressions of `graph`, whose inputs are those of the points."""
    tracer = _Tracer(graph)
    start = 0
    given = []
    for point in points:
        point = point.detach().clone()
        tracer.put(point, np.array([*graph.inputs[start : start + point.numel()], None], dtype=object)[:-1])
        start += point.numel()
        given.append(point)
    try:
        with torch.no_grad(), tracer:
            value = function(*given)
    except TooLarge:
        raise Untraceable(f"more than {graph.most} expressions") from None
    if not isinstance(value, Tensor):
        raise Untraceable(f"it returned {type(value).__name__}")
    if any(point._version for point in given):
        raise Untraceable("it changes its argument in place")
    return tracer.shadow(value)


class _Operations(Arithmetic, Shapes):
    """The operations of torch that dispatch, on arrays of expressions."""


class _Tracer(TorchDispatchMode):
    captures = True  # for `theory.transforms.unrecorded`

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.shadows: dict[int, np.ndarray] = {}
        self.alive: list[Tensor] = []  # as long as they live no other tensor gets their id
        self.ops = _Operations(graph)

    def put(self, tensor: Tensor, shadow: np.ndarray) -> None:
        if shadow.shape != tuple(tensor.shape):
            raise Untraceable(f"shapes {shadow.shape} and {tuple(tensor.shape)}")
        self.shadows[id(tensor)] = shadow
        self.alive.append(tensor)

    def shadow(self, tensor: Tensor) -> np.ndarray:
        found = self.shadows.get(id(tensor))
        if found is None:
            if tensor.requires_grad or tensor.layout != torch.strided or tensor.is_complex():
                raise Untraceable("it uses parameters that may change, or tensors that are not dense and real")
            found = tensor.detach().cpu().numpy().astype(object)
            self.put(tensor, found)
        return found

    def _check(self, out: Tensor, result: np.ndarray) -> None:
        """Leave to torch what a dtype makes of it: single precision of 0.8 * (y > 0.3), "or" of a sum of truths."""
        single = out.is_floating_point() and out.dtype != torch.float64
        sum_of_truths = out.dtype == torch.bool and not all(self.graph.is_truth(entry) for entry in result.reshape(-1))
        if (single or sum_of_truths) and is_symbolic(result):
            raise Untraceable(f"it computes in {out.dtype}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        known = [a for a in _flat((args, kwargs)) if isinstance(a, Tensor)]
        if name in _VALUES and any(is_symbolic(self.shadow(t)) for t in known):
            raise Untraceable("it asks for a number in Python (.item(), .tolist(), or a branch on a value of y)")
        out = func(*args, **kwargs)
        if name in _VALUES or not isinstance(out, (Tensor, tuple, list)):
            return out
        if name in _FACTORIES:
            return out
        operation = getattr(self.ops, name.rstrip("_") if name.endswith("_") else name, None)
        shadows = [self.shadow(t) for t in known]
        if (name.endswith("_") and not name.startswith("_")) or name in ("copy_", "fill_"):
            if operation is None:
                raise Untraceable(f"operation {name}")
            target = shadows[0]
            if name in _RESHAPED:
                self.shadows[id(args[0])] = operation(*_map(self.shadow, args), **_map(self.shadow, kwargs))
                self.alive.append(args[0])
                return out
            if id(args[0]) not in self.shadows:
                raise Untraceable("it changes a tensor of its surroundings")
            target[...] = operation(*_map(self.shadow, args), **_map(self.shadow, kwargs))
            self._check(args[0], target)
            return out
        if operation is None:
            if all(not is_symbolic(s) for s in shadows):
                return out  # a constant, whose shadow is its value
            raise Untraceable(f"operation {name}")
        result = operation(*_map(self.shadow, args), **_map(self.shadow, kwargs))
        if isinstance(out, Tensor):
            self._check(out, np.asarray(result, dtype=object))
            self.put(out, np.asarray(result, dtype=object))
        else:
            for one, its in zip(out, result, strict=True):
                self.put(one, np.asarray(its, dtype=object))
        return out


_VALUES = {"_local_scalar_dense", "item", "equal", "is_nonzero"}
_RESHAPED = {"squeeze_", "unsqueeze_", "transpose_", "t_"}
_FACTORIES = {
    "arange", "empty", "eye", "full", "linspace", "ones", "zeros", "empty_like", "full_like", "ones_like", "zeros_like",
    "new_empty", "new_zeros", "new_ones", "new_full", "scalar_tensor", "logspace", "tril_indices", "triu_indices",
    "empty_strided", "new_empty_strided",
}  # fmt: skip


def _flat(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for branch in tree for leaf in _flat(branch)]
    if isinstance(tree, dict):
        return _flat(list(tree.values()))
    return [tree]


def _map(change: Callable[[Tensor], np.ndarray], tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(_map(change, branch) for branch in tree)
    if isinstance(tree, dict):
        return {key: _map(change, branch) for key, branch in tree.items()}
    return tree
