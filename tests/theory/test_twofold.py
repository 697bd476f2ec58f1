"""Twofold sums, products and dot products, and what they are for: the boundary of a chain that hardly mixes."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from theory.chain.twofold import matvec, quotient, row_sums, two_product, two_sum

number = st.floats(-(2.0**40), 2.0**40, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 2.0**-40)
pytestmark = pytest.mark.numerical


def one(value):
    return torch.tensor([value], dtype=torch.float64)


def exactly(pair):
    return sum((Fraction(float(part)) for part in pair), Fraction(0))


@given(number, number)
def test_a_sum_and_a_product_lose_nothing(a, b):
    assert exactly(two_sum(one(a), one(b))) == Fraction(a) + Fraction(b)
    assert exactly(two_product(one(a), one(b))) == Fraction(a) * Fraction(b)


@given(number, number.filter(bool))
def test_a_quotient_is_right_to_twice_the_precision(a, b):
    exact = Fraction(a) / Fraction(b)
    assert abs(exactly(quotient(one(a), one(b))) - exact) <= abs(exact) * Fraction(1, 2**103)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=40))
def test_a_dot_product_that_cancels_keeps_its_digits(pairs):
    a, b = (torch.tensor(list(one), dtype=torch.float64) for one in zip(*pairs, strict=True))
    exact = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
    size = sum((abs(Fraction(x) * Fraction(y)) for x, y in pairs), Fraction(0))
    found = exactly(matvec(a[None], (b, torch.zeros_like(b))))
    assert abs(found - exact) <= size * len(pairs) ** 2 * Fraction(1, 2**104)
    total = exactly(row_sums(a, torch.zeros_like(a)))
    assert abs(total - sum(map(Fraction, a.tolist()))) <= sum(map(abs, map(Fraction, a.tolist()))) * len(pairs) ** 2 / (
        2**104
    )


def solved(matrix, right):
    """The solution of matrix x = right by elimination in rational numbers."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                factor = rows[i][k]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[-1] for row in rows]


def test_the_boundary_of_a_label_that_hardly_mixes_is_right_to_rounding():
    """Two sets of symbols, one passage each way in 10⁸ transitions: ‖A^#‖ is some 10⁸, and so was the loss."""
    n, P = 6, 400
    rng = torch.Generator().manual_seed(0)
    J = torch.zeros(n, n, dtype=torch.float64)
    for some in (slice(0, 3), slice(3, 6)):
        J[some, some] = P * torch.randint(1, 100_000, (3, 3), generator=rng).double()
    J[3, 0] = J[0, 4] = 1.0
    J[1, 1] += P - 2  # whole blocks
    change = J.sum(1) - J.sum(0)  # counting: last − first = into − out of
    first, last = (-change).clamp_min(0), change.clamp_min(0)
    blocks = J.sum() / P
    found = theory.identity_of_counts(theory.BlockCounts(P, J[None], first[None], last[None], blocks[None]))

    out, total = [Fraction(value) for value in J.sum(0).tolist()], Fraction(float(J.sum()))
    K = [[Fraction(float(J[i, j])) / out[j] for j in range(n)] for i in range(n)]
    A = [[K[i][j] - (i == j) for j in range(n)] for i in range(n)]
    drift = [sum(K[i][j] * Fraction(float(change[j])) / total for j in range(n)) for i in range(n)]
    gauge = [Fraction(1)] * n
    boundary = solved([*A[:-1], gauge], [*drift[:-1], Fraction(0)])
    stationary = solved([*A[:-1], gauge], [*[Fraction(0)] * (n - 1), Fraction(1)])
    for got, exact in ((found.boundary[0], boundary), (found.stationary[0], stationary)):
        assert max(abs(Fraction(float(x)) - y) for x, y in zip(got, exact, strict=True)) <= 4 * n * 2.0**-53
    assert float(found.residual) <= 4 * n * n * 2.0**-53
    assert (
        float(theory.group_inverse(found.A[0]).abs().sum(0).max()) > 1e7
    )  # times 1e-16: what rounding of K b would do
