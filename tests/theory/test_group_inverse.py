"""A^#, sensitivities, spectral gap: the defining equations, and independent computations."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory

pytestmark = pytest.mark.numerical


def random_generator(n: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return theory.from_rates(torch.exp(spread * torch.randn(n, n, generator=rng, dtype=torch.float64)))


@given(st.integers(2, 12), st.integers(0, 2**31), st.floats(-6, 6))
def test_the_three_equations_of_the_group_inverse(n, seed, log_scale):
    A = random_generator(n, seed) * 10.0**log_scale
    G = theory.group_inverse(A)
    unit = 1e-11 * float(A.abs().max() * G.abs().max())
    assert (A @ G @ A - A).abs().max() <= unit * A.abs().max()
    assert (G @ A @ G - G).abs().max() <= unit * G.abs().max()
    assert (A @ G - G @ A).abs().max() <= unit
    p = theory.stationary_distribution(A)
    projection = torch.eye(n, dtype=torch.float64) - p[:, None]
    assert (A @ G - projection).abs().max() <= unit


def test_against_the_spectral_definition_in_50_digits():
    A = random_generator(5, 3)
    with mpmath.workdps(50):
        M = mpmath.matrix(A.tolist())
        for j in range(5):
            M[j, j] = -mpmath.fsum(M[i, j] for i in range(5) if i != j)
        values, vectors = mpmath.eig(M)
        inverse = mpmath.inverse(vectors)
        zero = min(range(5), key=lambda k: abs(values[k]))
        exact = vectors * mpmath.diag([0 if k == zero else 1 / values[k] for k in range(5)]) * inverse
        reference = np.array([[float(mpmath.re(exact[i, j])) for j in range(5)] for i in range(5)])
    assert np.abs(theory.group_inverse(A).numpy() - reference).max() < 1e-14


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("coupling", [1e-3, 1e-6, 1e-10, 1e-18, 1e-30])
def test_nearly_decomposable_chains_keep_their_digits(coupling, dtype):
    """Two pairs of states coupled by next to nothing: the inverse by LU is noise, or singular, in either precision."""
    R = torch.block_diag(*[torch.tensor([[0.0, 2.0], [1.0, 0.0]], dtype=torch.float64)] * 2)
    R[2, 0], R[0, 2], R[3, 1] = coupling, 3 * coupling, coupling / 8
    R = R.to(dtype)
    with mpmath.workdps(120):
        M = mpmath.matrix(R.tolist())
        for j in range(4):
            M[j, j] = -mpmath.fsum(M[i, j] for i in range(4) if i != j)
        balance = M.copy()
        balance[3, :] = mpmath.ones(1, 4)
        rank_one = mpmath.lu_solve(balance, mpmath.matrix([0, 0, 0, 1])) * mpmath.ones(1, 4)
        exact = mpmath.inverse(M - rank_one) + rank_one
        reference = np.array([[float(exact[i, j]) for j in range(4)] for i in range(4)])
    error = np.abs(theory.group_inverse(theory.from_rates(R)).double().numpy() - reference).max()
    assert error <= torch.finfo(dtype).eps ** (2 / 3) * np.abs(reference).max()


def test_a_nearly_decomposable_chain_with_transient_states_is_refused_with_the_reason():
    R = torch.zeros(5, 5, dtype=torch.float64)
    R[0, 1] = R[1, 0] = R[2, 3] = R[3, 2] = R[0, 4] = 1.0
    R[2, 0] = R[0, 2] = 1e-20
    A = theory.from_rates(R)
    with pytest.raises(theory.NumericalError, match="rounding decides"):
        theory.group_inverse(A)
    p = theory.stationary_distribution(A)
    with pytest.raises(theory.NumericalError, match="singular to working precision"):
        theory.solve_sum_zero(A, torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0], dtype=torch.float64), p)


def test_under_vmap_it_is_the_batched_inverse():
    A = torch.stack([random_generator(4, k) for k in range(3)])
    assert torch.allclose(torch.func.vmap(theory.group_inverse)(A), theory.group_inverse(A), rtol=1e-13)


def test_it_is_not_the_moore_penrose_inverse():
    A = random_generator(4, 1)
    assert (theory.group_inverse(A) - torch.linalg.pinv(A)).abs().max() > 1e-2


def test_transient_states_are_fine():
    A = theory.from_rates(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    G = theory.group_inverse(A)
    assert torch.allclose(A @ G @ A, A, atol=1e-13)
    assert torch.allclose(A @ G, G @ A, atol=1e-13)


def test_probabilities_below_the_smallest_number_are_no_group_inverse():
    """p_0 is about 1e-439: times its first-passage times, 1e289, it is not zero."""
    R = torch.zeros(3, 3, dtype=torch.float64)
    R[0, 1], R[0, 2], R[1, 0], R[1, 2], R[2, 0], R[2, 1] = 3e-289, 2e173, 7e149, 5e173, 2e-137, 1e-202
    with pytest.raises(theory.NumericalError, match="probabilities beyond the range"):
        theory.group_inverse(theory.from_rates(R))


@given(st.integers(3, 12), st.integers(0, 2**31))
def test_transient_states_need_no_first_passage(n, seed):
    """Where the inverse by LU is right it is taken: there are no mean first-passage times to a transient state."""
    R = random_generator(n, seed).clone()
    R[n // 2 :, : n // 2] = 0.0
    A = theory.from_rates(R.fill_diagonal_(0.0))
    G = theory.group_inverse(A)
    assert torch.allclose(A @ G @ A, A, atol=1e-11 * float(A.abs().max() ** 2 * G.abs().max()))


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_solve_sum_zero_is_the_group_inverse_on_sum_zero_vectors(n, seed):
    A = random_generator(n, seed)
    v = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v = v - v.mean()
    assert torch.allclose(theory.solve_sum_zero(A, v), theory.group_inverse(A) @ v, atol=1e-11)


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_any_w_gives_the_same_inverse_on_sum_zero_vectors(n, seed):
    """(A − w1ᵀ)⁻¹v = A^# v for 1ᵀv = 0 whatever w is, and (A − w1ᵀ)⁻¹w = −p: what the certificate rests on."""
    A = random_generator(n, seed)
    rng = torch.Generator().manual_seed(seed)
    w = torch.rand(n, generator=rng, dtype=torch.float64) + 0.1
    v = torch.randn(n, generator=rng, dtype=torch.float64)
    v = v - v.mean()
    M = torch.linalg.inv(A - w[:, None])
    assert torch.allclose(M @ v, theory.group_inverse(A) @ v, atol=1e-10)
    assert torch.allclose(M @ w, -theory.stationary_distribution(A), atol=1e-11)


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_a_residual_becomes_an_error_through_the_group_inverse(n, seed):
    """q − p_st = A^# A q for every q of sum one, also with negative entries."""
    A = random_generator(n, seed)
    q = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q = q + (1 - q.sum()) / n
    assert torch.allclose(q - theory.stationary_distribution(A), theory.group_inverse(A) @ (A @ q), atol=1e-10)


@given(st.integers(2, 8), st.integers(0, 2**31))
def test_sensitivity_against_central_differences(n, seed):
    A, B = random_generator(n, seed), random_generator(n, seed + 1)
    dA = B - A
    h = 1e-5
    difference = (theory.stationary_distribution(A + h * dA) - theory.stationary_distribution(A - h * dA)) / (2 * h)
    assert torch.allclose(theory.sensitivity(A, dA), difference, atol=1e-7)


@pytest.mark.parametrize("entry", [1.0, torch.inf, torch.nan])
def test_sensitivity_refuses_a_direction_that_creates_probability(entry):
    dA = torch.zeros(3, 3, dtype=torch.float64)
    dA[0, 1] = entry
    with pytest.raises(ValueError, match="columns of dA must sum to zero, and be finite"):
        theory.sensitivity(random_generator(3, 0), dA)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_spectral_gap_of_the_complete_graph(n):
    A = theory.from_rates(torch.ones(n, n, dtype=torch.float64))
    assert float(theory.spectral_gap(A)) == pytest.approx(n, rel=1e-13)


def test_spectral_gap_of_the_ring_is_complex_and_its_real_part_counts():
    n = 7
    A = theory.from_rates(torch.roll(torch.eye(n, dtype=torch.float64), 1, 0))
    assert float(theory.spectral_gap(A)) == pytest.approx(1 - np.cos(2 * np.pi / n), rel=1e-12)


@pytest.mark.parametrize(("back", "digits"), [(1e-3, 1e-14), (1e-12, 3e-6)])
def test_spectral_gap_of_a_one_way_row_against_its_polynomial(back, digits):
    """det(λ − A) = (1 + λ)^{n−1} (λ + r) − r: eigenvalues around −1, whose condition grows as r falls."""
    n = 20
    R = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    R[n - 1, 0] = back
    with mpmath.workdps(60):
        r = mpmath.mpf(back)
        power = [mpmath.binomial(n - 1, k) for k in range(n)]
        rising = [r * a + b for a, b in zip([*power, 0], [0, *power], strict=True)]  # its constant is r, taken off
        roots = mpmath.polyroots(rising[:0:-1], maxsteps=500, extraprec=300)
        exact = float(min(-mpmath.re(root) for root in roots))
    assert float(theory.spectral_gap(theory.from_rates(R))) == pytest.approx(exact, abs=digits)


def test_spectral_gap_is_that_of_one_recurrent_class():
    with pytest.raises(theory.NotUniqueError, match="2 recurrent classes"):
        theory.spectral_gap(torch.block_diag(*[theory.from_rates(torch.ones(2, 2, dtype=torch.float64))] * 2))


def test_one_state():
    A = torch.zeros(1, 1, dtype=torch.float64)
    assert theory.spectral_gap(A) == torch.inf
    assert theory.group_inverse(A) == 0


def test_batches_and_float32():
    A = torch.stack([random_generator(4, k) for k in range(6)]).reshape(2, 3, 4, 4)
    torch.testing.assert_close(theory.group_inverse(A)[1, 2], theory.group_inverse(A[1, 2]), rtol=1e-13, atol=1e-15)
    single = theory.group_inverse(A.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), theory.group_inverse(A), atol=1e-5)


def test_what_rounding_decides_names_the_batch_element():
    """Two states coupled by 1e-12 and a transient one: in float32 neither the inverse nor first passage serves."""
    slow = theory.from_rates(torch.tensor([[0.0, 1e-12, 1.0], [1e-12, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    A = torch.stack([random_generator(3, k).float() for k in range(4)]).reshape(2, 2, 3, 3)
    A[1, 0] = slow
    with pytest.raises(theory.NumericalError, match=r"decides A\^# \(batch element \[1, 0\]\).*pass A.double\(\)"):
        theory.group_inverse(A)
    other = theory.group_inverse(torch.stack([slow, slow]).double())  # which its remedy says
    assert torch.allclose(slow.double() @ other[1] @ slow.double(), slow.double(), rtol=1e-6, atol=1e-15)


def test_each_element_of_a_batch_goes_by_its_own_route():
    """A transient state needs the inverse, a coupling of 1e-13 the times: one batch holds both, with derivatives."""
    transient = theory.from_rates(torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.float64))
    slow = theory.from_rates(torch.tensor([[0.0, 1e-13, 0], [1e-13, 0, 1], [0, 1, 0]], dtype=torch.float64))
    both = torch.stack([transient, slow, random_generator(3, 1)]).requires_grad_()
    found = theory.group_inverse(both)
    (gradient,) = torch.autograd.grad(found[:, 0, 0].sum(), both)
    for one, inverse, slope in zip(both, found, gradient, strict=True):
        alone = one.detach().requires_grad_()
        single = theory.group_inverse(alone)
        torch.testing.assert_close(inverse, single, rtol=1e-13, atol=0)
        torch.testing.assert_close(slope, torch.autograd.grad(single[0, 0], alone)[0], rtol=1e-10, atol=0)
    torch.testing.assert_close(torch.func.vmap(theory.group_inverse)(both), found, rtol=1e-13, atol=0)


def test_derivative_of_the_group_inverse():
    A, B = random_generator(4, 5), random_generator(4, 6)
    direction = B - A
    _, tangent = torch.func.jvp(theory.group_inverse, (A,), (direction,))
    h = 1e-5
    difference = (theory.group_inverse(A + h * direction) - theory.group_inverse(A - h * direction)) / (2 * h)
    assert torch.allclose(tangent, difference, atol=1e-7)
