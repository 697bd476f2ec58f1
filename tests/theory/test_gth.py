"""The compiled elimination against high-precision and closed-form references, entry by entry."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch

from theory import stationary_distribution
from theory.stationary.dense.derivative import values
from theory.stationary.dense.gth import NOT_UNIQUE, SOLVED, exponents, solve, solve_unchecked

pytestmark = pytest.mark.numerical

ROUND_OFF = 2.0**-53


def complete(rates: np.ndarray) -> np.ndarray:
    A = np.array(rates, float)
    np.fill_diagonal(A, 0.0)
    np.fill_diagonal(A, -A.sum(0))
    return A


def reference(A: np.ndarray, digits: int = 90) -> list[mpmath.mpf]:
    """p by LU in mpmath, from the off-diagonal rates, with far more digits than the condition number takes away."""
    n = len(A)
    with mpmath.workdps(digits):
        M = mpmath.matrix(n)
        for j in range(n):
            out = mpmath.mpf(0)
            for i in range(n):
                if i != j:
                    M[i, j] = mpmath.mpf(float(A[i, j]))
                    out += M[i, j]
            M[j, j] = -out
            for i in range(n):
                M[i, j] /= out
        for j in range(n):
            M[n - 1, j] = 1
        b = mpmath.matrix(n, 1)
        b[n - 1] = 1
        pi = mpmath.lu_solve(M, b)
        exits = [mpmath.fsum(mpmath.mpf(float(A[i, j])) for i in range(n) if i != j) for j in range(n)]
        p = [pi[j] / exits[j] for j in range(n)]
        total = mpmath.fsum(p)
        return [q / total for q in p]


def worst(p: np.ndarray, exact: list[mpmath.mpf]) -> float:
    """The largest relative error among the entries that a double can hold; the others must be 0 or subnormal."""
    tiny = np.finfo(float).tiny
    assert all(a <= tiny for a, b in zip(p, exact, strict=True) if b < tiny)
    return max(float(abs(mpmath.mpf(float(a)) / b - 1)) for a, b in zip(p, exact, strict=True) if b >= tiny)


def birth_death(log_ratio: np.ndarray) -> tuple[np.ndarray, list[mpmath.mpf]]:
    """A chain with p_{i+1}/p_i = e^{log_ratio_i} and its product form in mpmath."""
    up, down = np.exp(np.minimum(log_ratio, 0.0)), np.exp(np.minimum(-log_ratio, 0.0))
    A = complete(np.diag(up, -1) + np.diag(down, 1))
    with mpmath.workdps(60):
        p = [mpmath.mpf(1)]
        for a, b in zip(up, down, strict=True):
            p.append(p[-1] * mpmath.mpf(float(a)) / mpmath.mpf(float(b)))
        total = mpmath.fsum(p)
        return A, [q / total for q in p]


def double_well(n: int, depth: float) -> tuple[np.ndarray, list[mpmath.mpf]]:
    """Two wells of a quartic potential whose barrier is e^{-depth} as likely as the deeper one."""
    s = np.linspace(-1.3, 1.3, n)
    potential = depth * ((s**2 - 1) ** 2 + 0.1 * s)
    return birth_death(-np.diff(potential))


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8, 16, 24, 25, 32])
def test_random_dense_against_mpmath(n):
    rng = np.random.default_rng(n)
    A = np.stack([complete(rng.random((n, n))) for _ in range(9)])
    p, status = solve(A, ROUND_OFF)
    assert (status == SOLVED).all()
    for b in (0, 8):
        assert worst(p[b], reference(A[b], 40)) < 2e-15 * n


@pytest.mark.parametrize("n", [64, 128, 256, 513, 1024])
def test_large_chains_against_a_known_solution(n):
    """Rates A_ij = C_ij / p_j with C symmetric have exactly this p; rounding of the rates themselves is a few units."""
    rng = np.random.default_rng(n)
    C = rng.random((n, n))
    weights = np.ldexp(1.0, rng.integers(-60, 60, n))  # powers of two: C / p is exact
    A = complete((C + C.T) / weights)
    p, status = solve(A[None], ROUND_OFF)
    assert status[0] == SOLVED
    assert np.abs(p[0] / (weights / weights.sum()) - 1).max() < 1e-13


def test_rates_over_six_hundred_powers_of_e():
    rng = np.random.default_rng(1)
    A = np.stack([complete(np.exp(rng.uniform(-300, 300, (16, 16)))) for _ in range(10)])
    p, status = solve(A, ROUND_OFF)
    assert (status == SOLVED).all()
    for a, q in zip(A, p, strict=True):
        assert worst(q, reference(a, 700)) < 1e-14


@pytest.mark.parametrize("n", [16, 64])
def test_nearly_decomposable(n):
    rng = np.random.default_rng(2)
    R = rng.random((n, n))
    block = np.arange(n) * 4 // n
    R[block[:, None] != block[None]] *= 1e-12
    A = complete(R)
    assert worst(solve(A[None], ROUND_OFF)[0][0], reference(A, 60)) < 1e-13


@pytest.mark.parametrize("depth", [20.0, 120.0, 345.0, 720.0])
@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
def test_double_well(depth, order):
    A, exact = double_well(64, depth)
    k = {"natural": np.arange(64), "reversed": np.arange(64)[::-1], "random": np.random.default_rng(3).permutation(64)}
    k = k[order]
    p, status = solve(np.ascontiguousarray(A[np.ix_(k, k)])[None], ROUND_OFF)
    assert status[0] == SOLVED
    assert worst(p[0], [exact[i] for i in k]) < 1e-13


def test_second_well_behind_a_barrier_that_no_double_can_hold():
    A, exact = double_well(40, 2500.0)
    p = solve(A[None], ROUND_OFF)[0][0]
    assert min(exact) < mpmath.mpf("1e-600")
    assert worst(p, exact) < 1e-13
    expected = np.array([math.floor(mpmath.log(e, 2)) + 1 for e in exact])
    assert np.abs(exponents(A[None])[0] - expected).max() <= 1


def test_likely_state_reached_only_through_lost_products():
    """p_2 = 1e-100 is carried by a jump of probability 1e-200 into a state that jumps on with probability 1e-200."""
    A = complete(np.array([[0, 1e150, 1e-150], [1e-50, 0, 0], [0, 1e-50, 0]]))
    exact = reference(A, 500)
    for k in itertools.permutations(range(3)):
        p = solve(np.ascontiguousarray(A[np.ix_(k, k)])[None], ROUND_OFF)[0][0]
        assert worst(p, [exact[i] for i in k]) < 1e-15


def test_every_elimination_order_with_transient_states():
    """States 0 and 1 drain into the class {2, 3, 4} with rates from 1e-150 to 1e150: all 120 orders agree."""
    R = np.zeros((5, 5))
    R[1, 0], R[0, 1], R[2, 1] = 1.0, 1e150, 1e-150
    R[3, 2], R[4, 3], R[2, 4], R[3, 4] = 1e-150, 1e150, 2.0, 1.0
    A = complete(R)
    exact = reference(A[2:, 2:], 700)
    for k in itertools.permutations(range(5)):
        p, status = solve(np.ascontiguousarray(A[np.ix_(k, k)])[None], ROUND_OFF)
        q = np.empty(5)
        q[list(k)] = p[0]
        assert status[0] == SOLVED and (q[:2] == 0).all()
        assert worst(q[2:], exact) < 1e-14


def test_extended_range_agrees_with_the_plain_kernel():
    rng = np.random.default_rng(4)
    for n in (1, 2, 6, 17):
        A = complete(rng.random((n, n)))
        p, status = solve_unchecked(A)
        assert status == SOLVED
        assert np.abs(p / solve(A[None], ROUND_OFF)[0][0] - 1).max() < 1e-14
    assert solve_unchecked(np.zeros((2, 2)))[1] == NOT_UNIQUE


def test_rates_whose_column_sum_overflows():
    A = np.array([[-1.7e308, 1e308, 0.0], [1.7e308, -1.7e308, 1e308], [0.0, 0.7e308, -1e308]])
    A[0, 0] = -A[1, 0]
    p = stationary_distribution(A)
    exact = reference(complete_without_diagonal(A), 60)
    assert worst(p, exact) < 1e-14


def complete_without_diagonal(A: np.ndarray) -> np.ndarray:
    B = A.copy()
    np.fill_diagonal(B, 0.0)
    return B


def test_threads_share_a_batch_without_changing_it():
    rng = np.random.default_rng(5)
    A = np.stack([complete(rng.random((20, 20))) for _ in range(301)])
    A[7] = complete(np.diag(np.ones(19), 1))
    one, status = solve(A, ROUND_OFF)
    torch.set_num_threads(2)
    try:
        two, also = solve(A, ROUND_OFF)
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(status, also)
    assert np.abs(one - two).max() < 1e-16


def test_device_path_agrees_or_says_that_it_cannot():
    rng = np.random.default_rng(6)
    A = [complete(rng.random((7, 7))) for _ in range(4)]
    A.append(complete(np.diag(np.ones(6), -1)))  # absorbed in state 6: state 0 is transient
    A.append(complete(np.diag(np.ones(6), 1)))  # absorbed in state 0
    A.append(complete(np.exp(rng.uniform(-300, 300, (7, 7)))))
    A.append(birth_death(np.repeat([-600.0, 600.0], 3))[0])  # p passes through e^-1800
    p, fine = values(torch.from_numpy(np.stack(A)))
    assert fine.tolist() == [True, True, True, True, False, True, True, False]
    expected = solve(np.stack(A), ROUND_OFF)[0]
    for b in fine.nonzero()[:, 0].tolist():
        assert torch.allclose(p[b], torch.from_numpy(expected[b]), rtol=1e-14, atol=0)
