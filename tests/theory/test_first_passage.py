"""First-passage times and Kemeny's constant against linear solves, closed forms, 60 digits and the group inverse."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm

from theory import GeneratorError, NotUniqueError, from_rates, get_system, group_inverse, stationary_distribution
from theory.chain.first_passage import kemeny_constant, mean_first_passage_times
from theory.systems import double_well

pytestmark = pytest.mark.numerical


def random_generator(n, seed, decades=1.0, batch=()):
    rng = torch.Generator().manual_seed(seed)
    return from_rates((decades * torch.randn(*batch, n, n, generator=rng, dtype=torch.float64)).exp())


def exact_times(A, target, digits=60):
    """Times to `target` from every other state, by a linear solve at `digits` digits on the rates alone."""
    n = A.shape[-1]
    others = [k for k in range(n) if k != target]
    with mpmath.workdps(digits):
        M = mpmath.matrix(n - 1, n - 1)
        for row, j in enumerate(others):
            M[row, row] = mpmath.fsum(mpmath.mpf(A[k, j].item()) for k in range(n) if k != j)
            for column, k in enumerate(others):
                if k != j:
                    M[row, column] = -mpmath.mpf(A[k, j].item())
        m = mpmath.lu_solve(M, mpmath.matrix([1] * (n - 1)))
        return dict(zip(others, [m[row] for row in range(n - 1)], strict=True))


@given(n=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_times_solve_their_linear_system(n, seed):
    A = random_generator(n, seed)
    m = mean_first_passage_times(A)
    assert torch.equal(m.diagonal(), torch.zeros(n, dtype=torch.float64))
    for i in range(n):
        others = [k for k in range(n) if k != i]
        solved = torch.linalg.solve(-A[others][:, others].T, torch.ones(n - 1, dtype=torch.float64))
        torch.testing.assert_close(m[i, others], solved, rtol=1e-10, atol=0)


@given(n=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_times_and_kemeny_from_the_group_inverse(n, seed):
    A = random_generator(n, seed)
    p, A_sharp = stationary_distribution(A), group_inverse(A)
    formula = (A_sharp - A_sharp.diagonal()[:, None]) / p[:, None]
    m = mean_first_passage_times(A)
    torch.testing.assert_close(m, formula, rtol=1e-9, atol=1e-11 * float(m.max() + 1))
    torch.testing.assert_close(kemeny_constant(A), -A_sharp.trace(), rtol=1e-11, atol=1e-15)
    slow = -torch.linalg.eigvals(A)
    slow = slow[slow.abs().argsort()][1:]
    torch.testing.assert_close(kemeny_constant(A), (1.0 / slow).sum().real, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(p @ m, kemeny_constant(A).expand(n), rtol=1e-12, atol=0)


def test_the_transposed_index_is_another_quantity():
    A = get_system("birth_death").A(torch.zeros(1, dtype=torch.float64))
    p, A_sharp = stationary_distribution(A), group_inverse(A)
    transposed = (A_sharp.T - A_sharp.diagonal()[:, None]) / p[:, None]
    off = ~torch.eye(16, dtype=torch.bool)
    assert float((transposed / mean_first_passage_times(A))[off].abs().max()) > 5.0


def test_two_states_and_a_one_way_ring_by_hand():
    A = from_rates(torch.tensor([[0.0, 3.0], [0.5, 0.0]], dtype=torch.float64))
    expected = torch.tensor([[0.0, 1 / 3], [2.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(mean_first_passage_times(A), expected, rtol=1e-15, atol=0)
    ring = from_rates(torch.diag_embed(torch.full((5,), 2.0, dtype=torch.float64)).roll(1, 0))
    steps = (torch.arange(5)[:, None] - torch.arange(5)) % 5
    torch.testing.assert_close(mean_first_passage_times(ring), steps / 2.0, check_dtype=False, rtol=1e-15, atol=0)
    assert mean_first_passage_times(torch.zeros(1, 1, dtype=torch.float64)).tolist() == [[0.0]]


@pytest.mark.parametrize("barrier, tilt", [(3.0, 0.5), (12.0, -2.0), (60.0, 1.0)])
def test_metastable_chain_entrywise_against_the_birth_death_formula(barrier, tilt):
    # One step up takes Σ_{l<=k} p_l/(p_k birth_k) on average, one step down likewise: positive sums, up to 1e230.
    y = torch.tensor([barrier, tilt], dtype=torch.float64)
    A, p = double_well.generator(y), double_well.stationary(y)
    below, above = p.cumsum(0), p.flip(0).cumsum(0).flip(0)
    up = below[:-1] / (p[:-1] * A.diagonal(-1))
    down = above[1:] / (p[1:] * A.diagonal(1))
    exact = torch.zeros(64, 64, dtype=torch.float64)
    for j in range(64):
        exact[j + 1 :, j] = up[j:].cumsum(0)
        exact[:j, j] = down[:j].flip(0).cumsum(0).flip(0)
    m = mean_first_passage_times(A)
    torch.testing.assert_close(m, exact, rtol=1e-12, atol=0)
    kemeny = (p[:, None] * exact).sum(0)
    torch.testing.assert_close(kemeny_constant(A), kemeny[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("decades", [0.5, 5.0, 30.0])
def test_random_dense_rates_entrywise_at_sixty_digits(decades):
    A = random_generator(8, 3, decades)
    m = mean_first_passage_times(A)
    for target in (0, 3, 7):
        for start, exact in exact_times(A, target, digits=300 if decades > 10 else 60).items():
            assert abs(m[target, start].item() - exact) <= 2e-14 * exact


def test_nearly_decomposable_chain_at_sixty_digits():
    A = random_generator(8, 5)
    coupling = torch.ones(8, 8, dtype=torch.float64)
    coupling[:4, 4:] = coupling[4:, :4] = 1e-12
    A = from_rates(A * coupling)
    m = mean_first_passage_times(A)
    for start, exact in exact_times(A, 6).items():
        assert abs(m[6, start].item() - exact) <= 2e-14 * exact


def test_the_time_is_the_integral_of_the_survival_probability():
    system = get_system("driven_cycle")
    A = system.A(system.uniform(1, seed=4)[0])
    m = mean_first_passage_times(A)
    inside = A[1:, 1:].numpy()
    for start in range(4):
        survival, _ = quad(lambda t, s=start: expm(inside * t)[:, s].sum(), 0.0, 40.0, epsabs=1e-12, epsrel=1e-10)
        assert m[0, start + 1].item() == pytest.approx(survival, rel=1e-8)


def test_reducible_chains_have_infinite_times_where_they_should():
    inf = float("inf")
    # 0 and 1 recurrent, 2 transient.
    A = from_rates(torch.tensor([[0.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    m = mean_first_passage_times(A)
    torch.testing.assert_close(m[0], torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(m[1], torch.tensor([0.5, 0.0, 1.5], dtype=torch.float64))
    assert m[2].tolist() == [inf, inf, 0.0]
    # Recurrent part: gap 3, one non-zero eigenvalue.
    torch.testing.assert_close(kemeny_constant(A), torch.tensor(1 / 3, dtype=torch.float64))
    # A start that may be absorbed elsewhere never arrives with positive probability: its mean is infinite.
    split = from_rates(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    assert mean_first_passage_times(split).tolist() == [[0.0, inf, inf], [inf, 0.0, inf], [inf, inf, 0.0]]
    with pytest.raises(NotUniqueError):
        kemeny_constant(split)


@given(n=st.integers(2, 7), seed=st.integers(0, 10**6), unit=st.floats(1e-100, 1e100))
def test_times_scale_with_the_unit_and_follow_a_permutation(n, seed, unit):
    A = random_generator(n, seed)
    m = mean_first_passage_times(A)
    torch.testing.assert_close(mean_first_passage_times(unit * A), m / unit, rtol=1e-12, atol=0)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shuffled = mean_first_passage_times(A[order][:, order])
    torch.testing.assert_close(shuffled, m[order][:, order], rtol=1e-12, atol=0)


def test_batches_dtypes_and_the_callers_array():
    A = random_generator(5, 9, batch=(2, 3))
    m = mean_first_passage_times(A)
    assert m.shape == (2, 3, 5, 5) and kemeny_constant(A).shape == (2, 3)
    torch.testing.assert_close(m[1, 2], mean_first_passage_times(A[1, 2]))
    single = mean_first_passage_times(A.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), m, rtol=2e-5, atol=0)
    array = A[0, 0].numpy().copy()
    kept = array.copy()
    torch.testing.assert_close(mean_first_passage_times(array), m[0, 0])
    np.testing.assert_array_equal(array, kept)
    integers = mean_first_passage_times([[-1, 2], [1, -2]])
    assert integers.dtype == torch.float64


def test_derivatives_against_finite_differences():
    system = get_system("driven_cycle")
    y = system.uniform(1, seed=6)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: mean_first_passage_times(system.generator(z)), y)
    assert torch.autograd.gradgradcheck(lambda z: mean_first_passage_times(system.generator(z)), y)


def test_derivatives_of_kemenys_constant_beside_transient_states():
    """State 2 is left for good: K is that of the two others, 1/(a + b), whose derivative is −1/(a + b)²."""
    rates = torch.tensor([[0, 1.0, 0.5], [0.7, 0, 0.3], [0, 0, 0]], dtype=torch.float64, requires_grad=True)
    K = kemeny_constant(from_rates(rates).expand(2, 3, 3))
    (slope,) = torch.autograd.grad(K.sum(), rates)
    assert K.tolist() == pytest.approx([1 / 1.7] * 2, rel=1e-15)
    expected = torch.zeros_like(rates)
    expected[0, 1] = expected[1, 0] = -2 / 1.7**2
    assert torch.allclose(slope, expected, rtol=1e-14)


def test_bad_input_is_refused():
    for bad in (torch.ones(2, 2), torch.zeros(2, 3), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])):
        with pytest.raises(GeneratorError):
            mean_first_passage_times(bad)
        with pytest.raises(GeneratorError):
            kemeny_constant(bad)


def test_times_whose_parts_overflow_on_the_way():
    """1 -> 2 at a rate of 3e212, and 2 is left after 3e243 on average: their product is no double."""
    A = from_rates(torch.tensor([[0, 3e-42, 3e-244], [7e-92, 0, 0], [0, 3e212, 0]], dtype=torch.float64))
    times = mean_first_passage_times(A)
    for target in range(3):
        others = [k for k in range(3) if k != target]
        exact = [float(t) for t in exact_times(A, target, digits=800).values()]
        assert times[target, others].tolist() == pytest.approx(exact, rel=1e-14)
