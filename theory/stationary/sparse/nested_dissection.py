"""Nested dissection: an order of elimination that keeps a sparse graph sparse.

A separator is a set of states whose removal leaves parts without an edge between them. States of one part never meet
states of another before the separator is eliminated, so the separator comes last, and each part is ordered in the same
way (George, *SIAM J. Numer. Anal.* 10, 1973). On a lattice of n states in the plane the elimination then takes
O(n^{3/2}) operations and O(n log n) storage, against n² and n^{3/2} for a band.

No geometry is asked for: the separators are level sets of the graph distance from a peripheral state (George and Liu,
*SIAM J. Numer. Anal.* 15, 1978), since no edge joins a distance below l to one above l. Those of its states that touch
one side only are given to that side. A part without a small level set (an expander) is left to minimum degree, or, if
too large for that, goes by rising degree.

Graphs are undirected, in compressed form (indptr[n + 1], indices) of int32, without loops.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from theory.compiled import compiled
from theory.stationary.sparse.minimum_degree import minimum_degree

LEAF = 8  # a part of so few states is not dissected; the cost is flat between 4 and 12
LOPSIDED = 0.02  # a cut that leaves less than this share on one side is no cut
WIDE = 0.15  # a level with more than this share of a part is no small separator
LARGE = 8192  # minimum degree would take 10 MB and a second here
HUB = 10.0  # a state with more than HUB √n neighbours comes last: it would shorten every distance


@compiled
@no_type_check
def adjacency(columns, col_index, rows, row_index):
    """The undirected graph of a matrix given by columns and by rows, both sorted: (indptr[n + 1], indices)."""
    n = len(columns) - 1
    indptr = np.empty(n + 1, np.int32)
    indices = np.empty(len(col_index) + len(row_index), np.int32)
    head = 0
    for v in range(n):
        indptr[v] = head
        a, b = columns[v], rows[v]
        while a < columns[v + 1] or b < rows[v + 1]:
            if b == rows[v + 1] or (a < columns[v + 1] and col_index[a] <= row_index[b]):
                w = col_index[a]
                if b < rows[v + 1] and row_index[b] == w:
                    b += 1
                a += 1
            else:
                w = row_index[b]
                b += 1
            indices[head] = w
            head += 1
    indptr[n] = head
    return indptr, indices[:head].copy()


@compiled
@no_type_check
def nested_dissection(indptr, indices):
    """order[k] = the state to be eliminated k-th: int32[n]; a separator stands behind all parts that it separates."""
    n = len(indptr) - 1
    order, part = _without_hubs(indptr)  # part[v]: the part that v is in, -1 once its place is final
    level = np.empty(n, np.int32)
    queue = np.empty(n, np.int32)
    seen = np.zeros(n, np.int32)
    place = np.full(n, -1, np.int32)
    first, last = [0], [np.count_nonzero(part == 0)]
    parts, sweep = 1, 0
    while len(first) > 0:
        lo, hi = first.pop(), last.pop()
        size = hi - lo
        if size <= LEAF:
            continue
        label, root, depth = part[order[lo]], order[lo], -1
        while True:  # towards a peripheral state: start again from the far end until the distance grows no more
            sweep += 1
            reached = _distances(indptr, indices, root, part, level, seen, sweep, queue, 0)
            far = queue[reached - 1]
            if reached < size or level[far] <= depth:
                break
            root, depth = far, level[far]
        if reached < size:
            first.append(lo)
            last.append(lo + reached)
            for k in range(lo, hi):
                v = order[k]
                if seen[v] != sweep:
                    start = reached
                    reached = _distances(indptr, indices, v, part, level, seen, sweep, queue, start)
                    for q in range(start, reached):
                        part[queue[q]] = parts
                    parts += 1
                    first.append(lo + start)
                    last.append(lo + reached)
            order[lo:hi] = queue[:size]
            continue
        cut, width = _best_level(level, queue, size)
        if size <= LARGE and (cut < 0 or width > WIDE * size):
            minimum_degree(indptr, indices, place, order[lo:hi])
            continue
        if cut < 0:
            _by_degree(indptr, order[lo:hi])
            continue
        left, right = _separate(indptr, indices, part, label, level, cut, queue, size, order[lo:hi])
        for k in range(lo + left, lo + left + right):
            part[order[k]] = parts
        for k in range(lo + left + right, hi):
            part[order[k]] = -1
        parts += 1
        first.append(lo)
        last.append(lo + left)
        first.append(lo + left)
        last.append(lo + left + right)
    return order


@compiled
@no_type_check
def _without_hubs(indptr):
    n = len(indptr) - 1
    order = np.arange(n).astype(np.int32)
    part = np.zeros(n, np.int32)
    head = 0
    for hub in (False, True):
        for v in range(n):
            if (indptr[v + 1] - indptr[v] > 16 + HUB * np.sqrt(n)) == hub:
                order[head] = v
                part[v] = -1 if hub else 0
                head += 1
    return order, part


@compiled
@no_type_check
def _distances(indptr, indices, root, part, level, seen, sweep, queue, start):
    """Breadth first over the part of root: fills level and queue[start:stop], and returns stop."""
    label = part[root]
    queue[start], level[root], seen[root] = root, 0, sweep
    head, stop = start, start + 1
    while head < stop:
        v = queue[head]
        head += 1
        for e in range(indptr[v], indptr[v + 1]):
            w = indices[e]
            if part[w] == label and seen[w] != sweep:
                level[w], seen[w] = level[v] + 1, sweep
                queue[stop] = w
                stop += 1
    return stop


@compiled
@no_type_check
def _best_level(level, queue, size):
    """The level with the fewest states for the share that it cuts off, or -1, and how many states it has."""
    best, cut, width, start = np.inf, -1, 0, 0
    while start < size:
        ell, stop = level[queue[start]], start
        while stop < size and level[queue[stop]] == ell:
            stop += 1
        smaller = min(start, size - stop)
        if smaller > LOPSIDED * size and (stop - start) / smaller < best:
            best, cut, width = (stop - start) / smaller, ell, stop - start
        start = stop
    return cut, width


@compiled
@no_type_check
def _separate(indptr, indices, part, label, level, cut, queue, size, order):
    """Writes the near side, the far side and the separator into order; returns the sizes of both sides."""
    near = np.empty(size, np.bool_)
    left = right = 0
    for k in range(size):
        v = queue[k]
        near[k] = level[v] <= cut
        if level[v] == cut:
            for e in range(indptr[v], indptr[v + 1]):
                w = indices[e]
                if part[w] == label and level[w] == cut + 1:
                    near[k] = False
                    break
        left += near[k]
        right += level[v] > cut
    a, b, c = 0, left, left + right
    for k in range(size):
        v = queue[k]
        if near[k]:
            order[a] = v
            a += 1
        elif level[v] > cut:
            order[b] = v
            b += 1
        else:
            order[c] = v
            c += 1
    return left, right


@compiled
@no_type_check
def _by_degree(indptr, order):
    degree = np.empty(len(order), np.int32)
    for k in range(len(order)):
        degree[k] = indptr[order[k] + 1] - indptr[order[k]]
    order[:] = order[np.argsort(degree, kind="mergesort")]
