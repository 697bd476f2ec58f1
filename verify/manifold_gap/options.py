"""What `verify.manifold_gap` may be asked: systems, periods, and the options that go together."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory import FastSlowSystem

DEFAULT_PERIODS = tuple(2**k for k in range(1, 17))
LARGEST_PERIOD = 2**53
KERNELS = ("exp", "euler")
EXACT_FIT, SAMPLES_FIT = "varpro", "multinomial"  # what is taken where no fit is named


def checked_system(system: Any, name: str) -> FastSlowSystem:
    """The system itself, or the built-in one of that name; `ValueError` for anything else. `name`: of the argument."""
    from theory import FastSlowSystem, get_system

    if isinstance(system, str):
        return get_system(system)
    if not isinstance(system, FastSlowSystem):
        raise ValueError(f"{name} must be a FastSlowSystem or the name of one, got {type(system).__name__}")
    return system


def check_options(observe: str, fit: str | None, step: Any, kernel: str, samples: Any) -> None:
    """`ValueError` for options that do not go together, on whatever system."""
    from verify.fits import takes_samples
    from verify.observe import is_continuous, is_sampled, list_observers

    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; there are {', '.join(KERNELS)}")
    if is_continuous(observe) and not (step is None and kernel == "exp"):
        raise ValueError(f"step and kernel are the token clock's; observe {observe!r} has neither: leave them away")
    if samples is not None and not is_sampled(observe):
        sampled = ", ".join(filter(is_sampled, list_observers()))
        raise ValueError(f"samples is for sampled states (observe {sampled}); observe is {observe!r}")
    if fit is not None and is_sampled(observe) and not takes_samples(fit):
        raise ValueError(f"fit {fit} takes logarithms, which are biased for sampled states: take fit {SAMPLES_FIT}")


def listed(periods: Any) -> list[Any]:
    """The periods as a list; `ValueError` where there is none."""
    try:
        return list(periods)
    except TypeError:
        raise ValueError(f"periods must be a list of integers >= 1, got {periods!r}") from None


def clean_periods(periods: list[Any]) -> list[int]:
    """The periods as integers, sorted and each once; `ValueError` for one outside 1 … 2^53, or for none at all."""
    for period in periods:
        if not _is_positive_integer(period):
            raise ValueError(f"periods must be integers >= 1, got {period!r}")
        if period > LARGEST_PERIOD:
            raise ValueError(f"periods must be at most 2^53, where 1/P still resolves them; got {period!r}")
    if not periods:
        raise ValueError("periods is empty")
    return sorted({int(period) for period in periods})


def _is_positive_integer(value: Any) -> bool:
    try:
        number = value if isinstance(value, float) else operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool) and 1 <= number < math.inf and number == math.floor(number)


def takes_period(phi: Callable[..., Any]) -> bool:
    """Whether phi gives the φ_θ of one period, as phi(period=P), rather than being one."""
    try:
        return "period" in inspect.signature(phi).parameters
    except (TypeError, ValueError):
        return False  # a builtin without a signature takes y alone
