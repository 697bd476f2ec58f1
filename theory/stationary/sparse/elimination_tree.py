"""The elimination tree of a sparse graph and its fronts: who meets whom during elimination, known before any number.

States are eliminated in a given order. Eliminating a state joins all its later neighbours to each other (fill). The
parent of a state is the first of its later neighbours, fill included; the parents form the elimination tree (Schreiber,
*ACM Trans. Math. Softw.* 8, 1982; Liu, *SIAM J. Matrix Anal. Appl.* 11, 1990). The later neighbours of a state, less
the parent, are later neighbours of the parent: a state hands what its elimination leaves behind to its parent alone.

A supernode is a run of consecutive states with the same later neighbours. Its states are eliminated together in a dense
front: the supernode's own states first (the pivots), their later neighbours behind them.

Graphs are undirected, in compressed form (indptr[n + 1], indices) of int32, without loops. Below, a state stands for
its place in the order; order[k] is its number in the graph, and position the inverse of order.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np

from theory.compiled import compiled

SMALL = 8  # a supernode of at most so many states may store 60 % zeros, a larger one 20 %; the cost is flat around both
FILL_SMALL, FILL = 0.6, 0.2


class Fronts(NamedTuple):
    """The plan of an elimination in dense fronts.

    order[n]: the states in the order of elimination, every subtree of the tree without a gap.
    position[n]: the inverse of order.
    first[f + 1]: the pivots of front s are first[s] … first[s + 1] − 1.
    start[f + 1], states: front s holds states[start[s]:start[s + 1]], ascending, pivots first.
    parent[f]: the front that receives what front s leaves behind, -1 for the last one.
    stack, largest, entries: float64 numbers in the stacked fronts, states of the largest, entries of all pivot rows.
    """

    order: np.ndarray
    position: np.ndarray
    first: np.ndarray
    start: np.ndarray
    states: np.ndarray
    parent: np.ndarray
    stack: int
    largest: int
    entries: int


def plan_fronts(indptr: np.ndarray, indices: np.ndarray, order: np.ndarray) -> Fronts:
    """The fronts of an elimination in (a postorder of) `order`, int32[n]; time is about linear in the fill."""
    position = _inverse(order)
    parent = _tree(indptr, indices, order, position)
    post = _postorder(parent)
    order = order[post]
    parent = _relabel(parent, post)
    position = _inverse(order)
    count = _later_neighbours(indptr, indices, order, position, parent)
    first = _supernodes(parent, count)
    start, states, up = _fronts(indptr, indices, order, position, parent, count, first)
    return Fronts(order, position, first, start, states, up, *_storage(first, start, up))


def fill(indptr: np.ndarray, indices: np.ndarray, order: np.ndarray, limit: int) -> tuple[int, float, int]:
    """(entries of all rows, operations, largest row) of an elimination in `order`; lower bounds if entries > limit."""
    position = _inverse(order)
    parent = _tree(indptr, indices, order, position)
    return _fill(indptr, indices, order, position, parent, limit)


@compiled
@no_type_check
def _fill(indptr, indices, order, position, parent, limit):
    """As `_later_neighbours`, stopping early."""
    n = len(order)
    mark = np.full(n, -1, np.int32)
    count = np.zeros(n, np.int64)
    entries = 0
    for k in range(n):
        mark[k] = k
        v = order[k]
        for e in range(indptr[v], indptr[v + 1]):
            i = position[indices[e]]
            while i < k and mark[i] != k:
                mark[i] = k
                count[i] += 1
                entries += 1
                i = parent[i]
        if entries > limit:
            break
    operations = 0.0
    for k in range(n):
        operations += float(count[k]) * count[k]
    return entries, operations, np.max(count)


def _inverse(order: np.ndarray) -> np.ndarray:
    position = np.empty_like(order)
    position[order] = np.arange(len(order), dtype=order.dtype)
    return position


@compiled
@no_type_check
def _tree(indptr, indices, order, position):
    n = len(order)
    parent = np.full(n, -1, np.int32)
    ancestor = np.full(n, -1, np.int32)  # shortcuts towards the root: almost linear time
    for k in range(n):
        v = order[k]
        for e in range(indptr[v], indptr[v + 1]):
            i = position[indices[e]]
            while i != -1 and i < k:
                above = ancestor[i]
                ancestor[i] = k
                if above == -1:
                    parent[i] = k
                i = above
    return parent


@compiled
@no_type_check
def _postorder(parent):
    n = len(parent)
    child = np.full(n, -1, np.int32)
    sibling = np.full(n, -1, np.int32)
    for k in range(n - 1, -1, -1):
        if parent[k] != -1:
            sibling[k] = child[parent[k]]
            child[parent[k]] = k
    post = np.empty(n, np.int32)
    stack = np.empty(n, np.int32)
    done = 0
    for root in range(n):
        if parent[root] != -1:
            continue
        top = 0
        stack[0] = root
        while top >= 0:
            k = stack[top]
            if child[k] != -1:
                top += 1
                stack[top] = child[k]
                child[k] = sibling[child[k]]
            else:
                post[done] = k
                done += 1
                top -= 1
    return post


def _relabel(parent: np.ndarray, post: np.ndarray) -> np.ndarray:
    old = parent[post]
    return np.where(old >= 0, _inverse(post)[old], np.int32(-1)).astype(np.int32)


@compiled
@no_type_check
def _later_neighbours(indptr, indices, order, position, parent):
    """count[k]: k is a later neighbour of the states on the tree paths from its own earlier neighbours up to it."""
    n = len(order)
    mark = np.full(n, -1, np.int32)
    count = np.zeros(n, np.int32)
    for k in range(n):
        mark[k] = k
        v = order[k]
        for e in range(indptr[v], indptr[v + 1]):
            i = position[indices[e]]
            while i < k and mark[i] != k:
                mark[i] = k
                count[i] += 1
                i = parent[i]
    return count


@compiled
@no_type_check
def _supernodes(parent, count):
    """first[s], with n at the end. A child that ends where its parent begins joins it if that stores few zeros."""
    n = len(parent)
    first = np.empty(n + 1, np.int64)
    zeros = np.zeros(n, np.int64)
    s, begin = -1, 0
    while begin < n:
        end = begin + 1
        while end < n and parent[end - 1] == end and count[end - 1] == count[end] + 1:
            end += 1
        s += 1
        first[s], zeros[s] = begin, 0
        while s > 0 and parent[first[s] - 1] == first[s]:
            middle, pivots = first[s], end - first[s - 1]
            stored = pivots * (pivots + 1) // 2 + pivots * count[end - 1]
            missing = end - middle + count[end - 1] - count[middle - 1]
            together = zeros[s - 1] + zeros[s] + (middle - first[s - 1]) * missing
            if together > (FILL_SMALL if pivots <= SMALL else FILL) * stored:
                break
            s -= 1
            zeros[s] = together
        begin = end
    first[s + 1] = n
    return first[: s + 2].copy()


@compiled
@no_type_check
def _fronts(indptr, indices, order, position, parent, count, first):
    size, n = len(first) - 1, len(order)
    start = np.zeros(size + 1, np.int64)
    front_of = np.empty(n, np.int32)
    for s in range(size):
        start[s + 1] = start[s] + first[s + 1] - first[s] + count[first[s + 1] - 1]
        front_of[first[s] : first[s + 1]] = s
    states = np.empty(start[size], np.int32)
    up = np.full(size, -1, np.int32)
    mark = np.full(n, -1, np.int32)
    child = np.full(size, -1, np.int32)
    sibling = np.full(size, -1, np.int32)
    for s in range(size):
        head, end = start[s], first[s + 1]
        for k in range(first[s], end):
            states[head] = k
            head += 1
        behind = head
        for k in range(first[s], end):
            v = order[k]
            for e in range(indptr[v], indptr[v + 1]):
                i = position[indices[e]]
                if i >= end and mark[i] != s:
                    mark[i] = s
                    states[head] = i
                    head += 1
        c = child[s]
        while c != -1:
            for h in range(start[c] + first[c + 1] - first[c], start[c + 1]):
                i = states[h]
                if i >= end and mark[i] != s:
                    mark[i] = s
                    states[head] = i
                    head += 1
            c = sibling[c]
        states[behind:head].sort()
        if parent[end - 1] != -1:
            above = front_of[parent[end - 1]]
            up[s] = above
            sibling[s] = child[above]
            child[above] = s
    return start, states, up


@compiled
@no_type_check
def _storage(first, start, up):
    size = len(first) - 1
    waiting = np.zeros(size, np.int64)
    stack = peak = largest = entries = 0
    for s in range(size):
        pivots, m = first[s + 1] - first[s], start[s + 1] - start[s]
        largest = max(largest, m)
        peak = max(peak, stack + m * m)
        entries += pivots * m - pivots * (pivots + 1) // 2
        remainder = (m - pivots) ** 2
        stack += remainder - waiting[s]
        if up[s] != -1:
            waiting[up[s]] += remainder
    return peak, largest, entries
