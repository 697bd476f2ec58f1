"""Checks of single arguments that every simulation shares; each error names the argument and says what to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_integer(value: Any, name: str, *, least: int = 0) -> int:
    """`value` as an int; `ValueError` that names the argument unless it is an integer >= `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)


def check_float64(name: str, value: Any) -> Tensor:
    """`value` as a float64 tensor; lower precision is refused, integers are taken as float64."""
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must hold real numbers, got {type(value).__name__}: {error}") from None
    if not isinstance(value, Tensor) and tensor.dtype == torch.float32 and not hasattr(value, "dtype"):
        tensor = torch.as_tensor(value, dtype=torch.float64)  # Python floats arrive in torch's default dtype
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
