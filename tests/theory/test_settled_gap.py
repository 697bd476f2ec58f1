"""What theory says of a settled block without the data's kernel: against mpmath at 40 digits, and the clock."""

import mpmath
import pytest
import torch

import theory
from theory.clock.settled import pooling_memory, settled_gap

pytestmark = pytest.mark.numerical
F64 = torch.float64


def exact(A, step, euler):
    """(K (I − K)^#, p_st) of one generator at 40 digits, from its off-diagonal rates."""
    n = len(A)
    rates = mpmath.matrix(n, n)
    for j in range(n):
        for i in range(n):
            if i != j:
                rates[i, j] = mpmath.mpf(float(A[i, j]))
        rates[j, j] = -sum(rates[i, j] for i in range(n) if i != j)
    identity, h = mpmath.eye(n), mpmath.mpf(step)
    K = identity + h * rates if euler else mpmath.expm(h * rates)
    ones = mpmath.matrix([[1] * n for _ in range(n)])
    # p: A p = 0 and 1ᵀp = 1 together are (A + 11ᵀ) p = 1
    p = mpmath.lu_solve(rates + ones, mpmath.matrix([1] * n))
    rank_one = p * mpmath.matrix([[1] * n])
    inverse = mpmath.inverse(identity - K + rank_one) - rank_one
    return K * inverse, p


def as_floats(matrix):
    return torch.tensor([[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)], dtype=F64)


@pytest.mark.parametrize(
    "name, step", [("two_state", 0.053), ("driven_cycle", 0.039), ("driven_cycle", 2.0), ("sodium_channel", 0.063)]
)
@pytest.mark.parametrize("euler", [False, True])
def test_the_memory_of_pooling_is_that_of_mpmath_at_40_digits(name, step, euler):
    system = theory.get_system(name)
    A = system.A(system.uniform(2, seed=3))
    if euler:
        step = min(step, 0.5 / float(-A.diagonal(dim1=-2, dim2=-1).min()))
    F = pooling_memory(A, theory.stationary_distribution(A), step, euler=euler)
    with mpmath.workdps(40):
        for one, ours in zip(A, F, strict=True):
            truth = as_floats(exact(one, step, euler)[0])
            # n η times the condition of A^#, and the doublings that carry it on
            condition = float(2 * step * -one.diagonal().min()) * float(truth.abs().sum(0).max())
            bound = 64 * len(one) * 2.0**-53 * (1 + condition) * float(truth.abs().sum(0).max())
            assert float((ours - truth).abs().sum(0).max()) <= bound


def test_the_leading_term_is_that_of_mpmath_at_the_block_before():
    system = theory.get_system("driven_cycle")
    y = system.uniform(2, seed=4) * 0.5
    found = settled_gap(system, y, period=512, step=0.039)
    with mpmath.workdps(40):
        for at, before, leading in zip(y, found.y_before, found.leading, strict=True):
            F, p = exact(system.A(at), 0.039, euler=False)
            _, p_before = exact(system.A(before), 0.039, euler=False)
            truth = as_floats(F * (p_before - p) / 512)[:, 0]
            assert float((leading - truth).abs().sum()) <= 1e-12 * float(truth.abs().sum())


@pytest.mark.parametrize("name", ["two_state", "driven_cycle", "random_exponential"])
def test_block_means_are_p_st_plus_the_leading_term_up_to_the_next_order(name):
    system = theory.get_system(name)
    y0 = system.uniform(20, seed=0)
    x0 = torch.full((20, system.n_states), 1.0 / system.n_states, dtype=F64)
    residuals = []
    for period in (256, 512, 1024):
        blocks = theory.token_clock(system, x0, y0, period=period, n_blocks=4, step=0.1)
        y, p = blocks.y[:, -1], theory.stationary_distribution(system.A(blocks.y[:, -1]))
        found = settled_gap(system, y, period=period, step=0.1, near=blocks.y[:, -2])
        off = float((blocks.mean[:, -1] - p - found.leading).abs().sum() / found.leading.abs().sum())
        assert off <= 4 * found.next_order + 1e-10
        torch.testing.assert_close(found.y_before, blocks.y[:, -2], rtol=0, atol=1e-4 / period)
        residuals.append(off)
    assert residuals[0] > 3 * residuals[1] > 9 * residuals[2]  # 1/P²: four, and room


def test_the_backward_step_finds_its_own_block_before_from_a_wrong_guess():
    system = theory.get_system("driven_cycle")
    y = 0.5 * system.uniform(8, seed=1)
    near = settled_gap(system, y, period=256, step=0.039)
    far = settled_gap(system, y, period=256, step=0.039, near=y + 0.1)
    torch.testing.assert_close(far.y_before, near.y_before, rtol=0, atol=1e-13)


def test_the_euler_memory_refuses_a_step_that_is_no_transition_matrix():
    system = theory.get_system("driven_cycle")
    A = system.A(system.uniform(1, seed=0))
    with pytest.raises(ValueError, match=r"h × \(largest exit rate\) < 1.*take the exp kernel"):
        pooling_memory(A, theory.stationary_distribution(A), 1.0, euler=True)


@pytest.mark.parametrize("euler", [False, True])
def test_no_states_have_no_gaps(euler):
    system, none = theory.get_system("two_state"), torch.zeros(0, 1, dtype=torch.float64)
    assert theory.predicted_gap(system, none, none, period=4, step=0.05, euler=euler).shape == (0, 2)
    assert settled_gap(system, none, period=4, step=0.05, euler=euler).leading.shape == (0, 2)
