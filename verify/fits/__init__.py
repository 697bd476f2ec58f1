"""How φ_θ is trained on pairs (y, x): one method a file, found by name; the file's `fit` returns a `Fit`.

A fit sees y and x alone. How far it stays from what it was given, the optimiser's floor, is measured by the headline on
exact pairs (y, p_st(y)), so that a gap of the optimiser is never read as one of the theory.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from network import PhiTheta


@dataclass(frozen=True)
class Fit:
    """A trained φ_θ, whether its optimiser converged, and one sentence on how it got there."""

    phi_theta: PhiTheta
    converged: bool
    note: str


def list_fits() -> list[str]:
    """The names of the fits for noise-free pairs, from the file names."""
    helpers = {"features", "multinomial"}
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in helpers)


def get_fit(name: str) -> Callable[..., Fit]:
    """fit(y[k, m], x[k, n], *, seed, device) of the method `name`; `ValueError` listing the names there are."""
    if name not in list_fits():
        raise ValueError(f"unknown fit {name!r}; there are {', '.join(list_fits())}")
    return importlib.import_module(f"{__name__}.{name}").fit
