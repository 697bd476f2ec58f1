"""The exceptions of the package and the ways a computation can end.

Bad input raises an error derived from `ValueError`, a numerical failure one derived from `RuntimeError`. A trajectory
that ends early is not an exception by itself: its `Status` says how it ended, and `throw=True` turns a bad one into a
`SimulationError` that still carries the partial result.
"""

from __future__ import annotations

import enum
from typing import Any


class GeneratorError(ValueError):
    """The matrix is not the generator of a continuous-time Markov chain; the message says where and what to do."""


class NotUniqueError(GeneratorError):
    """The generator has two or more recurrent classes, hence a whole simplex of stationary distributions."""

    def __init__(self, message: str, classes: list[list[int]]) -> None:
        super().__init__(message)
        self.classes = classes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.classes)  # what travels between processes


class FastSlowSystemError(ValueError):
    """A user's fast-slow system returned something of the wrong shape, dtype or device; the message names A or g and
    y."""


class NumericalError(RuntimeError):
    """A computation could not reach a result that can be trusted."""


class Status(enum.Enum):
    """How a trajectory ended.

    Examples:
        >>> import theory
        >>> theory.Status.LEFT_DOMAIN is theory.Status.SUCCESS
        False
    """

    SUCCESS = "reached the end of the time span"
    MAX_STEPS = "the step limit was reached: raise max_steps, loosen rtol, or take a stiff method"
    TIME_LIMIT = "the wall-clock limit was reached: raise time_limit, loosen rtol, or take a stiff method"
    NOT_FINITE = "the right-hand side or the state became NaN or infinite: check A(y) and g(x, y) near the last good y"
    STEP_TOO_SMALL = "the step fell below what the dtype can resolve: A(y) or g(x, y) is probably discontinuous there"
    LEFT_DOMAIN = "y left the system's stated box [low, high]: enlarge the box or shorten the time span"
    EVENT = "event(x, y) passed through zero"
    MASS_DRIFT = "the fast state left the probability simplex beyond tolerance: tighten rtol and atol"


class SimulationError(NumericalError):
    """A trajectory that did not succeed; `result` holds what was computed until then."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.result)
