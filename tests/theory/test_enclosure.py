"""Enclosures against exact rational and high-precision references: they hold p_st, and are one last place wide."""

import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import (
    GeneratorError,
    NotUniqueError,
    certificate,
    enclosure,
    from_rates,
    get_system,
    list_systems,
    stationary_distribution,
    total_variation,
)

flint = pytest.importorskip("flint")
ROUND_OFF = 2.0**-53


def complete(rates):
    A = np.array(rates, float)
    np.fill_diagonal(A, 0.0)
    np.fill_diagonal(A, -A.sum(0))
    return A


def exact(A):
    """p in rational arithmetic, by elimination of the balance equations with subtraction: no step is shared."""
    n = len(A)
    M = [[Fraction(float(A[i, j])) if i != j else Fraction(0) for j in range(n)] for i in range(n)]
    for j in range(n):
        M[j][j] = -sum(M[i][j] for i in range(n))
    rows = [row + [Fraction(0)] for row in M[:-1]] + [[Fraction(1)] * (n + 1)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                factor = rows[i][k] / rows[k][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [rows[k][n] / rows[k][k] for k in range(n)]


def in_many_digits(A, digits):
    """p by LU in mpmath, with far more digits than the condition number takes away."""
    n = len(A)
    with mpmath.workdps(digits):
        M = mpmath.matrix(n)
        for j in range(n):
            for i in range(n):
                M[i, j] = mpmath.mpf(float(A[i, j])) if i != j else mpmath.mpf(0)
        exits = [mpmath.fsum(M[i, j] for i in range(n)) for j in range(n)]
        for j in range(n):
            M[j, j] = -exits[j]
            for i in range(n):
                M[i, j] /= exits[j]
        for j in range(n):
            M[n - 1, j] = 1
        b = mpmath.matrix(n, 1)
        b[n - 1] = 1
        pi = mpmath.lu_solve(M, b)
        p = [pi[j] / exits[j] for j in range(n)]
        total = mpmath.fsum(p)
        return [q / total for q in p]


def contains(bounds, p, digits=30):
    with mpmath.workdps(digits):
        return all(
            mpmath.mpf(float(low)) <= q <= mpmath.mpf(float(high)) for low, high, q in zip(*bounds, p, strict=True)
        )


def one_place(lower, upper):
    """Whether upper is lower or the next number."""
    return bool(((upper == lower) | (upper == np.nextafter(lower, np.array(np.inf, lower.dtype)))).all())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31), st.sampled_from([0.0, 2.0, 40.0, 300.0]))
def test_random_chains_against_rational_arithmetic(n, seed, spread):
    rng = np.random.default_rng(seed)
    R = np.exp(spread * rng.uniform(-1, 1, (n, n))) * (rng.random((n, n)) < 0.7)
    R[np.arange(n), (np.arange(n) - 1) % n] = np.exp(spread * rng.uniform(-1, 1, n))  # a ring: one recurrent class
    A = complete(R)
    lower, upper = enclosure(A)
    assert one_place(lower, upper)
    assert all(Fraction(float(a)) <= q <= Fraction(float(b)) for a, b, q in zip(lower, upper, exact(A), strict=True))


def hard_chains():
    """(name, A, p): the chains that break other methods, each with a reference of its own."""
    rng = np.random.default_rng(1)
    A = complete(np.exp(rng.uniform(-300, 300, (16, 16))))
    yield "rates over six hundred powers of e", A, in_many_digits(A, 700)
    R, block = rng.random((16, 16)), np.arange(16) // 4
    R[block[:, None] != block[None]] *= 1e-12
    yield "nearly decomposable", complete(R), in_many_digits(complete(R), 80)
    A = complete(np.array([[0, 1e150, 1e-150], [1e-50, 0, 0], [0, 1e-50, 0]]))
    yield "lost products", A, in_many_digits(A, 500)
    for depth in (20.0, 345.0, 720.0, 2500.0):
        s = np.linspace(-1.3, 1.3, 64)
        ratio = -np.diff(depth * ((s**2 - 1) ** 2 + 0.1 * s))
        up, down = np.exp(np.minimum(ratio, 0.0)), np.exp(np.minimum(-ratio, 0.0))
        yield f"double well of depth {depth:g}", complete(np.diag(up, -1) + np.diag(down, 1)), by_balance(up, down)
    ring, k = np.zeros((128, 128)), np.arange(128)
    up, down = np.exp(2 * rng.normal(size=(2, 128)))
    ring[(k + 1) % 128, k], ring[k, (k + 1) % 128] = up, down
    yield "driven cycle of 128 states", complete(ring), of_a_ring(up, down)


def by_balance(up, down):
    """p of a birth–death chain with rates up[i] from i to i + 1 and down[i] back: p_{i+1}/p_i = up/down."""
    with mpmath.workdps(60):
        p = [mpmath.mpf(1)]
        for a, b in zip(up, down, strict=True):
            p.append(p[-1] * mpmath.mpf(float(a)) / mpmath.mpf(float(b)))
        total = mpmath.fsum(p)
        return [q / total for q in p]


def of_a_ring(up, down):
    """p of a ring with rates up[k] from k to k + 1 and down[k] back: p_r is the sum over its n spanning trees."""
    n = len(up)
    with mpmath.workdps(60):
        f, b = ([mpmath.mpf(float(rate)) for rate in rates] for rates in (up, down))
        weight = []
        for r in range(n):  # without the edge (r + c, r + c + 1), c edges flow back to r and n − 1 − c on to it
            back, on = [mpmath.mpf(1)], [mpmath.mpf(1)]
            for c in range(n - 1):
                back.append(back[-1] * b[(r + c) % n])
                on.append(on[-1] * f[(r - 1 - c) % n])
            weight.append(mpmath.fsum(back[c] * on[n - 1 - c] for c in range(n)))
        total = mpmath.fsum(weight)
        return [w / total for w in weight]


def test_hard_chains_against_references_in_many_digits():
    seen = []
    for name, A, p in hard_chains():
        order = np.random.default_rng(0).permutation(len(A))
        bounds = enclosure(np.ascontiguousarray(A[np.ix_(order, order)]))
        assert one_place(*bounds), name
        assert contains(bounds, [p[i] for i in order], 60), name
        seen.append(name)
    assert len(seen) == 8


@pytest.mark.parametrize("name", list_systems())
def test_every_route_of_the_library_lies_within_its_own_error_of_the_enclosure(name):
    """The elimination within 4 n η of each entry, the certificate above TV(q, p) for p anywhere in the enclosure."""
    system = get_system(name)
    A = system.A(system.uniform(3, seed=0))
    lower, upper = enclosure(A)
    p = stationary_distribution(A)
    allowed = 4 * A.shape[-1] * ROUND_OFF
    tiny = torch.finfo(p.dtype).tiny
    assert bool(((p >= lower * (1 - allowed)) & (p <= upper * (1 + allowed)) | (upper < tiny)).all())
    q = 0.99 * p + 0.01 / A.shape[-1]
    assert bool((total_variation(q, lower) - (upper - lower).sum(-1) <= certificate(A, q)).all())


def test_kinds_batches_and_dtypes():
    R = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = from_rates(R)
    lower, upper = enclosure(A)
    assert lower.shape == upper.shape == (2, 3, 4) and lower.dtype == torch.float64
    single = enclosure(A[1, 2].numpy())
    assert isinstance(single[0], np.ndarray) and np.array_equal(single[0], lower[1, 2].numpy())
    narrow = enclosure(A.float())
    assert narrow[0].dtype == torch.float32 and one_place(narrow[0].numpy(), narrow[1].numpy())
    assert enclosure(A[:0])[0].shape == (0, 3, 4)
    from scipy import sparse

    of_sparse = enclosure(sparse.csr_array(A[0, 0].numpy()))
    assert np.array_equal(of_sparse[0], lower[0, 0].numpy())
    assert flint.ctx.prec == 53


def test_entries_that_are_numbers_themselves_are_enclosed_as_points():
    """Symmetric rates: p is uniform. 1/4 is a number; 1/3 is not. A transient state is exactly 0."""
    lower, upper = enclosure(from_rates(torch.ones(4, 4, dtype=torch.float64)))
    assert bool((lower == 0.25).all()) and bool((upper == 0.25).all())
    lower, upper = enclosure(from_rates(torch.ones(3, 3, dtype=torch.float64)))
    assert bool((lower < upper).all())
    lower, upper = enclosure([[0.0, 1.0], [0.0, -1.0]])
    assert lower.tolist() == upper.tolist() == [1.0, 0.0]
    assert [one.tolist() for one in enclosure([[0.0]])] == [[1.0], [1.0]]
    mixed = np.zeros((8, 8))  # two symmetric groups of four, three times as likely one as the other: 1/16 and 3/16
    mixed[:4, :4] = mixed[4:, 4:] = [[0, 1, 3, 2], [1, 0, 5, 7], [3, 5, 0, 1], [2, 7, 1, 0]]
    mixed[4, 0], mixed[0, 4] = 3.0, 1.0
    lower, upper = enclosure(complete(mixed))
    assert lower.tolist() == upper.tolist() == [1 / 16] * 4 + [3 / 16] * 4
    mixed[5, 1], mixed[1, 5] = 3.0, 1.0
    mixed[4, 0] = mixed[0, 4] = 0.0
    mixed[7, 7] = 0.0
    assert one_place(*enclosure(complete(mixed)))


def test_an_entry_at_a_number_beside_entries_that_are_not():
    """p = (1/2, 1/6, 1/3): the exact solve decides the first."""
    A = complete(np.array([[0.0, 3.0, 1.5], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    lower, upper = enclosure(A)
    assert lower[0] == upper[0] == 0.5
    assert lower[1] < 1 / 6 <= upper[1] or lower[1] <= 1 / 6 < upper[1]


def test_what_has_no_single_p_is_refused():
    with pytest.raises(NotUniqueError, match="2 recurrent classes"):
        enclosure(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(GeneratorError, match="negative rate"):
        enclosure([[1.0, 1.0], [-1.0, -1.0]])
    with pytest.raises(GeneratorError):
        enclosure(torch.full((2, 2), float("nan")))


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"rigorous"):
        enclosure([[0.0]])
