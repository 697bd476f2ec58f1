"""Nested dissection and the fronts against elimination carried out on sets, state by state."""

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from theory.stationary.sparse.elimination_tree import plan_fronts
from theory.stationary.sparse.minimum_degree import minimum_degree
from theory.stationary.sparse.nested_dissection import LEAF, adjacency, nested_dissection


def compressed(graph):
    """(indptr, indices) of a networkx graph, through the two sorted directed halves that `adjacency` joins."""
    half = sp.csr_array(sp.triu(networkx.to_scipy_sparse_array(graph, dtype=float), 1))
    half.sort_indices()
    other = half.T.tocsr()
    other.sort_indices()
    return adjacency(half.indptr, half.indices, other.indptr, other.indices)


def later_neighbours(graph, order):
    """What each state meets when it is eliminated, by joining neighbours as the definition says."""
    left = {v: set(graph[v]) for v in graph}
    met = []
    for v in order:
        met.append(left.pop(v))
        for w in met[-1]:
            left[w] |= met[-1] - {w}
            left[w].discard(v)
    return met


@st.composite
def graphs(draw):
    kind = draw(st.sampled_from(["random", "tree", "lattice", "star", "parts", "complete", "edgeless"]))
    n, seed = draw(st.integers(1, 60)), draw(st.integers(0, 10**6))
    graph = {
        "random": lambda: networkx.gnm_random_graph(n, 2 * n, seed),
        "tree": lambda: networkx.random_labeled_tree(n, seed=seed),
        "lattice": lambda: networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(n % 9 + 2, 7)),
        "star": lambda: networkx.star_graph(n),
        "parts": lambda: networkx.gnm_random_graph(n, n // 2, seed),
        "complete": lambda: networkx.complete_graph(min(n, 30)),
        "edgeless": lambda: networkx.empty_graph(n),
    }[kind]()
    return graph


@given(graphs())
def test_adjacency_is_the_graph(graph):
    indptr, indices = compressed(graph)
    for v in graph:
        assert indices[indptr[v] : indptr[v + 1]].tolist() == sorted(graph[v])


@given(graphs())
def test_fronts_hold_exactly_what_elimination_meets(graph):
    indptr, indices = compressed(graph)
    order = nested_dissection(indptr, indices)
    assert sorted(order) == list(range(len(graph)))
    plan = plan_fronts(indptr, indices, order)
    np.testing.assert_array_equal(plan.order[plan.position], np.arange(len(graph)))
    met = later_neighbours(graph, plan.order.tolist())
    before = later_neighbours(graph, order.tolist())
    assert sum(map(len, met)) == sum(map(len, before))  # a postorder adds no fill
    entries = 0
    for s in range(len(plan.parent)):
        front = plan.states[plan.start[s] : plan.start[s + 1]]
        pivots = range(plan.first[s], plan.first[s + 1])
        assert front[: len(pivots)].tolist() == list(pivots)
        assert (np.diff(front) > 0).all()
        needed = set().union(*(met[k] for k in pivots))
        assert {int(plan.position[v]) for v in needed} | set(pivots) == set(front.tolist())
        behind = front[len(pivots) :]
        if len(behind):
            parent = plan.states[plan.start[plan.parent[s]] : plan.start[plan.parent[s] + 1]]
            assert plan.parent[s] > s and set(behind.tolist()) <= set(parent.tolist())
        else:
            assert plan.parent[s] == -1
        entries += sum(len(front) - a - 1 for a in range(len(pivots)))
    assert entries == plan.entries
    assert plan.largest == np.diff(plan.start).max()


@pytest.mark.parametrize("shape", [(100, 100), (20, 500)])
def test_fill_on_a_lattice_is_that_of_nested_dissection(shape):
    # George 1973: (31/4) n log2 n entries to leading order, for his cross-shaped separators on a square
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(*shape))
    indptr, indices = compressed(graph)
    plan = plan_fronts(indptr, indices, nested_dissection(indptr, indices))
    n = len(graph)
    assert plan.entries < 31 / 4 * n * np.log2(n)
    assert plan.largest < 5 * min(shape)


def test_graphs_that_invite_a_long_recursion_end_soon():
    # a path, a star and a caterpillar of 50 000 states: linear time, or this would not end within the time limit
    n = 50_000
    caterpillar = networkx.path_graph(n // 2)
    caterpillar.add_edges_from((v, n // 2 + v) for v in range(n // 2))
    for graph in (networkx.path_graph(n), networkx.star_graph(n), caterpillar):
        indptr, indices = compressed(graph)
        plan = plan_fronts(indptr, indices, nested_dissection(indptr, indices))
        assert plan.largest < 4 * LEAF
        assert plan.entries < 40 * n


@given(graphs())
def test_minimum_degree_takes_a_state_with_the_fewest_neighbours_left(graph):
    indptr, indices = compressed(graph)
    place = np.full(len(graph), -1, np.int32)
    order = np.arange(len(graph), dtype=np.int32)
    minimum_degree(indptr, indices, place, order)
    assert (place == -1).all()
    left = {v: set(graph[v]) for v in graph}
    for v in order.tolist():
        assert len(left[v]) == min(map(len, left.values()))
        met = left.pop(v)
        for w in met:
            left[w] = (left[w] | met) - {v, w}


def test_minimum_degree_saves_fill_on_a_random_graph():
    graph = networkx.random_regular_graph(4, 1500, seed=1)
    indptr, indices = compressed(graph)
    chosen = plan_fronts(indptr, indices, nested_dissection(indptr, indices))
    by_number = plan_fronts(indptr, indices, np.arange(1500, dtype=np.int32))
    assert chosen.entries < 0.5 * by_number.entries
