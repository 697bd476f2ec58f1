"""Torch's operations on shapes and indices, on arrays of scalar expressions: views where NumPy gives views."""
# ruff: noqa: D102  each method is the operation of its name in torch.ops.aten

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from theory.captured.arrays import Untraceable, axes_of, concrete, is_symbolic
from theory.captured.scalars import Graph

_cut = slice  # the method below has its name


class Shapes:
    """Operations that move entries and compute nothing, named as in `torch.ops.aten`."""

    graph: Graph
    stop: Callable[..., np.ndarray]

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
        if how.get("dtype") is None or not is_symbolic(a):
            return a.copy()
        if how["dtype"] == torch.bool or not all(self.graph.is_truth(entry) for entry in a.reshape(-1)):
            raise Untraceable("a change of dtype")
        return np.asarray(np.frompyfunc(self.graph.number, 1, 1)(a), dtype=object)

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
        axes = [d for d in axes_of(dim, a.ndim) if a.shape[d] == 1]
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
        return np.flip(a, axes_of(dims, a.ndim)).copy()

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
                array = concrete(one, "an index")
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
        return np.take(a, concrete(index, "an index").astype(np.int64), dim)

    def gather(self, a: Any, dim: int, index: Any, sparse_grad: bool = False) -> np.ndarray:
        return np.take_along_axis(a, concrete(index, "an index").astype(np.int64), dim)

    def scatter(self, a: Any, dim: int, index: Any, values: Any) -> np.ndarray:
        out = a.copy()
        at = concrete(index, "an index").astype(np.int64)
        cut = tuple(_cut(s) for s in at.shape)
        np.put_along_axis(out, at, np.asarray(values)[cut] if np.ndim(values) else values, dim)
        return out
