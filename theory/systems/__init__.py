"""Built-in systems: one file per system, found by name; the file's `system()` returns its `FastSlowSystem`.

Adding a system means adding a file: `list_systems` reads the names from the folder, so nothing has to be registered
and no module is imported until its system is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil

from theory.fast_slow import FastSlowSystem


def list_systems() -> list[str]:
    """The names that `get_system` takes, sorted; read from the file names, without importing them.

    Examples:
        >>> import theory
        >>> theory.list_systems()[:3]
        ['attention', 'attention_causal', 'birth_death']
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def get_system(name: str) -> FastSlowSystem:
    """The built-in system called `name`; raises `ValueError` listing the names there are.

    Examples:
        >>> import theory
        >>> system = theory.get_system("driven_cycle")
        >>> system.n_states, system.n_slow
        (5, 2)
    """
    if name not in list_systems():
        raise ValueError(f"unknown system {name!r}; the built-in ones are {', '.join(list_systems())}")
    return importlib.import_module(f"{__name__}.{name}").system()
