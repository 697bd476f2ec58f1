"""Scalar expressions: what a torch function of a few numbers computes, entry by entry, with exact derivatives.

A `Graph` holds each expression once; a `Symbol` is its number. Constants are plain floats and are folded, and a product
with the constant zero is zero: a matrix with few rates becomes few expressions. (So 0·∞ is 0 here and NaN in torch;
whoever uses a graph compares its values with torch's.) Derivatives are built by the chain rule as further expressions
of the same graph, hence share what they have in common with the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "log": np.log,
    "log1p": np.log1p,
    "neg": np.negative,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "stop": np.positive,  # the same number, without a derivative
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


class NoDerivative(Exception):
    """An operation of the graph whose derivative is not in the table: the system stays with torch, which has it."""


class TooLarge(Exception):
    """The graph has more expressions than it may."""


class Symbol:
    """The expression number `index` of a graph; a truth value it has not, so that no branch depends on it."""

    __slots__ = ("index",)
    index: int

    def __init__(self, index: int) -> None:
        self.index = index

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value")


class Graph:
    """Expressions (operation, arguments…) in an order in which arguments come first."""

    inputs: list[Symbol]

    def __init__(self, n_inputs: int, most: int) -> None:
        self.most = most
        self.nodes: list[tuple[Any, ...]] = []
        self._known: dict[tuple[Any, ...], Symbol] = {}
        self.inputs = [self._node("input", k) for k in range(n_inputs)]

    def _node(self, *key: Any) -> Symbol:
        found = self._known.get(key)
        if found is None:
            if len(self.nodes) >= self.most:
                raise TooLarge
            found = self._known[key] = Symbol(len(self.nodes))
            self.nodes.append(key)
        return found

    def unary(self, name: str, a: Any) -> Any:
        """name(a) for a name of `UNARY`."""
        a = self.number(a)
        if not isinstance(a, Symbol):
            with np.errstate(all="ignore"):
                return float(UNARY[name](np.float64(a)))
        return self._node(name, _key(a))

    def binary(self, name: str, a: Any, b: Any) -> Any:
        """name(a, b) for a name of `BINARY`."""
        a, b = self.number(a), self.number(b)
        constant_a, constant_b = not isinstance(a, Symbol), not isinstance(b, Symbol)
        if constant_a and constant_b:
            with np.errstate(all="ignore"):
                return float(BINARY[name](np.float64(a), np.float64(b)))
        if name == "mul":
            if constant_a:
                a, b, constant_a, constant_b = b, a, constant_b, constant_a
            if constant_b:
                if b == 0.0:
                    return 0.0
                if b == 1.0:
                    return a
        elif name == "add":
            if constant_a:
                a, b, constant_a, constant_b = b, a, constant_b, constant_a
            if constant_b and b == 0.0:
                return a
        elif name == "sub":
            if constant_b and b == 0.0:
                return a
            if constant_a and a == 0.0:
                return self.unary("neg", b)
        elif name == "div":
            if constant_a and a == 0.0:
                return 0.0
            if constant_b and b == 1.0:
                return a
        elif name == "pow" and constant_b:
            return self._power(a, float(b))
        return self._node(name, _key(a), _key(b))

    def _power(self, a: Symbol, exponent: float) -> Any:
        if exponent in (0.0, 1.0):
            return a if exponent else 1.0
        if exponent == 0.5:
            return self.unary("sqrt", a)
        if exponent.is_integer() and abs(exponent) <= 4:
            result: Any = a
            for _ in range(int(abs(exponent)) - 1):
                result = self.binary("mul", result, a)
            return result if exponent > 0 else self.binary("div", 1.0, result)
        return self._node("pow", _key(a), _key(exponent))

    def compare(self, name: str, a: Any, b: Any) -> Any:
        """name(a, b), a truth value, for a name of `COMPARISONS`."""
        if not isinstance(a, Symbol) and not isinstance(b, Symbol):
            return bool(COMPARISONS[name](a, b))
        return self._node(name, _key(self.number(a)), _key(self.number(b)))

    def logic(self, name: str, a: Any, b: Any = True) -> Any:
        """not, and, or of truth values or numbers, some of them symbols."""
        a, b = self._truth(a), self._truth(b)
        if not isinstance(a, Symbol) and not isinstance(b, Symbol):
            return {"not": not a, "and": a and b, "or": a or b}[name]
        if name == "not":
            return self._node("not", _key(a))
        if not isinstance(a, Symbol):
            a, b = b, a
        if not isinstance(b, Symbol):
            if name == "and":
                return a if b else False
            return True if b else a
        return self._node(name, _key(a), _key(b))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b."""
        if not isinstance(condition, Symbol):
            return a if condition else b
        a, b = self.number(a), self.number(b)
        if _key(a) == _key(b):
            return a
        return self._node("where", _key(self._truth(condition)), _key(a), _key(b))

    def number(self, a: Any) -> Any:
        """A truth value as 1 or 0, as arithmetic takes it; any other expression as it is."""
        if not self.is_truth(a):
            return a
        return self._node("where", _key(a), _key(1.0), _key(0.0)) if isinstance(a, Symbol) else float(a)

    def _truth(self, a: Any) -> Any:
        if not isinstance(a, Symbol):
            return bool(a)
        return a if self.is_truth(a) else self._node("ne", _key(a), _key(0.0))

    def is_truth(self, a: Any) -> bool:
        """Whether `a` is a truth value, and no number."""
        if not isinstance(a, Symbol):
            return isinstance(a, bool | np.bool_)
        return self.nodes[a.index][0] in COMPARISONS or self.nodes[a.index][0] in ("not", "and", "or")

    def derivative(self, outputs: Sequence[Any], wrt: int) -> list[Any]:
        """∂output/∂input[wrt], one expression each."""
        tangents: dict[int, Any] = {self.inputs[wrt].index: 1.0}
        last = max((o.index for o in outputs if isinstance(o, Symbol)), default=-1)
        for index in range(last + 1):
            if index not in tangents:
                tangent = self._tangent(self.nodes[index], index, tangents)
                if tangent is not None:
                    tangents[index] = tangent
        return [tangents.get(o.index, 0.0) if isinstance(o, Symbol) else 0.0 for o in outputs]

    def needed(self, outputs: Sequence[Any]) -> set[int]:
        """The numbers of the expressions that `outputs` are made of."""
        found: set[int] = set()
        stack = [o.index for o in outputs if isinstance(o, Symbol)]
        while stack:
            index = stack.pop()
            if index not in found:
                found.add(index)
                op, *keys = self.nodes[index]
                if op != "input":
                    stack += [value for kind, value in keys if kind == "s"]
        return found

    def depends(self, output: Any, inputs: Sequence[int]) -> bool:
        """Whether one of the inputs enters `output`."""
        return not {self.inputs[k].index for k in inputs}.isdisjoint(self.needed([output]))

    def _tangent(self, node: tuple[Any, ...], index: int, tangents: dict[int, Any]) -> Any:
        name, *keys = node
        if name == "input" or name in COMPARISONS or name in ("not", "and", "or", "stop", "floor", "ceil"):
            return None
        moved = [None if kind == "c" else tangents.get(value) for kind, value in keys]
        if all(m is None for m in moved):
            return None
        args = [value if kind == "c" else Symbol(value) for kind, value in keys]
        self_, mul, add, sub, div = Symbol(index), *(self._by(n) for n in ("mul", "add", "sub", "div"))
        if name == "where":
            return self.where(args[0], *(0.0 if m is None else m for m in moved[1:]))
        a, da = args[0], moved[0]
        if len(args) == 2:
            b, db = args[1], moved[1]
            zero_a, zero_b = da is None, db is None
            da, db = (0.0 if da is None else da), (0.0 if db is None else db)
            match name:
                case "add":
                    return add(da, db)
                case "sub":
                    return sub(da, db)
                case "mul":
                    return add(mul(da, b), mul(a, db))
                case "div":
                    top = da if zero_b else sub(da, mul(self_, db))
                    return div(top, b)
                case "pow":
                    by_base = 0.0 if zero_a else mul(mul(b, self.binary("pow", a, sub(b, 1.0))), da)
                    by_exponent = 0.0 if zero_b else mul(mul(self_, self.unary("log", a)), db)
                    return add(by_base, by_exponent)
        one = self.unary
        match name:
            case "neg":
                return one("neg", da)
            case "exp":
                return mul(self_, da)
            case "expm1":
                return mul(add(self_, 1.0), da)
            case "log":
                return div(da, a)
            case "log1p":
                return div(da, add(a, 1.0))
            case "sin":
                return mul(one("cos", a), da)
            case "cos":
                return one("neg", mul(one("sin", a), da))
            case "tan":
                return mul(add(1.0, mul(self_, self_)), da)
            case "sinh":
                return mul(one("cosh", a), da)
            case "cosh":
                return mul(one("sinh", a), da)
            case "tanh":
                return mul(sub(1.0, mul(self_, self_)), da)
            case "sqrt":
                return div(mul(0.5, da), self_)
            case "asin":
                return div(da, one("sqrt", sub(1.0, mul(a, a))))
            case "acos":
                return one("neg", div(da, one("sqrt", sub(1.0, mul(a, a)))))
            case "atan":
                return div(da, add(1.0, mul(a, a)))
            case "erf":
                return mul(mul(2.0 / math.sqrt(math.pi), one("exp", one("neg", mul(a, a)))), da)
            case "abs":
                below = self.where(self.compare("lt", a, 0.0), one("neg", da), 0.0)
                return self.where(self.compare("gt", a, 0.0), da, below)
        raise NoDerivative(name)

    def _by(self, name: str) -> Callable[[Any, Any], Any]:
        return lambda a, b: self.binary(name, a, b)


def _key(value: Any) -> tuple[str, Any]:
    return ("s", value.index) if isinstance(value, Symbol) else ("c", value)
