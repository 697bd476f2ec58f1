"""How φ_θ is trained on pairs (y, x): one method a file, found by name; the file's `fit` returns a `Fit`.

A fit sees y and x alone. How far it stays from what it was given, the optimiser's floor, is measured by the headline on
exact pairs (y, p_st(y)), so that a gap of the optimiser is never read as one of the theory. A file whose fit is biased
by sampling noise says so: `NOISE_FREE_ONLY = True`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """A trained φ_θ (a function y[..., m] -> x[..., n]), whether its optimiser converged, and how it got there.

    Examples:
        >>> from verify.fits import Fit
        >>> Fit(lambda y: y, True, "given").converged
        True
    """

    phi_theta: Callable[[Tensor], Tensor]
    converged: bool
    note: str

    def gap_error(self, y: Tensor, p: Tensor) -> float:
        """The standard error, from sampled training data, of the mean TV(φ_θ(y[k, m]), p[k, n]); 0 if noise-free."""
        return 0.0


def list_fits() -> list[str]:
    """The names that `get_fit` takes, from the file names.

    Examples:
        >>> from verify.fits import list_fits
        >>> "varpro" in list_fits()
        True
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "features")


def get_fit(name: str) -> Callable[..., Fit]:
    """fit(y[k, m], x[k, n], *, seed, device) of the method `name`; `ValueError` listing the names there are.

    It trains under `torch.no_grad` and `torch.inference_mode` as well.

    Examples:
        >>> import theory
        >>> from verify.fits import get_fit
        >>> system = theory.get_system("two_state")
        >>> y = system.uniform(1000, seed=0)
        >>> p = theory.stationary_distribution(system.A(y))
        >>> fit = get_fit("varpro")(y, p, seed=0, device="cpu")
        >>> bool(theory.total_variation(fit.phi_theta(y), p).max() < 1e-6)
        True
    """
    method = _method(name).fit

    def trained(y: Tensor, x: Tensor, **options: Any) -> Fit:
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            # Values alone; inference tensors are none that a backward pass could save.
            pair = (v.clone() if v.is_inference() else v.detach() for v in (y, x))
            return method(*pair, **options)

    return trained


def takes_samples(name: str) -> bool:
    """Whether the method `name` may be given frequencies of sampled states; errors as `get_fit`.

    Examples:
        >>> from verify.fits import takes_samples
        >>> takes_samples("multinomial"), takes_samples("varpro")
        (True, False)
    """
    return not getattr(_method(name), "NOISE_FREE_ONLY", False)


def _method(name: str) -> ModuleType:
    if name not in list_fits():
        raise ValueError(f"unknown fit {name!r}; there are {', '.join(list_fits())}")
    return importlib.import_module(f"{__name__}.{name}")
