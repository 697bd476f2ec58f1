"""Where the training pairs of φ_θ come from: one source a file, found by name; its `observe` returns an `Observation`.

A file says of itself what its pairs are: `SAMPLED = True` if x are frequencies of sampled states (it then takes
`samples`, and φ_θ is fitted by their likelihood), `CONTINUOUS = True` if there is no token clock, hence no step and no
kernel; without these words it is neither.

Data never use p_st. What the theory predicts for them, `leading_term`, is a function of a system that may be another
than the one that made the data: that is how a wrong theory is held against right data.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from theory import FastSlowSystem


def _unchanged(p: Tensor) -> Tensor:
    return p


@dataclass(frozen=True)
class Observation:
    """Pairs at one ε, and what is needed to judge them.

    y[k, m], x[k, n]: slow states and what the fast variable was seen to be there (block mean, ODE state or
    frequencies).
    leading_term: system -> [k, n], the theory's leading term of x − p_st at these points.
    continuous_term: system -> [k, n], ε φ₁, the same in the continuous-time limit.
    rounding: system -> the TV that arithmetic alone (rounding, the integrator's tolerance) may add at these points.
    memory: () -> (why_not, layer), asked of test points alone, since eigenvalues are dear. why_not: why the start value
    is not forgotten at every point, or "" where it is (`settled`). layer: what is left of it, as a share of the leading
    term: e^{-Phλ} in a block.
    notes: what a reader should know (trajectories set aside, …). sampling_tv: expected TV of sampling, 0 if noise-free.
    mean[k, n]: what x would be without sampling noise; None where x has none.
    seen_as: what exact probability vectors [k, n] would be seen as here: themselves, or frequencies of samples.
    has_step: whether the step h of the token clock has a meaning for these pairs.
    next_order: system -> how large, relative to the leading term and in the mean over the points, what it leaves out
    may be; None where that is not known, and x̄ is then judged in size alone.

    Examples:
        >>> import theory
        >>> from verify.observe import get_observer
        >>> system = theory.get_system("two_state")
        >>> seen = get_observer("clock")(system, 64, step=0.1, kernel="exp", count=10, seed=0, device="cpu")
        >>> seen.y.shape, seen.x.shape
        (torch.Size([10, 1]), torch.Size([10, 2]))
    """

    y: Tensor
    x: Tensor
    leading_term: Callable[[FastSlowSystem], Tensor]
    continuous_term: Callable[[FastSlowSystem], Tensor]
    rounding: Callable[[FastSlowSystem], float]
    memory: Callable[[], tuple[str, float]]
    notes: list[str] = field(default_factory=list)
    sampling_tv: float = 0.0
    mean: Tensor | None = None
    seen_as: Callable[[Tensor], Tensor] = _unchanged
    has_step: bool = True
    next_order: Callable[[FastSlowSystem], float] | None = None

    @cached_property
    def _left(self) -> tuple[str, float]:
        return self.memory()

    @property
    def why_not(self) -> str:
        """Why the start value is not forgotten at every point, or an empty string."""
        return self._left[0]

    @property
    def settled(self) -> bool:
        """Whether the start value is forgotten at every point."""
        return not self.why_not

    @property
    def layer(self) -> float:
        """What is left of the start value, as a share of the leading term."""
        return self._left[1]


def list_observers() -> list[str]:
    """The names that `get_observer` takes, from the file names.

    Examples:
        >>> from verify.observe import list_observers
        >>> list_observers()
        ['clock', 'jumps', 'ode']
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_observer(name: str) -> Callable[..., Observation]:
    """observe(system, period, *, step, kernel, count, seed, device) of the source `name`; `ValueError` for no such.

    Examples:
        >>> from verify.observe import get_observer
        >>> callable(get_observer("clock"))
        True
    """
    return _source(name).observe


def is_sampled(name: str) -> bool:
    """Whether the pairs of the source `name` are frequencies of sampled states; errors as `get_observer`.

    Examples:
        >>> from verify.observe import is_sampled
        >>> is_sampled("clock"), is_sampled("jumps")
        (False, True)
    """
    return getattr(_source(name), "SAMPLED", False)


def is_continuous(name: str) -> bool:
    """Whether the source `name` has no token clock, hence no step and no kernel; errors as `get_observer`.

    Examples:
        >>> from verify.observe import is_continuous
        >>> is_continuous("clock"), is_continuous("ode")
        (False, True)
    """
    return getattr(_source(name), "CONTINUOUS", False)


def _source(name: str) -> ModuleType:
    if name not in list_observers():
        raise ValueError(f"unknown observation {name!r}; there are {', '.join(list_observers())}")
    return importlib.import_module(f"{__name__}.{name}")
