"""p_st of sparse generators against chains whose p is known, exact rational elimination and the dense elimination."""

import os
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from theory import GeneratorError, NotUniqueError, NumericalError, stationary_distribution
from theory.stationary.sparse.distribution import _check_balance, sparse_stationary_distribution

pytestmark = pytest.mark.numerical


def generator(rates):
    """The sparse generator with the given off-diagonal rates."""
    return sp.csc_array(rates - sp.diags_array(np.asarray(rates.sum(axis=0)).ravel()))


def lattice(side, decades, *, driven):
    """(A, p): jumps to the four neighbours on side × side states, p of product form over `decades` powers of ten.

    driven: every face carries a circulation of a random sense, of 40 % of its weakest flow, which leaves p as it is.
    """
    x = np.linspace(-1.0, 1.0, side)
    log_p = -np.log(10) * decades / 2.88 * (x - 0.2) ** 2
    p = np.exp(log_p[:, None] + log_p[None, :]).ravel()
    state = np.arange(side * side).reshape(side, side)
    i = np.concatenate([state[1:].ravel(), state[:, 1:].ravel()])
    j = np.concatenate([state[:-1].ravel(), state[:, :-1].ravel()])
    rng = np.random.default_rng(side)
    flow = sp.csr_array(
        (np.sqrt(p[i]) * np.sqrt(p[j]) * rng.uniform(0.5, 1.5, len(i)), (i, j)), shape=(side**2, side**2)
    )
    flow = sp.csr_array(flow + flow.T)
    if driven:
        corners = [state[:-1, :-1].ravel(), state[1:, :-1].ravel(), state[1:, 1:].ravel(), state[:-1, 1:].ravel()]
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        weakest = np.min([flow[b, a] for a, b in edges], axis=0)
        strength = 0.4 * weakest * rng.choice([-1.0, 1.0], len(weakest))
        for a, b in edges:
            flow = flow + sp.csr_array((strength, (b, a)), shape=flow.shape)
            flow = flow - sp.csr_array((strength, (a, b)), shape=flow.shape)
    return generator(flow @ sp.diags_array(1.0 / p)), p / p.sum()


def exact(rates):
    """p_st as fractions, by the same elimination in rational numbers."""
    n = len(rates)
    W = [[Fraction(float(rate)) for rate in row] for row in rates]
    s = [Fraction(0)] * n
    for k in range(n - 1, 0, -1):
        s[k] = sum(W[i][k] for i in range(k))
        for i in range(k):
            for j in range(k):
                if i != j:
                    W[i][j] += W[i][k] * W[k][j] / s[k]
    x = [Fraction(1)]
    for k in range(1, n):
        x.append(sum(W[k][j] * x[j] for j in range(k)) / s[k])
    return [v / sum(x) for v in x]


def relative_error(p, reference):
    return float(np.max(np.abs(p / reference - 1)))


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("decades", [20, 124, 280])
def test_lattice_of_known_p(decades, driven):
    A, p = lattice(60, decades, driven=driven)
    assert p.min() < 10.0 ** (1 - decades)
    assert relative_error(sparse_stationary_distribution(A), p) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("decades", [20, 124])
def test_large_lattice_of_known_p(decades, driven):
    A, p = lattice(300, decades, driven=driven)
    assert relative_error(sparse_stationary_distribution(A), p) < 1e-12


def test_lattice_in_three_dimensions_and_hubs():
    # p uniform: every state is left and entered at the same rates; two hubs see all states, and share their p
    side = 9
    path = sp.diags_array([np.ones(side - 1), np.ones(side - 1)], offsets=[-1, 1])
    cube = sp.kronsum(sp.kronsum(path, path), path)
    hub = sp.csr_array(np.ones((1, side**3)))
    rates = sp.csc_array(sp.block_array([[cube, hub.T, hub.T], [hub, None, None], [hub, None, None]]))
    p = sparse_stationary_distribution(generator(rates))
    assert relative_error(p, 1 / (side**3 + 2)) < 1e-13


def test_birth_death_chain_of_many_states():
    n = 100_000
    rng = np.random.default_rng(0)
    up = np.exp(rng.normal(0.0, 1.0, n - 1))
    down = up * np.exp(rng.normal(0.0, 0.1, n - 1) + 400 * np.cos(4 * np.pi * np.arange(n - 1) / n) / n * 2 * np.pi)
    with mpmath.workdps(30):
        ratios, reference = zip(up.tolist(), down.tolist(), strict=True), [mpmath.mpf(1)]
        for birth, death in ratios:
            reference.append(reference[-1] * birth / death)
        total = mpmath.fsum(reference)
        exact_p = np.array([float(v / total) for v in reference])
    assert exact_p.min() < 1e-150
    shuffle = rng.permutation(n)
    rates = sp.coo_array(
        (np.concatenate([up, down]), (shuffle[np.r_[1:n, 0 : n - 1]], shuffle[np.r_[0 : n - 1, 1:n]])), shape=(n, n)
    )
    p = sparse_stationary_distribution(generator(rates.tocsc()))
    assert relative_error(p[shuffle], exact_p) < 1e-14


@st.composite
def small_chains(draw):
    """Off-diagonal rates of an irreducible chain: a random cycle through all states, and more."""
    n = draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decades = draw(st.sampled_from([1.0, 30.0, 150.0, 300.0]))
    jumps = rng.random((n, n)) < draw(st.sampled_from([0.1, 0.4, 1.0]))
    cycle = rng.permutation(n)
    jumps[np.roll(cycle, -1), cycle] = True
    np.fill_diagonal(jumps, False)
    return np.where(jumps, 10.0 ** rng.uniform(-decades, decades, (n, n)), 0.0)


@given(small_chains(), st.sampled_from(["csc", "csr", "coo", "lil", "dok", "bsr", "dia"]), st.booleans())
def test_rational_elimination(rates, kind, as_matrix):
    A = rates - np.diag(rates.sum(0))
    sparse = (sp.csr_matrix if as_matrix else sp.csr_array)(A).asformat(kind)
    p, reference = sparse_stationary_distribution(sparse), exact(rates)
    for value, truth in zip(p, reference, strict=True):
        if truth > Fraction(10) ** -290:
            assert abs(Fraction(float(value)) / truth - 1) < 1e-14
        else:
            assert abs(Fraction(float(value)) - truth) < Fraction(10) ** -300


@pytest.mark.parametrize("n, degree, decades", [(150, 150, 2), (400, 3, 20), (700, 6, 1)])
def test_dense_elimination_agrees_on_random_graphs(n, degree, decades):
    rng = np.random.default_rng(n)
    j = np.tile(np.arange(n), degree)
    i = np.concatenate([(np.arange(n) + 1) % n, rng.integers(0, n, n * (degree - 1))])
    rates = sp.csc_array((10.0 ** rng.uniform(-decades, decades, len(i)), (i, j)), shape=(n, n))
    A = generator(rates - sp.diags_array(rates.diagonal()))
    assert relative_error(stationary_distribution(A), stationary_distribution(A.toarray())) < 1e-13


@given(st.integers(0, 2**32 - 1))
def test_order_of_states_and_unit_of_time_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    A, _ = lattice(7, 30, driven=True)
    shuffle = rng.permutation(49)
    shuffled = A.tocsr()[shuffle].tocsc()[:, shuffle] * 2.0 ** rng.integers(-300, 300)
    p, q = sparse_stationary_distribution(A), sparse_stationary_distribution(shuffled)
    assert relative_error(q, p[shuffle]) < 1e-13


def test_transient_states_get_exact_zeros():
    # 0 -> 1 -> {2, 3, 4} a driven cycle with rates 1, 2, 4, and state 5 enters it too
    rates = np.zeros((6, 6))
    rates[1, 0] = rates[2, 1] = rates[4, 5] = 1.0
    rates[3, 2], rates[4, 3], rates[2, 4] = 1.0, 2.0, 4.0
    p = sparse_stationary_distribution(generator(sp.csc_array(rates)))
    np.testing.assert_array_equal(p[[0, 1, 5]], 0.0)
    np.testing.assert_allclose(p[2:5], np.array([4, 2, 1]) / 7, rtol=1e-15)


def test_absorbing_state_single_state_and_long_cycle():
    np.testing.assert_array_equal(sparse_stationary_distribution(sp.csr_array([[0.0, 3.0], [0.0, -3.0]])), [1.0, 0.0])
    np.testing.assert_array_equal(sparse_stationary_distribution(sp.csr_array((1, 1))), [1.0])
    n = 2000
    rate = np.random.default_rng(1).uniform(1, 2, n)
    cycle = sp.csc_array((rate, ((np.arange(n) + 1) % n, np.arange(n))), shape=(n, n))
    assert relative_error(sparse_stationary_distribution(generator(cycle)), 1 / rate / (1 / rate).sum()) < 1e-14


def test_several_recurrent_classes():
    rates = np.zeros((5, 5))
    rates[0, 1] = rates[1, 0] = rates[3, 2] = rates[0, 2] = rates[3, 4] = rates[4, 3] = 1.0
    with pytest.raises(NotUniqueError, match=r"2 recurrent classes.*\[0, 1\], \[3, 4\]") as caught:
        sparse_stationary_distribution(generator(sp.csc_array(rates)))
    assert caught.value.classes == [[0, 1], [3, 4]]
    with pytest.raises(NotUniqueError, match=r"40 recurrent classes.*and 35 more"):
        sparse_stationary_distribution(sp.csr_array((40, 40)))


def test_dtypes():
    A = sp.csr_array([[-1, 2, 0], [1, -3, 1], [0, 1, -1]])
    assert sparse_stationary_distribution(A).dtype == np.float64
    single = sparse_stationary_distribution(A.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, sparse_stationary_distribution(A).astype(np.float32))
    rates = sp.csc_array(np.random.default_rng(3).uniform(0, 1, (30, 30)).astype(np.float32))
    A = rates - sp.diags_array(rates.sum(axis=0))  # column sums are off by single roundings
    assert A.dtype == np.float32
    sparse_stationary_distribution(A)
    with pytest.raises(GeneratorError, match="column 0 of A sums to"):
        sparse_stationary_distribution(A.astype(np.float64))
    for dtype in (np.complex128, np.bool_, np.longdouble):
        with pytest.raises(GeneratorError, match="dtype"):
            sparse_stationary_distribution(sp.csr_array((2, 2), dtype=dtype))


@pytest.mark.parametrize(
    "A, message",
    [
        (sp.csr_array((2, 3)), r"square.*\(2, 3\)"),
        (sp.csr_array((0, 0)), r"square.*\(0, 0\)"),
        (sp.coo_array(np.zeros(3)), r"square.*\(3,\)"),
        (sp.csr_array([[-1.0, np.nan], [1.0, -1.0]]), r"non-finite entry nan at \[0, 1\]"),
        (sp.csr_array([[-1.0, 1.0], [np.inf, -1.0]]), r"non-finite entry inf at \[1, 0\]"),
        (sp.csr_array([[0.0, 1.0, 0], [0.5, -0.5, 1], [-0.5, -0.5, -1]]), r"negative rate -0.5 at \[2, 0\]"),
        (sp.csr_array([[-1.0, 1.0], [1.0 + 1e-12, -1.0]]), r"column 0 of A sums to 1.0\d*e-12.*diagonal"),
        (
            sp.csr_array([[-2.0, 2.0], [1.0, -1.0]]),
            r"column 0 of A sums to -1,.*transposed: pass theory.from_row_convention\(A\)",
        ),
        (sp.csr_array([[-1e308, 1e308], [1e308, -1e308]]) * 1.5, r"column 0 of A overflow.*unit of time"),
    ],
)
def test_what_is_no_generator(A, message):
    with pytest.raises(GeneratorError, match=message):
        sparse_stationary_distribution(A)


def test_tolerance_scales_with_the_entries_of_a_column_only():
    A, _ = lattice(40, 20, driven=False)
    broken = A.tolil()
    broken[41, 40] *= 1 + 1e-13  # within 8 n η for n = 1600, not within 8 c η for c = 4
    with pytest.raises(GeneratorError, match="column 40 of A sums to"):
        sparse_stationary_distribution(broken)


@pytest.mark.parametrize("kind", ["coo", "csc"])
def test_duplicates_and_explicit_zeros_and_the_callers_matrix(kind):
    # the rate 1 -> 0 is stored in two parts, unsorted, and a stored zero is no jump from 0 to 2
    value = np.array([-1.0, 0.0, 1.0, 1.5, -2.0, 0.5, 1.0, -1.0])
    row, indptr = np.array([0, 2, 1, 0, 1, 0, 0, 2]), np.array([0, 3, 6, 8])
    if kind == "csc":
        A = sp.csc_array((value, row, indptr), shape=(3, 3))
        arrays = (A.data, A.indices, A.indptr)
    else:
        A = sp.coo_array((value, (row, np.repeat(np.arange(3), np.diff(indptr)))), shape=(3, 3))
        arrays = (A.data, *A.coords)
    before = [array.copy() for array in arrays]
    np.testing.assert_allclose(sparse_stationary_distribution(A), [2 / 3, 1 / 3, 0.0], rtol=1e-15)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert A.nnz == 8


def test_rates_beyond_the_range_of_float64_are_carried_by_exponents():
    # two rings joined by rates so small that the share of jumps that take them is lost in float64: p is 1 : 10
    for size in (2, 600):
        n = 2 * size
        ring = np.r_[np.arange(1, size), 0]
        i = np.concatenate([ring, size + ring, [size, 0]])
        j = np.concatenate([np.arange(n), [1, size + 1]])
        rate = np.concatenate([np.full(n, 1e150), [1e-200, 1e-201]])
        p = sparse_stationary_distribution(generator(sp.csc_array((rate, (i, j)), shape=(n, n))))
        np.testing.assert_allclose(p, np.repeat([1, 10], size) / (11 * size), rtol=1e-13)


def test_an_elimination_that_does_not_fit_is_refused(monkeypatch):
    A, _ = lattice(30, 10, driven=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}.__getitem__)
    with pytest.raises(NumericalError, match="the elimination needs"):
        sparse_stationary_distribution(A)


def test_the_balance_of_each_state_finds_a_wrong_p():
    A, p = lattice(20, 100, driven=True)
    rates = sp.csc_array(A - sp.diags_array(A.diagonal()))
    rates.eliminate_zeros()
    exit_rate, names = rates.sum(axis=0), np.arange(400) + 7
    _check_balance(rates, exit_rate, p, names)
    for factor in (0.0, 1 - 1e-10, 1 + 1e-10, 2.0, -1.0, np.nan):
        wrong = p.copy()
        wrong[np.argmin(p)] *= factor  # far below any norm of the residual
        with pytest.raises(NumericalError, match="does not balance"):
            _check_balance(rates, exit_rate, wrong, names)


def test_same_answer_twice_bit_for_bit():
    A, _ = lattice(40, 20, driven=True)
    np.testing.assert_array_equal(sparse_stationary_distribution(A), sparse_stationary_distribution(A.tocoo()))
