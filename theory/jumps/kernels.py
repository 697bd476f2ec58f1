"""The inner loop of the jump process, in numba: one exponential, one destination, and their sums, per jump.

A path in state s waits Exp(1)/q_s, q_s = |A_ss|, and then jumps to i with probability A_is / q_s (the direct method of
Gillespie, *J. Comput. Phys.* 22 (1976) 403). Both draws take constant time whatever n:

- the destination by the alias method (Walker 1977; the tables by Vose, *IEEE Trans. Softw. Eng.* 17 (1991) 972): a
  uniform column k, and then either k or its alias;
- the exponential by a ziggurat of 256 layers of equal area (Marsaglia & Tsang, *J. Stat. Softw.* 5 (2000) no. 8).

Random bits are xoshiro256++ (Blackman & Vigna, *ACM Trans. Math. Softw.* 47 (2021) 36), one stream of 256 bits of state
per path. A stream belongs to its path and to nothing else, so neither the number of threads nor the size of a buffer
can change a result. Unsigned integers throughout: in numba a signed one mixed with them would turn into a float, and a
signed index would pay for a test of its sign.

The kernels carry `no_type_check` because a run-time type checker would hand numba a wrapper that it cannot compile.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from theory.compiled import compiled

_U = np.uint64
_TO_UNIT = 2.0**-53


def _ziggurat() -> tuple[np.ndarray, np.ndarray]:
    """Widths x_0 … x_256 of the layers under e^{−x}, and e^{−x}; the layers close at the top (a test checks it)."""
    tail_start = 7.69711747013104972
    area = (tail_start + 1.0) * math.exp(-tail_start)
    x = np.zeros(257)
    x[0], x[1] = area * math.exp(tail_start), tail_start
    for i in range(1, 255):
        x[i + 1] = -math.log(math.exp(-x[i]) + area / x[i])
    return x, np.exp(-x)


_WIDTH, _HEIGHT = _ziggurat()


@compiled
@no_type_check
def _next(a, b, c, d):
    """One step of xoshiro256++: 64 random bits and the next state."""
    mixed = a + d
    bits = ((mixed << _U(23)) | (mixed >> _U(41))) + a
    shifted = b << _U(17)
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = (d << _U(45)) | (d >> _U(19))
    return bits, a, b, c, d


@compiled
@no_type_check
def _unit(bits):
    """A uniform number in the open interval (0, 1) from the upper 53 bits."""
    return (np.float64(bits >> _U(11)) + 0.5) * _TO_UNIT


@compiled
@no_type_check
def _exponential(a, b, c, d):
    """A standard exponential, never zero, and the next state; the layer comes from bits that the position leaves."""
    while True:
        bits, a, b, c, d = _next(a, b, c, d)
        layer = bits & _U(255)
        value = _unit(bits) * _WIDTH[layer]
        if value < _WIDTH[layer + _U(1)]:
            return value, a, b, c, d
        bits, a, b, c, d = _next(a, b, c, d)
        if layer == _U(0):
            return _WIDTH[1] - math.log(_unit(bits)), a, b, c, d
        low, high = _HEIGHT[layer], _HEIGHT[layer + _U(1)]
        if low + _unit(bits) * (high - low) < math.exp(-value):
            return value, a, b, c, d


@compiled
@no_type_check
def _choose(accept, alias, state, a, b, c, d):
    """The next state drawn from the alias table of `state`, and the next state of the random stream."""
    bits, a, b, c, d = _next(a, b, c, d)
    place = np.float64(bits >> _U(11)) * _TO_UNIT * accept.shape[1]
    column = _U(np.int64(place))
    chosen = alias[state, column]
    if place - column < accept[state, column]:
        chosen = column
    return chosen, a, b, c, d


@compiled
@no_type_check
def _jump(accept, alias, start, target, state, a, b, c, d):
    """As `_choose`, from tables of whole rows [n, n] or from lists [entries]: row j is start[j] … start[j + 1] − 1."""
    if accept.ndim == 2:
        return _choose(accept, alias, state, a, b, c, d)
    bits, a, b, c, d = _next(a, b, c, d)
    first = np.int64(start[state])
    place = np.float64(bits >> _U(11)) * _TO_UNIT * (np.int64(start[state + _U(1)]) - first)
    column = np.int64(place)
    chosen = target[first + column] if place - column < accept[first + column] else alias[first + column]
    return _U(chosen), a, b, c, d


@compiled
@no_type_check
def _fill_row(weights, accept, alias, share, small, large):
    """Vose's table of one row of weights >= 0 that are not all 0; share, small, large [>= n] are room to work in."""
    n = len(weights)
    # By the largest first: the plain sum of rates near the top of the floating-point range is infinite.
    largest = weights.max()
    scale = n / (weights / largest).sum()
    n_small, n_large = 0, 0
    for i in range(n):
        accept[i] = 1.0
        alias[i] = i
        share[i] = weights[i] / largest * scale
        if share[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        giver, taker = large[n_large - 1], small[n_small]
        accept[taker] = share[taker]
        alias[taker] = giver
        share[giver] = (share[giver] + share[taker]) - 1.0
        if share[giver] < 1.0:
            n_large -= 1
            small[n_small] = giver
            n_small += 1
    # Rounding can leave a few small columns; one without weight must still never be drawn.
    heaviest = weights.argmax()
    for k in range(n_small):
        if weights[small[k]] == 0.0:
            accept[small[k]] = 0.0
            alias[small[k]] = heaviest


@compiled
@no_type_check
def alias_tables(weights, accept, alias):
    """Fill accept[G, r, n] and alias[G, r, n] for drawing i with probability ∝ weights[G, j, i] in row j.

    In a generator's tables the row is the state left; one without weights keeps itself as its only destination.
    """
    groups, rows, n = weights.shape
    share, small, large = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    for g in range(groups):
        for j in range(rows):
            if weights[g, j].max() > 0.0:
                _fill_row(weights[g, j], accept[g, j], alias[g, j], share, small, large)
            else:
                accept[g, j] = 0.0
                alias[g, j] = j


@compiled
@no_type_check
def alias_lists(weights, start, target, accept, alias):
    """Fill accept and alias [entries] for drawing target[k] with probability ∝ weights[k] > 0 among the k of row j.

    Row j holds the entries start[j] … start[j + 1] − 1, none where the state is never left. alias holds states.
    """
    longest = np.int64(0)
    for j in range(len(start) - 1):
        longest = max(longest, np.int64(start[j + 1] - start[j]))
    share, small, large = np.empty(longest), np.empty(longest, np.int64), np.empty(longest, np.int64)
    for j in range(len(start) - 1):
        first, end = start[j], start[j + 1]
        if first == end:
            continue
        _fill_row(weights[first:end], accept[first:end], alias[first:end], share, small, large)
        for k in range(first, end):
            alias[k] = target[first + alias[k]]


@compiled
@no_type_check
def advance(first, last, horizon, most, record, table, tables, rng, now, state, jumps, occupation, times, states):
    """Carry the paths first … last − 1 on to `horizon`, or until each has made `most` jumps; all arrays in place.

    table[B] picks a path's generator in tables = (dwell, accept, alias, start, target), see `theory.jumps.tables`.
    rng[B, 4], now[B], state[B], jumps[B], occupation[B, n] (time spent) are the path's whole state, so a call that ran
    out of room is resumed by another. With `record`, jump k goes to times[B, k] and states[B, k].
    """
    dwell, accept, alias, start, target = tables
    for path in range(first, last):
        if now[path] >= horizon:
            continue
        mean, accepts, aliases = dwell[table[path]], accept[table[path]], alias[table[path]]
        a, b, c, d = rng[path, 0], rng[path, 1], rng[path, 2], rng[path, 3]
        s, clock, count = _U(state[path]), now[path], jumps[path]
        spent = occupation[path]
        while count < most:
            waiting, a, b, c, d = _exponential(a, b, c, d)
            waiting *= mean[s]
            if clock + waiting >= horizon:
                spent[s] += horizon - clock
                clock = horizon
                break
            clock += waiting
            spent[s] += waiting
            s, a, b, c, d = _jump(accepts, aliases, start, target, s, a, b, c, d)
            count += 1
            if record:
                times[path, count] = clock
                states[path, count] = s
        rng[path, 0], rng[path, 1], rng[path, 2], rng[path, 3] = a, b, c, d
        state[path], now[path], jumps[path] = s, clock, count


@compiled
@no_type_check
def fill(times, states, jumps, horizon, state):
    """Fill times[B, k] and states[B, k] beyond each path's last jump with the horizon and its last state."""
    for path in range(len(jumps)):
        times[path, jumps[path] + 1 :] = horizon
        states[path, jumps[path] + 1 :] = state[path]


@compiled
@no_type_check
def count_tokens(first, last, chains, steps, begin, begin_alias, accept, alias, rng, counts):
    """For k in first … last − 1, let `chains` chains make `steps` steps each of kernel k, and count the states.

    counts[N, n] gains the states. begin, begin_alias [N, n] hold the law of the state before the first step, accept and
    alias [N, n, n] the kernels; rng[N, 4] is carried on in place.
    """
    for k in range(first, last):
        accepts, aliases, seen = accept[k], alias[k], counts[k]
        a, b, c, d = rng[k, 0], rng[k, 1], rng[k, 2], rng[k, 3]
        for _ in range(chains):
            s, a, b, c, d = _choose(begin, begin_alias, _U(k), a, b, c, d)
            for _ in range(steps):
                s, a, b, c, d = _choose(accepts, aliases, s, a, b, c, d)
                seen[s] += 1
        rng[k, 0], rng[k, 1], rng[k, 2], rng[k, 3] = a, b, c, d
