"""How this package's numba kernels are compiled: cached on disk where that is possible, without the interpreter lock.

A module of kernels is imported when one of them is first needed, so that `import theory` does not pay for numba.
Compiling takes seconds to a minute; the first time in a process that it happens, one line on stderr says so, and where
the result is kept.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit
from numba.core import event
from numba.extending import register_jitable


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


class _Notice(event.Listener):
    """Says once that kernels of this package are being compiled, and not read from their cache."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        kernel = event.data.get("dispatcher")
        if self.said or not str(getattr(kernel, "__module__", "")).startswith("theory."):
            return
        self.said = True
        path = getattr(kernel._cache, "cache_path", None)
        kept = f"kept in {path}" if path else "not kept: no folder for the cache can be written, set NUMBA_CACHE_DIR"
        sys.stderr.write(f"theory: compiling numerical kernels, up to a minute, once ({kept})\n")

    def on_end(self, event: Any) -> None:
        """Nothing to do."""


NOTICE = _Notice()
event.register("numba:compile", NOTICE)

fused: partial[Any] = partial(compiled, fastmath={"contract"})
"""As `compiled`, and a product followed by a sum may be one rounding."""

summed: partial[Any] = partial(compiled, fastmath={"contract", "reassoc"})
"""As `fused`, and sums may be taken in another order: only for sums of non-negative terms."""

_INTEGRATION = frozenset({"contract", "reassoc", "nsz", "arcp"})

kernel: partial[Any] = partial(compiled, fastmath=set(_INTEGRATION))
"""For integrations: NaN and infinity must survive to be reported, so the two flags that assume them away are left
out."""


def inner(function: Callable[..., Any]) -> Any:
    """A part of kernels as `kernel` makes them.

    For Python it is the function as it is written. It allocates no arrays (then it counts no references) and has no
    entry from Python: both together halve what it takes to compile. Assign entries, not slices: NumPy's rules for a
    slice take a second each.
    """
    return register_jitable(nogil=True, error_model="numpy", fastmath=set(_INTEGRATION), _nrt=False)(
        inspect.unwrap(function)
    )
