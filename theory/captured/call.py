"""Calling captured machine code by its address from within numba's."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


def _call(typingctx: Any, address: Any, source: Any, target: Any, count: Any) -> Any:  # pyright: ignore[reportUnusedParameter]
    """void f(const double *source, double *target, int64 count) at `address`; pointers as integers, `a.ctypes.data`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        import llvmlite.ir as ir

        pointer, integer = ir.DoubleType().as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, integer]).as_pointer()
        where = [
            builder.inttoptr(value, wanted) for value, wanted in zip(args[:3], (kind, pointer, pointer), strict=True)
        ]
        builder.call(where[0], [where[1], where[2], args[3]])
        return context.get_dummy_value()

    integer = types.int64
    return types.void(integer, integer, integer, integer), generate


# numba gives the typing context itself: to type checkers a call has the four numbers alone
call: Any = intrinsic(_call)
