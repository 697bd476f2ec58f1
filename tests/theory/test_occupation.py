"""The occupation's mean, spread and intervals against quadrature, large deviations, and simulation."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, linalg, stats

import theory
from theory.errors import NotUniqueError, NumericalError

pytestmark = pytest.mark.numerical


def random_generator(n, seed=0):
    return theory.from_rates(np.random.default_rng(seed).random((n, n)))


def test_mean_against_quadrature_of_the_matrix_exponential():
    A = random_generator(4, seed=1)
    x0 = torch.tensor([0.7, 0.1, 0.0, 0.2], dtype=torch.float64)
    for t in (0.05, 1.0, 30.0):
        exact, _ = integrate.quad_vec(lambda s: linalg.expm(A.numpy() * s) @ x0.numpy(), 0, t, epsabs=1e-13)
        np.testing.assert_allclose(theory.occupation_mean(A, x0, t), exact / t, atol=1e-12)


@pytest.mark.parametrize("t", [1e-12, 1e-3, 0.7, 40.0, 1e6])
def test_mean_against_sixty_digits_on_a_metastable_chain(t):
    """The formula with A^# is off by η ‖A^#‖/t here, which is more than 1 at the shortest t, and may be negative."""
    rates = np.ones((4, 4))
    rates[:2, 2:], rates[2:, :2] = 3e-9, 1e-9
    A = theory.from_rates(rates)
    x0 = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    with mpmath.workdps(60):
        M = mpmath.matrix(8, 8)  # e^{Mt} of M = [[A, I], [0, 0]] holds the integral of e^{As} in its upper right block
        for j in range(4):
            for i in range(4):
                M[i, j] = mpmath.mpf(rates[i, j]) if i != j else -mpmath.fsum(np.delete(rates[:, j], j).tolist())
            M[j, 4 + j] = 1
        integral = mpmath.expm(M * mpmath.mpf(t))
        exact = [float(integral[i, 4] / mpmath.mpf(t)) for i in range(4)]
    mean = theory.occupation_mean(A, x0, t)
    assert mean.tolist() == pytest.approx(exact, rel=1e-13)


def test_mean_for_all_times_that_the_dtype_holds():
    A = random_generator(3, seed=4)
    x0 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    p = theory.stationary_distribution(A)
    assert torch.allclose(theory.occupation_mean(A, x0, 1e308), p, rtol=1e-13)
    assert torch.allclose(theory.propagate(A, x0, [1e308])[0], p, rtol=1e-13)
    assert torch.allclose(theory.occupation_mean(A, x0, 1e-300), x0, atol=1e-15)


def test_mean_of_a_chain_with_two_recurrent_classes():
    A = theory.from_rates(np.kron(np.eye(2), np.ones((2, 2))))
    x0 = torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=torch.float64)
    mean = theory.occupation_mean(A, x0, 1e9)
    assert mean.tolist() == pytest.approx([0.25] * 4, abs=1e-9)


def test_derivative_of_the_mean():
    rates = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    x0 = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    for t in (0.1, 5.0):
        mean = lambda R, t=t: theory.occupation_mean(theory.from_rates(R), x0, t)  # noqa: E731
        assert torch.autograd.gradcheck(mean, rates, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(mean, rates)


def test_covariance_is_the_curvature_of_the_largest_eigenvalue():
    # Gärtner and Ellis: log E exp(θ · T occ) / T tends to the largest eigenvalue of A + diag θ.
    A = random_generator(4, seed=2)
    C = theory.occupation_covariance(A)

    def top(theta):
        return np.linalg.eigvals(A.numpy() + np.diag(theta)).real.max()

    h = 1e-3
    for i in range(4):
        for j in range(4):
            a, b = h * np.eye(4)[i], h * np.eye(4)[j]
            second = (top(a + b) - top(a - b) - top(b - a) + top(-a - b)) / (4 * h * h)
            assert float(C[i, j]) == pytest.approx(second, abs=1e-6)


def test_covariance_has_the_null_vector_of_ones_and_is_positive():
    for n in (2, 7, 20):
        C = theory.occupation_covariance(random_generator(n, seed=n))
        assert float(C.sum(-1).abs().max()) < 1e-14
        eigenvalues = torch.linalg.eigvalsh(C)
        assert eigenvalues[0].abs() < 1e-14 and eigenvalues[1] > 0


def test_two_states_by_hand():
    a, b = 0.7, 1.9
    C = theory.occupation_covariance(theory.from_rates([[0.0, b], [a, 0.0]]))
    assert float(C[0, 0]) == pytest.approx(2 * a * b / (a + b) ** 3, rel=1e-14)


def test_chi2_is_the_pseudo_inverse_form():
    A = random_generator(6, seed=3)
    occupation = theory.sample_jumps(A, [0, 1, 2], 50.0, seed=0, record=False).occupation
    value, freedom = theory.occupation_chi2(A, occupation, 50.0)
    away = occupation - theory.stationary_distribution(A)
    pinv = torch.linalg.pinv(theory.occupation_covariance(A), rtol=1e-10)
    torch.testing.assert_close(value, 50.0 * (away @ pinv * away).sum(-1), rtol=1e-9, atol=0)
    assert freedom == 5


def covered(A, occupation, t):
    value, freedom = theory.occupation_chi2(A, occupation, t)
    return float((value <= stats.chi2.ppf(0.95, freedom)).double().mean())


def test_the_joint_interval_covers_in_95_percent_of_1000_paths():
    A = random_generator(16, seed=0)
    t = 200.0 / float(theory.spectral_gap(A))
    path = theory.sample_jumps(A, torch.zeros(1000, dtype=torch.long), t, seed=1, record=False)
    assert abs(covered(A, path.occupation, t) - 0.95) <= 0.02
    p = theory.stationary_distribution(A)
    single = ((path.interval[..., 0] <= p) & (p <= path.interval[..., 1])).double().mean(0)
    assert float(single.min()) >= 0.93  # states seen fewer than 100 times have a conservative interval
    naive = (p * (1 - p) / path.jumps[:, None]).sqrt() * 1.96
    assert float(((path.occupation - p).abs() <= naive).double().mean()) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("chain", range(3))
def test_the_joint_interval_covers_in_95_percent_of_1000_seeds(chain):
    A = random_generator(16, seed=chain)
    t = 200.0 / float(theory.spectral_gap(A))
    runs = [theory.sample_jumps(A, 0, t, seed=seed, record=False).occupation for seed in range(1000)]
    assert abs(covered(A, torch.stack(runs), t) - 0.95) <= 0.02


def test_a_wrong_law_is_not_covered():
    A = random_generator(16, seed=0)
    t = 200.0 / float(theory.spectral_gap(A))
    occupation = theory.sample_jumps(A, torch.zeros(200, dtype=torch.long), t, seed=1, record=False).occupation
    law = theory.stationary_distribution(A)
    law = law + 0.02 * torch.tensor([1.0, -1.0] * 8, dtype=torch.float64)
    value, freedom = theory.occupation_chi2(A, occupation, t, law=law)
    assert float((value <= stats.chi2.ppf(0.95, freedom)).double().mean()) < 0.5


def test_expected_tv_is_what_simulation_shows_and_falls_as_one_over_root_t():
    A = random_generator(5, seed=5)
    p = theory.stationary_distribution(A)
    for t in (200.0, 3200.0):
        occupation = theory.sample_jumps(A, torch.zeros(2000, dtype=torch.long), t, seed=9, record=False).occupation
        seen = float(theory.total_variation(occupation, p).mean())
        assert seen == pytest.approx(float(theory.expected_occupation_tv(A, t)), rel=0.03)
    ratio = theory.expected_occupation_tv(A, 200.0) / theory.expected_occupation_tv(A, 3200.0)
    assert float(ratio) == pytest.approx(4.0, rel=1e-12)


def test_mean_of_simulated_occupations_shows_the_bias_of_the_start():
    A = random_generator(5, seed=6)
    start = torch.eye(5, dtype=torch.float64)[2]
    t = 1.5
    occupation = theory.sample_jumps(A, torch.full((40_000,), 2), t, seed=2, record=False).occupation
    error = occupation.std(0) / 200.0
    assert float(((occupation.mean(0) - theory.occupation_mean(A, start, t)) / error).abs().max()) < 4.0
    assert float(((occupation.mean(0) - theory.stationary_distribution(A)) / error).abs().max()) > 50.0


def test_transient_states_have_no_spread_and_leave_the_joint_region():
    A = theory.from_rates([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    C = theory.occupation_covariance(A)
    assert float(C[2].abs().max()) < 1e-15
    occupation = theory.sample_jumps(A, 0, 50.0, seed=0).occupation
    assert theory.occupation_chi2(A, occupation, 50.0)[1] == 1
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert theory.occupation_interval(A, occupation, 50.0, start=start)[2, 0] == 0.0
    assert theory.occupation_chi2(torch.zeros(1, 1).double(), torch.ones(1).double(), 1.0) == (0.0, 0)


def test_levels_are_quantiles_of_the_normal_law():
    A = random_generator(3)
    p = theory.stationary_distribution(A)
    sigma = theory.occupation_covariance(A).diagonal().sqrt() / math.sqrt(10.0)
    for level in (0.5, 0.95, 0.999):
        interval = theory.occupation_interval(A, p, 10.0, level=level)
        z = stats.norm.ppf(0.5 + level / 2)
        torch.testing.assert_close(interval[:, 1] - p, z * sigma, rtol=1e-10, atol=0)


def test_metastable_wells_are_right_until_they_are_refused():
    # Two wells joined by a rate d each way: between wells it is a two-state chain of rates d/3, σ² = 1/(4 d/3).
    well = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
    for exponent in range(6, 18):
        d = 10.0**-exponent
        rates = np.kron(np.eye(2), np.ones((3, 3)))
        rates[0, 3] = rates[3, 0] = d
        if exponent > 12:
            with pytest.raises(NumericalError, match="rounding decides"):
                theory.occupation_covariance(theory.from_rates(rates))
        else:
            C = theory.occupation_covariance(theory.from_rates(rates))
            assert float(well @ C @ well) == pytest.approx(0.75 / d, rel=1e-3)


def test_what_is_refused():
    A = random_generator(3)
    p = theory.stationary_distribution(A)
    for t in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="t must be positive"):
            theory.occupation_interval(A, p, t)
    with pytest.raises(ValueError, match="level must lie"):
        theory.occupation_interval(A, p, 1.0, level=95)
    with pytest.raises(ValueError, match="one generator"):
        theory.occupation_chi2(A.expand(2, 3, 3), p, 1.0)
    with pytest.raises(NotUniqueError):
        theory.occupation_covariance(torch.zeros(2, 2, dtype=torch.float64))
    wells = np.kron(np.eye(2), np.ones((3, 3)))
    wells[0, 3] = wells[3, 0] = 1e-15
    with pytest.raises(NumericalError, match="relaxes so slowly that rounding decides"):
        theory.occupation_chi2(theory.from_rates(wells), torch.full((6,), 1 / 6, dtype=torch.float64), 1.0)


def test_the_variance_at_every_time_is_that_of_an_exponential_lifetime():
    """State 1 is left at rate 1 for good: its occupation is min(E, t)/t with E ~ Exp(1)."""
    A = theory.from_rates([[0.0, 1.0], [0.0, 0.0]])
    start = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for t in (0.3, 2.0, 10.0, 1e5):
        square = 2.0 * (1.0 - math.exp(-t) * (1.0 + t))  # E min(E, t)²
        mean = 1.0 - math.exp(-t)
        expected = (square - mean**2) / t**2
        assert theory.occupation_variance(A, start, t).tolist() == pytest.approx([expected] * 2, rel=1e-5, abs=1e-15)


def test_the_variance_at_every_time_tends_to_that_of_the_limit():
    A = random_generator(4, seed=7)
    start = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    limit = theory.occupation_covariance(A).diagonal()
    for t, tolerance in ((200.0, 0.02), (2000.0, 0.002)):
        torch.testing.assert_close(t * theory.occupation_variance(A, start, t), limit, rtol=tolerance, atol=0)


@pytest.mark.parametrize("t", [1.0, 10.0, 1e5])
def test_the_interval_of_a_transient_state_covers(t):
    """sample_jumps([[0, 1], [0, −1]], 1, t): p_st = e₀; without the start the interval had width 0 beside it."""
    path = theory.sample_jumps([[0.0, 1.0], [0.0, -1.0]], [1] * 400, t, seed=0, record=False)
    p = torch.tensor([1.0, 0.0], dtype=torch.float64)
    covered = ((path.interval[..., 0] <= p) & (p <= path.interval[..., 1])).double().mean(0)
    assert float(covered.min()) >= 0.95
    assert bool((path.interval[..., 1] - path.interval[..., 0] < 10.0 / t).all())  # and says something


@pytest.mark.parametrize("times", [0.2, 1.0, 20.0])
def test_the_interval_of_a_metastable_chain_is_conservative(times):
    rates = torch.ones(4, 4, dtype=torch.float64)
    rates[:2, 2:], rates[2:, :2] = 3e-3, 1e-3
    A = theory.from_rates(rates)
    p = theory.stationary_distribution(A)
    path = theory.sample_jumps(A, [0] * 300, times / float(theory.spectral_gap(A)), seed=1, record=False)
    covered = ((path.interval[..., 0] <= p) & (p <= path.interval[..., 1])).double().mean(0)
    assert float(covered.min()) >= 0.95


def test_without_a_start_transient_states_are_refused():
    with pytest.raises(ValueError, match="pass start="):
        theory.occupation_interval([[0.0, 1.0], [0.0, -1.0]], [0.5, 0.5], 10.0)
