"""Checks of single arguments that every simulation shares; each error names the argument and says what to pass."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

SIMPLEX_TOLERANCE = 1e-12  # so that a simulation can go on from a state that another one returned


def check_integer(value: Any, name: str, *, least: int = 0) -> int:
    """`value` as an int; `ValueError` that names the argument unless it is an integer >= `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)


def to_tensor(value: Any) -> Tensor:
    """`torch.as_tensor`, which alone warns of read-only arrays and refuses negative strides and foreign byte orders."""
    if isinstance(value, np.ndarray):
        value = np.array(value, value.dtype.newbyteorder("="), order="C")
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point() and not hasattr(value, "dtype"):
        return torch.as_tensor(value, dtype=torch.float64)  # Python floats arrive in torch's default dtype
    return tensor


def check_positive(value: Any, name: str, *, below: float = math.inf) -> float:
    """`value` as a float; `ValueError` that names the argument unless it is a number with 0 < value < `below`."""
    scalar = value.item() if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 else value
    try:
        number = float(scalar) if isinstance(scalar, Real) and not isinstance(scalar, bool) else math.nan
    except OverflowError:
        number = math.nan
    if not 0 < number < below:
        rule = "be positive and finite" if below == math.inf else f"lie between 0 and {below:g}"
        raise ValueError(f"{name} must {rule}, got {value!r}")
    return number


def check_vectors(name: str, value: Any, size: int, meaning: str) -> Tensor:
    """`value` as a float64 tensor [..., size]; `ValueError` that names it and says what `size` is."""
    tensor = check_float64(name, value)
    if tensor.ndim == 0 or tensor.shape[-1] != size:
        raise ValueError(f"{name} must be [..., {size}], {meaning}; got {list(tensor.shape)}")
    return tensor


def check_broadcast(**shapes: Any) -> torch.Size:
    """The batch shape that the named ones broadcast to, or a `ValueError` that lists them."""
    try:
        return torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"the batch shapes do not broadcast: {listed}") from None


def check_float64(name: str, value: Any) -> Tensor:
    """`value` as a float64 tensor; lower precision is refused, integers are taken as float64."""
    try:
        tensor = to_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must hold real numbers, got {type(value).__name__}: {error}") from None
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is a tensor of layout {tensor.layout}; pass {name}.to_dense()")
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} has dtype {tensor.dtype}; pass real numbers in float64")
    if not tensor.is_floating_point():
        return tensor.to(torch.float64)
    if tensor.dtype != torch.float64:
        raise ValueError(
            f"{name} has dtype {tensor.dtype}; simulation takes float64 only, because the rounding of A x is divided "
            f"by ε (in float32 it leaves a residual of 6 at ε = 1e-8): pass {name}.double()"
        )
    return tensor


def check_simplex(name: str, x: Tensor) -> None:
    """`ValueError` unless every x[..., n] is finite, without a negative entry and of sum 1, within 1e-12."""
    rows = x.detach().reshape(-1, x.shape[-1])
    off = ~((rows >= -SIMPLEX_TOLERANCE).all(-1) & ((rows.sum(-1) - 1).abs() <= SIMPLEX_TOLERANCE))  # true for NaN too
    if bool(off.any()):
        index = int(off.nonzero()[0])
        bad, where = rows[index], f" (trajectory {index})" if len(rows) > 1 else ""
        if not bool(torch.isfinite(bad).all()):
            raise ValueError(f"{name} must be finite; got {bad.tolist()}{where}")
        raise ValueError(
            f"{name} must be a probability vector (no negative entry, sum to 1 within {SIMPLEX_TOLERANCE:g}); got "
            f"{bad.tolist()}{where}, whose sum is {float(bad.sum()):.17g}: divide by {name}.sum(-1, keepdim=True) if "
            "that is meant"
        )
