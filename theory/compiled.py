"""How this package's numba kernels are compiled: cached on disk where that is possible, without the interpreter lock.

A module of kernels is imported when one of them is first needed, so that `import theory` does not pay for numba.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], *, fastmath: Any = False) -> Any:
    """`function` compiled to machine code at its first call; kept on disk unless no cache location is writable.

    Division by zero follows IEEE 754 (an infinity, no exception). The kernel releases the interpreter lock, so several
    threads may run it on parts of one batch: numba's own parallel loops abort the process when two Python threads
    enter them at once. `fastmath`: the LLVM flags allowed, none by default.
    """
    plain = inspect.unwrap(function)  # a run-time type checker's wrapper has no bytecode to compile
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(plain)
    except RuntimeError as error:
        # A read-only installation without a home folder: numba refuses to cache, which is no reason to refuse to run.
        if "no locator available" not in str(error):
            raise
        return njit(**options)(plain)


fused = partial(compiled, fastmath={"contract"})
"""As `compiled`, and a product followed by a sum may be one rounding."""

summed = partial(compiled, fastmath={"contract", "reassoc"})
"""As `fused`, and sums may be taken in another order: only for sums of non-negative terms."""
