"""Measurements of the paper's claims.

Nothing is imported here: `python -m verify.manifold_gap --help` must answer at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.trained.identity.system import as_system

__all__ = ["as_system"]


def lazy_exports(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names are imported at first use.

    home: the module of each name. Raises `AttributeError` that lists the names there are.
    """

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it exports {', '.join(sorted(home))}")
        return getattr(importlib.import_module(home[name]), name)

    return get, lambda: sorted(home)


__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(__name__, {"as_system": "verify.trained.identity.system"})
