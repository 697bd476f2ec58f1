"""The loop that draws a text, token by token, compiled: a million tokens take some hundredths of a second."""

from __future__ import annotations

from typing import Any

from theory.compiled import compiled


@compiled
def walk(cumulative: Any, regime: Any, uniform: Any, state: Any, tokens: Any) -> None:
    """Fill tokens[T] with the states of a chain that draws its next one from cumulative[regime[t], state, :].

    cumulative[r, j, :]: cumulative probabilities of the state after j, the last one 1. uniform[T] in [0, 1).
    """
    for t in range(len(tokens)):
        row = cumulative[regime[t], state]
        state = 0
        while row[state] <= uniform[t]:
            state += 1
        tokens[t] = state
