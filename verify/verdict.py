"""The words that a measurement may end in, and what each means for the exit code of a command."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Verdict(enum.StrEnum):
    """How a structural measurement ends: with an interval that agrees, with one that does not, or without one."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    INCONCLUSIVE = "INCONCLUSIVE"


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """1 if any is VIOLATED, else 3 if any is INCONCLUSIVE, else 0."""
    found = set(verdicts)
    if Verdict.VIOLATED in found:
        return 1
    return 3 if Verdict.INCONCLUSIVE in found else 0
