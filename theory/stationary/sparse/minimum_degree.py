"""Minimum degree: the order of elimination for the parts of a graph that have no small separator.

The state with the fewest neighbours left is eliminated first, and its neighbours are joined to each other; so on until
those left are all joined (Tinney and Walker, *Proc. IEEE* 55, 1967). On random graphs of three to four jumps a state it
takes a quarter of the operations of level-set separators; no order makes large ones cheap.

The graph at hand is kept as bits, one row of 64-bit words per state: joining neighbours is a bitwise or, and degrees
are exact. That takes n²/8 bytes and is meant for parts of at most some thousand states.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from theory.compiled import compiled

_ONE = np.uint64(1)
_PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_BYTES, _SUM = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


@compiled
@no_type_check
def minimum_degree(indptr, indices, place, states):
    """Sorts states (a part of a graph) by minimum degree, in place. place[v] must be -1 for all v, and is so again."""
    n = len(states)
    bits = np.zeros((n, (n + 63) // 64), np.uint64)
    for k in range(n):
        place[states[k]] = k
    for k in range(n):
        v = states[k]
        for e in range(indptr[v], indptr[v + 1]):
            j = place[indices[e]]
            if j >= 0:
                bits[k, j >> 6] |= _ONE << np.uint64(j & 63)
    for k in range(n):
        place[states[k]] = -1
    degree = np.empty(n, np.int64)
    for k in range(n):
        degree[k] = _count(bits[k])
    result = np.empty_like(states)
    left = np.ones(n, np.bool_)
    for done in range(n):
        pivot = -1
        for k in range(n):
            if left[k] and (pivot < 0 or degree[k] < degree[pivot]):
                pivot = k
        if degree[pivot] == n - done - 1:  # the rest is joined already: its order is of no account
            result[done:] = states[left]
            break
        result[done], left[pivot] = states[pivot], False
        row = bits[pivot]
        for j in range(n):
            if left[j] and (row[j >> 6] >> np.uint64(j & 63)) & _ONE:
                joined = bits[j]
                for w in range(len(row)):
                    joined[w] |= row[w]
                joined[j >> 6] &= ~(_ONE << np.uint64(j & 63))
                joined[pivot >> 6] &= ~(_ONE << np.uint64(pivot & 63))
                degree[j] = _count(joined)
    states[:] = result


@compiled
@no_type_check
def _count(words):
    """The number of bits set, by sums within words (Warren, *Hacker's Delight*, 2013, § 5.1)."""
    total = 0
    for word in words:
        word -= (word >> np.uint64(1)) & _PAIRS
        word = (word & _NIBBLES) + ((word >> np.uint64(2)) & _NIBBLES)
        word = (word + (word >> np.uint64(4))) & _BYTES
        total += np.int64((word * _SUM) >> np.uint64(56))
    return total
