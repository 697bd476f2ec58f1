"""Torch's arithmetic on arrays of scalar expressions: entry by entry, sums and products."""
# ruff: noqa: D102  each method is the operation of its name in torch.ops.aten

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from theory.captured.arrays import Untraceable, axes_of
from theory.captured.scalars import COMPARISONS, UNARY, Graph

_Operation = Callable[..., np.ndarray]


class Arithmetic:
    """Operations that compute, named as in `torch.ops.aten`."""

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
        count = math.prod(a.shape[d] for d in axes_of(dim, a.ndim))
        return self.div_plain(self.sum(a, dim, keepdim), float(count))

    def prod(self, a: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> np.ndarray:
        return self._reduce(self.mul, 1.0, a, dim, keepdim)

    def amax(self, a: Any, dim: Any = (), keepdim: bool = False) -> np.ndarray:
        return self._reduce(self.maximum, -math.inf, a, dim, keepdim)

    def amin(self, a: Any, dim: Any = (), keepdim: bool = False) -> np.ndarray:
        return self._reduce(self.minimum, math.inf, a, dim, keepdim)

    def _reduce(self, step: Any, start: Any, a: np.ndarray, dim: Any, keepdim: bool) -> np.ndarray:
        axes = axes_of(dim, a.ndim)
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
        return value if keepdim else np.squeeze(value, axes_of(dim, a.ndim))

    def trace(self, a: Any) -> np.ndarray:
        return self.sum(a.diagonal())
