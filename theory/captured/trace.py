"""Following a torch function entry by entry: each tensor gets a shadow, an array of scalar expressions.

While the function runs on one point, without batch, every operation that torch dispatches is repeated on the shadows
by NumPy on arrays of objects. Views of a tensor are views of its shadow, so what is written in place arrives. An
operation that is not in the table, a number asked for in Python (`.item()`, `.tolist()`, `if y > 0`) or a result
without any expression that torch dispatched ends the attempt with `Untraceable`; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from theory.captured.scalars import COMPARISONS, UNARY, Graph, Symbol, TooLarge


class Untraceable(Exception):
    """The function does something that scalar expressions do not describe; the text says what."""


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


class _Tracer(TorchDispatchMode):
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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        known = [a for a in _flat((args, kwargs)) if isinstance(a, Tensor)]
        if name in _VALUES and any(_symbolic(self.shadow(t)) for t in known):
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
            return out
        if operation is None:
            if all(not _symbolic(s) for s in shadows):
                return out  # a constant, whose shadow is its value
            raise Untraceable(f"operation {name}")
        result = operation(*_map(self.shadow, args), **_map(self.shadow, kwargs))
        if isinstance(out, Tensor):
            self.put(out, np.asarray(result, dtype=object))
        else:
            for one, its in zip(out, result, strict=True):
                self.put(one, np.asarray(its, dtype=object))
        return out


_cut = slice  # the method below has its name
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


def _symbolic(a: np.ndarray) -> bool:
    return any(isinstance(entry, Symbol) for entry in a.reshape(-1))


def _axes(dim: Any, ndim: int) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return tuple(range(ndim))
    return tuple(d % ndim for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))


def _concrete(a: Any, what: str) -> np.ndarray:
    array = np.asarray(a)
    if _symbolic(array):
        raise Untraceable(f"{what} that depends on y")
    return array


_Operation = Callable[..., np.ndarray]


class _Operations:
    """The operations of torch that dispatch, on arrays of expressions; named as in `torch.ops.aten`."""

    abs: _Operation
    exp: _Operation
    floor: _Operation
    ge: _Operation
    gt: _Operation
    le: _Operation
    log: _Operation
    log1p: _Operation
    neg: _Operation
    stop: _Operation

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        for name in UNARY:
            setattr(self, name, self._pointwise(partial(graph.unary, name), 1))
        for name in COMPARISONS:
            setattr(self, name, self._pointwise(partial(graph.compare, name), 2))
        self.mul, self.div_plain, self.pow, self._plus, self._minus = (
            self._pointwise(partial(graph.binary, name), 2) for name in ("mul", "div", "pow", "add", "sub")
        )
        self._select = self._pointwise(graph.where, 3)
        self.logical_not = self.bitwise_not = self._pointwise(lambda a: graph.logic("not", a), 1)
        self.logical_and = self.bitwise_and = self._pointwise(lambda a, b: graph.logic("and", a, b), 2)
        self.logical_or = self.bitwise_or = self._pointwise(lambda a, b: graph.logic("or", a, b), 2)

    @staticmethod
    def _pointwise(function: Callable[..., Any], arguments: int) -> Callable[..., np.ndarray]:
        over = np.frompyfunc(function, arguments, 1)
        return lambda *a, **k: np.asarray(over(*a), dtype=object)

    # arithmetic
    def add(self, a: Any, b: Any, alpha: Any = 1) -> np.ndarray:
        return self._plus(a, b if alpha == 1 else self.mul(b, float(alpha)))

    def sub(self, a: Any, b: Any, alpha: Any = 1) -> np.ndarray:
        return self._minus(a, b if alpha == 1 else self.mul(b, float(alpha)))

    def rsub(self, a: Any, b: Any, alpha: Any = 1) -> np.ndarray:
        return self.sub(b, a, alpha)

    def div(self, a: Any, b: Any, rounding_mode: Any = None) -> np.ndarray:
        quotient = self.div_plain(a, b)
        if rounding_mode not in (None, "floor"):
            raise Untraceable(f"division with rounding_mode={rounding_mode!r}")
        return self.floor(quotient) if rounding_mode else quotient

    def reciprocal(self, a: Any) -> np.ndarray:
        return self.div_plain(1.0, a)

    def square(self, a: Any) -> np.ndarray:
        return self.mul(a, a)

    def rsqrt(self, a: Any) -> np.ndarray:
        return self.div_plain(1.0, self.pow(a, 0.5))

    def remainder(self, a: Any, b: Any) -> np.ndarray:
        return self._minus(a, self.mul(self.floor(self.div_plain(a, b)), b))

    def exp2(self, a: Any) -> np.ndarray:
        return self.exp(self.mul(a, math.log(2.0)))

    def sigmoid(self, a: Any) -> np.ndarray:
        # by e^{−|a|}, which never overflows
        small = self.exp(self.neg(self.abs(a)))
        one = self._plus(small, 1.0)
        return self._select(self.ge(a, 0.0), self.div_plain(1.0, one), self.div_plain(small, one))

    def softplus(self, a: Any, beta: Any = 1, threshold: Any = 20) -> np.ndarray:
        scaled = self.mul(a, float(beta))
        smooth = self.log1p(self.exp(scaled))
        return self._select(
            self.gt(scaled, float(threshold)),
            a,
            self.div_plain(smooth, float(beta)),
        )

    def maximum(self, a: Any, b: Any) -> np.ndarray:
        return self._select(self.ge(a, b), a, b)

    def minimum(self, a: Any, b: Any) -> np.ndarray:
        return self._select(self.le(a, b), a, b)

    def clamp(self, a: Any, min: Any = None, max: Any = None) -> np.ndarray:
        a = a if min is None else self.maximum(a, min)
        return a if max is None else self.minimum(a, max)

    def clamp_min(self, a: Any, low: Any) -> np.ndarray:
        return self.maximum(a, low)

    def clamp_max(self, a: Any, high: Any) -> np.ndarray:
        return self.minimum(a, high)

    def relu(self, a: Any) -> np.ndarray:
        return self._select(self.gt(a, 0.0), a, 0.0)

    def where(self, condition: Any, a: Any, b: Any) -> np.ndarray:
        return self._select(condition, a, b)

    def masked_fill(self, a: Any, mask: Any, value: Any) -> np.ndarray:
        return self._select(mask, value, a)

    def addcmul(self, a: Any, b: Any, c: Any, value: Any = 1) -> np.ndarray:
        return self._plus(a, self.mul(self.mul(b, c), float(value)))

    def lerp(self, a: Any, b: Any, weight: Any) -> np.ndarray:
        return self._plus(a, self.mul(weight, self._minus(b, a)))

    # sums and products
    def sum(self, a: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> np.ndarray:
        return self._reduce(self._plus, 0.0, a, dim, keepdim)

    def mean(self, a: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> np.ndarray:
        count = math.prod(a.shape[d] for d in _axes(dim, a.ndim))
        return self.div_plain(self.sum(a, dim, keepdim), float(count))

    def prod(self, a: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> np.ndarray:
        return self._reduce(self.mul, 1.0, a, dim, keepdim)

    def amax(self, a: Any, dim: Any = (), keepdim: bool = False) -> np.ndarray:
        return self._reduce(self.maximum, -math.inf, a, dim, keepdim)

    def amin(self, a: Any, dim: Any = (), keepdim: bool = False) -> np.ndarray:
        return self._reduce(self.minimum, math.inf, a, dim, keepdim)

    def _reduce(self, step: Any, start: Any, a: np.ndarray, dim: Any, keepdim: bool) -> np.ndarray:
        axes = _axes(dim, a.ndim)
        kept = tuple(d for d in range(a.ndim) if d not in axes)
        columns = a.transpose(*kept, *axes).reshape(*(a.shape[d] for d in kept), -1)
        total = np.full(columns.shape[:-1], start, dtype=object)
        for k in range(columns.shape[-1]):
            total = step(columns[..., k], total) if k == 0 else step(total, columns[..., k])
        if keepdim:
            total = total.reshape([1 if d in axes else a.shape[d] for d in range(a.ndim)])
        return total

    def cumsum(self, a: Any, dim: int, dtype: Any = None) -> np.ndarray:
        out = np.array(a, dtype=object)
        moved = np.moveaxis(out, dim, 0)
        for k in range(1, len(moved)):
            moved[k] = self._plus(moved[k - 1], moved[k])
        return out

    def cumprod(self, a: Any, dim: int, dtype: Any = None) -> np.ndarray:
        out = np.array(a, dtype=object)
        moved = np.moveaxis(out, dim, 0)
        for k in range(1, len(moved)):
            moved[k] = self.mul(moved[k - 1], moved[k])
        return out

    def mm(self, a: Any, b: Any) -> np.ndarray:
        return self.sum(self.mul(a[..., :, :, None], b[..., None, :, :]), -2)

    bmm = mm

    def mv(self, a: Any, b: Any) -> np.ndarray:
        return self.sum(self.mul(a, b), -1)

    def dot(self, a: Any, b: Any) -> np.ndarray:
        return self.sum(self.mul(a, b))

    def addmm(self, c: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> np.ndarray:
        return self._plus(self.mul(c, float(beta)), self.mul(self.mm(a, b), float(alpha)))

    def _softmax(self, a: Any, dim: int, half: bool = False) -> np.ndarray:
        shifted = self._minus(a, self.stop(self.amax(a, dim, True)))
        top = self.exp(shifted)
        return self.div_plain(top, self.sum(top, dim, True))

    def _log_softmax(self, a: Any, dim: int, half: bool = False) -> np.ndarray:
        shifted = self._minus(a, self.stop(self.amax(a, dim, True)))
        total = self.sum(self.exp(shifted), dim, True)
        return self._minus(shifted, self.log(total))

    def logsumexp(self, a: Any, dim: Any, keepdim: bool = False) -> np.ndarray:
        top = self.stop(self.amax(a, dim, True))
        total = self.log(self.sum(self.exp(self._minus(a, top)), dim, True))
        value = self._plus(total, top)
        return value if keepdim else np.squeeze(value, _axes(dim, a.ndim))

    def trace(self, a: Any) -> np.ndarray:
        return self.sum(a.diagonal())

    # shapes: views where NumPy gives views
    def detach(self, a: Any) -> np.ndarray:
        return self.stop(a)

    def alias(self, a: Any) -> np.ndarray:
        return a

    lift_fresh = lift_fresh_copy = contiguous = alias

    def clone(self, a: Any, memory_format: Any = None) -> np.ndarray:
        return a.copy()

    def _to_copy(self, a: Any, **how: Any) -> np.ndarray:
        if how.get("dtype") not in (None, torch.float64, torch.int64, torch.bool):
            raise Untraceable(f"a change to {how['dtype']}")
        if how.get("dtype") is not None and _symbolic(a):
            raise Untraceable("a change of dtype")
        return a.copy()

    def copy(self, a: Any, b: Any, non_blocking: bool = False) -> np.ndarray:
        return np.broadcast_to(b, a.shape)

    def fill(self, a: Any, value: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=object), a.shape)

    def view(self, a: Any, shape: Sequence[int]) -> np.ndarray:
        seen = a.reshape([int(s) for s in shape])
        if a.size and not np.shares_memory(seen, a):
            raise Untraceable("a view that NumPy has not")
        return seen

    def reshape(self, a: Any, shape: Sequence[int]) -> np.ndarray:
        return a.reshape([int(s) for s in shape])

    _unsafe_view = _reshape_alias = reshape

    def expand(self, a: Any, shape: Sequence[int], implicit: bool = False) -> np.ndarray:
        lead = len(shape) - a.ndim
        full = [a.shape[k - lead] if s == -1 else int(s) for k, s in enumerate(shape)]
        return np.broadcast_to(a, full)

    def squeeze(self, a: Any, dim: Any = None) -> np.ndarray:
        axes = [d for d in _axes(dim, a.ndim) if a.shape[d] == 1]
        return a.reshape([s for d, s in enumerate(a.shape) if d not in axes])

    def unsqueeze(self, a: Any, dim: int) -> np.ndarray:
        return np.expand_dims(a, dim)

    def transpose(self, a: Any, first: int, second: int) -> np.ndarray:
        return np.swapaxes(a, first, second)

    def t(self, a: Any) -> np.ndarray:
        return a.T

    def permute(self, a: Any, dims: Sequence[int]) -> np.ndarray:
        return a.transpose([d % a.ndim for d in dims])

    def select(self, a: Any, dim: int, index: int) -> np.ndarray:
        return np.moveaxis(a, dim, 0)[int(index) : int(index) + 1 or None].reshape(
            [s for d, s in enumerate(a.shape) if d != dim % a.ndim]
        )

    def slice(self, a: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> np.ndarray:
        at = [_cut(None)] * a.ndim
        at[dim % a.ndim] = _cut(start, end, step)
        return a[tuple(at)]

    def narrow(self, a: Any, dim: int, start: int, length: int) -> np.ndarray:
        return self.slice(a, dim, start, start + length)

    def diagonal(self, a: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> np.ndarray:
        seen = a.diagonal(offset, dim1 % a.ndim, dim2 % a.ndim)
        if a.flags.writeable:
            seen.flags.writeable = True
        return seen

    def split(self, a: Any, size: int, dim: int = 0) -> list[np.ndarray]:
        return [self.slice(a, dim, k, k + size) for k in range(0, a.shape[dim], size)]

    def split_with_sizes(self, a: Any, sizes: Sequence[int], dim: int = 0) -> list[np.ndarray]:
        ends = np.cumsum(sizes)
        return [self.slice(a, dim, int(e - s), int(e)) for s, e in zip(sizes, ends, strict=True)]

    def unbind(self, a: Any, dim: int = 0) -> list[np.ndarray]:
        return [self.select(a, dim, k) for k in range(a.shape[dim])]

    def cat(self, parts: Sequence[Any], dim: int = 0) -> np.ndarray:
        return np.concatenate([p for p in parts if p.size or p.ndim > 1], dim)

    def stack(self, parts: Sequence[Any], dim: int = 0) -> np.ndarray:
        return np.stack(parts, dim)

    def flip(self, a: Any, dims: Sequence[int]) -> np.ndarray:
        return np.flip(a, _axes(dims, a.ndim)).copy()

    def roll(self, a: Any, shifts: Any, dims: Any = ()) -> np.ndarray:
        return np.roll(a, shifts, tuple(dims) if len(dims) else None)

    def repeat(self, a: Any, times: Sequence[int]) -> np.ndarray:
        return np.tile(a, times)

    def diag_embed(self, a: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> np.ndarray:
        n = a.shape[-1] + abs(offset)
        out = np.full((*a.shape[:-1], n, n), 0.0, dtype=object)
        k = np.arange(a.shape[-1])
        out[..., k + max(0, -offset), k + max(0, offset)] = a
        if sorted((dim1 % out.ndim, dim2 % out.ndim)) != [out.ndim - 2, out.ndim - 1]:
            raise Untraceable("diag_embed along other axes")
        return out if dim1 % out.ndim < dim2 % out.ndim else np.swapaxes(out, -1, -2)

    def block_diag(self, parts: Sequence[Any]) -> np.ndarray:
        out = np.full((sum(p.shape[0] for p in parts), sum(p.shape[1] for p in parts)), 0.0, dtype=object)
        row = column = 0
        for p in parts:
            out[row : row + p.shape[0], column : column + p.shape[1]] = p
            row, column = row + p.shape[0], column + p.shape[1]
        return out

    def tril(self, a: Any, diagonal: int = 0) -> np.ndarray:
        return np.where(np.tri(*a.shape[-2:], k=diagonal, dtype=bool), a, 0.0)

    def triu(self, a: Any, diagonal: int = 0) -> np.ndarray:
        return np.where(np.tri(*a.shape[-2:], k=diagonal - 1, dtype=bool), 0.0, a)

    # indices
    def _at(self, indices: Sequence[Any]) -> tuple[Any, ...]:
        at = []
        for one in indices:
            if one is None:
                at.append(_cut(None))
            else:
                array = _concrete(one, "an index")
                at.append(array.astype(bool if array.size and isinstance(array.reshape(-1)[0], bool) else np.int64))
        return tuple(at)

    def index(self, a: Any, indices: Sequence[Any]) -> np.ndarray:
        return a[self._at(indices)]

    def index_put(self, a: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> np.ndarray:
        out, at = a.copy(), self._at(indices)
        if accumulate:
            numbers = np.arange(a.size).reshape(a.shape)[at]
            flat = out.reshape(-1)
            for number, value in zip(
                numbers.reshape(-1), np.broadcast_to(values, numbers.shape).reshape(-1), strict=True
            ):
                flat[number] = self.graph.binary("add", flat[number], value)
        else:
            out[at] = values
        return out

    def index_select(self, a: Any, dim: int, index: Any) -> np.ndarray:
        return np.take(a, _concrete(index, "an index").astype(np.int64), dim)

    def gather(self, a: Any, dim: int, index: Any, sparse_grad: bool = False) -> np.ndarray:
        return np.take_along_axis(a, _concrete(index, "an index").astype(np.int64), dim)

    def scatter(self, a: Any, dim: int, index: Any, values: Any) -> np.ndarray:
        out = a.copy()
        at = _concrete(index, "an index").astype(np.int64)
        cut = tuple(_cut(s) for s in at.shape)
        np.put_along_axis(out, at, np.asarray(values)[cut] if np.ndim(values) else values, dim)
        return out
