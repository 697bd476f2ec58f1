"""Packages that the benchmarks race against and the toolkit does not need: imported when used, named when missing.

    .venv/bin/python -m pip install --constraint constraints.txt --editable '.[bench]'

brings them all.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def found(module: str) -> ModuleType | None:
    """The module, or None with one line on stderr that names what is left out."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(f"{module} is left out ({error}): it comes with the extra `bench`", file=sys.stderr)
        return None
