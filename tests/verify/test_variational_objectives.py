"""The Donsker-Varadhan rate: zero at p_st alone, a closed form under detailed balance, a supremum, its gradient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from verify.claims._donsker_varadhan import donsker_varadhan_at

pytestmark = pytest.mark.numerical

seeds, sizes = st.integers(0, 2**32 - 1), st.integers(2, 7)


def chain(seed, n):
    rng = np.random.default_rng(seed)
    return rng, theory.from_rates(np.exp(rng.standard_normal((n, n)))).numpy()


@settings(max_examples=40)
@given(seeds, sizes)
def test_the_rate_vanishes_at_p_st_alone(seed, n):
    rng, A = chain(seed, n)
    p = theory.stationary_distribution(A)
    assert abs(donsker_varadhan_at(A, p)[0]) < 1e-12
    q = rng.dirichlet(np.full(n, 2.0))
    rate, _ = donsker_varadhan_at(A, q)
    assert rate > -1e-12
    if 0.5 * np.abs(q - p).sum() > 0.05:
        assert rate > 1e-6


@settings(max_examples=40)
@given(seeds, sizes)
def test_the_rate_of_a_reversible_chain_in_closed_form(seed, n):
    """I(q) = Σ q_i |A_ii| − Σ_{i≠j} √(q_i q_j A_ij A_ji): only an upper bound without detailed balance."""

    def closed(A, q):
        other = A - np.diag(np.diag(A))
        return -(q @ np.diag(A)) - np.sqrt(np.outer(q, q) * other * other.T).sum()

    rng, A = chain(seed, n)
    q = rng.dirichlet(np.full(n, 2.0))
    assert donsker_varadhan_at(A, q)[0] <= closed(A, q) + 1e-11
    symmetric, weights = np.exp(rng.standard_normal((n, n))), rng.dirichlet(np.full(n, 2.0)) + 0.01
    reversible = theory.from_rates((symmetric + symmetric.T) / weights).numpy()
    np.testing.assert_allclose(donsker_varadhan_at(reversible, q)[0], closed(reversible, q), rtol=1e-8, atol=1e-9)


@settings(max_examples=40)
@given(seeds, sizes)
def test_the_rate_is_a_supremum_and_its_gradient_is_right(seed, n):
    rng, A = chain(seed, n)
    q = rng.dirichlet(np.full(n, 4.0)) * 0.9 + 0.1 / n
    rate, gradient = donsker_varadhan_at(A, q)
    for _ in range(20):
        u = np.exp(rng.standard_normal(n))
        assert -(q @ ((A.T @ u) / u)) <= rate + 1e-10
    v = rng.standard_normal(n)
    v -= v.mean()
    h = 1e-5 * q.min()
    slope = (donsker_varadhan_at(A, q + h * v)[0] - donsker_varadhan_at(A, q - h * v)[0]) / (2 * h)
    np.testing.assert_allclose(gradient @ v, slope, rtol=1e-4, atol=1e-4 * np.abs(gradient).max())


def test_in_metastable_wells_a_large_distance_costs_next_to_nothing():
    R = np.kron(np.eye(2), np.ones((2, 2))) + 1e-7
    A = theory.from_rates(R).numpy()
    p = theory.stationary_distribution(A)
    q = np.array([0.375, 0.375, 0.125, 0.125])
    assert 0.5 * np.abs(q - p).sum() > 0.249
    assert abs(donsker_varadhan_at(A, q)[0]) < 1e-6 and 0.5 * ((A @ q) ** 2).sum() < 1e-12
