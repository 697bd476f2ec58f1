"""Arrays of scalar expressions, the shadows of tensors: what every operation on them needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.captured.scalars import Symbol


class Untraceable(Exception):
    """The function does something that scalar expressions do not describe; the text says what."""


def is_symbolic(a: np.ndarray) -> bool:
    """Whether some entry is not a constant."""
    return any(isinstance(entry, Symbol) for entry in a.reshape(-1))


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """The axes, from 0 on, that torch's `dim` means."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return tuple(range(ndim))
    return tuple(d % ndim for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))


def concrete(a: Any, what: str) -> np.ndarray:
    """`a` as an array of constants; `Untraceable` where it is none."""
    array = np.asarray(a)
    if is_symbolic(array):
        raise Untraceable(f"{what} that depends on y")
    return array
