"""The words that a measurement may end in, one vocabulary for each kind of claim, and what they mean for exit codes.

A claim's tag decides which vocabulary its outcome is typed with: an exact claim cannot say INCONCLUSIVE, and a
heuristic or empirical one has no word HOLDS to say.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class ExactVerdict(enum.StrEnum):
    """How an exact check ends: within rounding, or not."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"


class Verdict(enum.StrEnum):
    """How a structural measurement ends: with an interval that agrees, with one that does not, or without one."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    INCONCLUSIVE = "INCONCLUSIVE"


class EmpiricalVerdict(enum.StrEnum):
    """How a heuristic or empirical comparison ends; evidence for a sentence is never its proof."""

    CONSISTENT = "CONSISTENT"
    INCONSISTENT = "INCONSISTENT"
    INCONCLUSIVE = "INCONCLUSIVE"


class GapVerdict(enum.StrEnum):
    """How the measurement of a departure from theory ends: its size is the result."""

    MEASURED = "MEASURED"


NOT_RUN = "NOT_RUN"  # the profile does not train what the check needs: no verdict, and no failure
ERROR = "ERROR"  # the check raised: no verdict of any vocabulary


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """1 if any is VIOLATED, else 3 if any is INCONCLUSIVE, else 0."""
    found = set(verdicts)
    if Verdict.VIOLATED in found:
        return 1
    return 3 if Verdict.INCONCLUSIVE in found else 0
