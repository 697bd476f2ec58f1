"""The certificate is an upper bound on TV(q, p_st), close to it on well-conditioned chains."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory

pytestmark = pytest.mark.numerical


def case(n: int, seed: int, rate_spread: float, q_spread: float):
    rng = torch.Generator().manual_seed(seed)
    A = theory.from_rates(torch.exp(rate_spread * torch.randn(n, n, generator=rng, dtype=torch.float64)))
    p = theory.stationary_distribution(A)
    q = torch.softmax(p.log() + q_spread * torch.randn(n, generator=rng, dtype=torch.float64), -1)
    return A, p, q / q.sum()


@given(st.integers(2, 20), st.integers(0, 2**31), st.floats(0, 8), st.floats(-16, 1))
def test_never_below_the_truth(n, seed, rate_spread, log_q):
    A, p, q = case(n, seed, rate_spread, 10.0**log_q)
    truth = float(theory.total_variation(p, q))
    assert truth <= float(theory.certificate(A, q)) <= 1.0


@pytest.mark.parametrize("n", [5, 16, 64])
def test_within_a_percent_of_the_truth_on_random_chains(n):
    ratios = []
    for seed in range(20):
        A, p, q = case(n, seed, 1.0, 0.3)
        ratios.append(float(theory.certificate(A, q) / theory.total_variation(p, q)))
    assert min(ratios) >= 1.0
    assert max(ratios) < 1.01


def test_at_p_st_itself_only_rounding_is_left():
    A, p, _ = case(6, 0, 1.0, 0.0)
    assert 0.0 < float(theory.certificate(A, p)) < 1e-13


def test_a_metastable_chain_gets_the_trivial_bound_or_a_true_one():
    """Coupling 1e-12 between two halves: the inverse has entries of 1e12, and TV 0.5 must not be certified as small."""
    n = 8
    R = torch.ones(n, n, dtype=torch.float64)
    R[: n // 2, n // 2 :] = 1e-12
    R[n // 2 :, : n // 2] = 3e-12
    A = theory.from_rates(R)
    p = theory.stationary_distribution(A)
    q = torch.full((n,), 1.0 / n, dtype=torch.float64)
    assert float(theory.total_variation(p, q)) <= float(theory.certificate(A, q)) <= 1.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_on_the_way_to_the_trivial_bound_it_never_falls_below_the_truth(dtype):
    """As the coupling of two halves goes to nothing the defect of the inverse passes through 1, where a bound that
    divides by 1 minus it would turn negative. The arithmetic is double for both dtypes."""
    certified = []
    for exponent in torch.linspace(5.0, 20.0, 101, dtype=torch.float64):
        R = torch.ones(6, 6, dtype=torch.float64)
        R[:3, 3:], R[3:, :3] = 10.0**-exponent, 3 * 10.0**-exponent
        A = theory.from_rates(R.to(dtype))
        p = theory.stationary_distribution(A)
        q = torch.full((6,), 1 / 6, dtype=dtype)
        bound = theory.certificate(A, q)
        assert theory.total_variation(p, q) <= bound <= 1.0
        certified.append(float(bound) < 1.0)
    assert certified[0] and not certified[-1]


@given(st.integers(2, 8), st.integers(0, 2**31), st.integers(-60, 60))
def test_the_unit_of_time_does_not_matter(n, seed, power):
    """Powers of two change no digit: a bound that mixes rates with pure numbers would."""
    A, p, q = case(n, seed, 2.0, 0.1)
    for vector in (p, q):
        assert torch.equal(theory.certificate(A * 2.0**power, vector), theory.certificate(A, vector))


def test_a_chain_too_stiff_to_invert_gets_the_trivial_bound():
    R = torch.tensor([[0.0, 1e-200], [1e-170, 0.0]], dtype=torch.float64)
    big = torch.block_diag(R, R) + 1e-250 * torch.ones(4, 4, dtype=torch.float64)
    big[0, 1] = 1e150
    assert float(theory.certificate(theory.from_rates(big), torch.full((4,), 0.25, dtype=torch.float64))) <= 1.0


def test_a_and_q_broadcast():
    A = torch.stack([case(4, k, 1.0, 0.0)[0] for k in range(3)])
    q = torch.softmax(torch.randn(5, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), -1)
    bound = theory.certificate(A, q)
    assert bound.shape == (5, 3)
    assert float(bound[4, 2]) == pytest.approx(float(theory.certificate(A[2], q[4, 0])), rel=1e-9)


def test_float32_counts_its_own_rounding():
    A, p, _ = case(8, 2, 1.0, 1e-9)
    bound = float(theory.certificate(A.float(), p.float()))
    assert float(theory.total_variation(p, p.float().double())) <= bound
    assert 1e-8 < bound < 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shift", [-6.0, 6.0])
def test_a_diagonal_within_its_tolerance_does_not_lower_the_bound(dtype, shift):
    """p_st depends on the rates alone; A q with a diagonal that is 6 n η off would certify another chain's p_st."""
    for seed in range(60):
        A, _, _ = case(6, seed, 3.0, 0.0)
        A = A.to(dtype)
        exact = theory.stationary_distribution(theory.from_rates(A.double()))
        A = A + shift * 6 * torch.finfo(dtype).eps / 2 * torch.diag(A.diagonal().abs())
        q = exact.to(dtype)
        assert float(theory.total_variation(q.double(), exact)) <= float(theory.certificate(A, q))


def test_mixed_dtypes_take_the_wider_one_and_cast_nothing_down():
    A, _, q = case(5, 0, 1.0, 1e-3)
    rounded = theory.from_rates(A.float().double())
    bound = theory.certificate(A.float(), q)
    assert bound.dtype == torch.float64 and bound == theory.certificate(rounded, q)
    truth = theory.total_variation(q, theory.stationary_distribution(rounded))
    assert truth <= bound <= 1.01 * truth


def test_a_q_in_float32_is_one_in_its_own_rounding():
    rng = torch.Generator().manual_seed(0)
    for seed in range(200):
        A, p, _ = case(5, seed, 1.0, 0.0)
        q = torch.randn(5, generator=rng).softmax(-1)
        assert theory.total_variation(q.double(), p) <= theory.certificate(A, q)
        near = p.float()
        missing = float((near.double().sum() - 1).abs())
        assert max(0.5 * missing, float(theory.total_variation(near.double(), p))) <= theory.certificate(A, near) < 1e-5
    with pytest.raises(ValueError, match="sum to 1"):
        theory.certificate(A, near * 1.001)
    with pytest.raises(ValueError, match="sum to 1"):
        theory.certificate(A, near.double() * (1 + 1e-9))


def test_under_vmap_it_is_the_batched_certificate():
    A = torch.stack([case(4, k, 1.0, 0.0)[0] for k in range(3)])
    q = torch.full((4,), 0.25, dtype=torch.float64)
    assert torch.equal(torch.func.vmap(lambda A: theory.certificate(A, q))(A), theory.certificate(A, q))
    with pytest.raises(theory.GeneratorError, match="batch element"):
        torch.func.vmap(theory.check_generator)(A.mT)


@pytest.mark.parametrize(
    "q, message",
    [
        ([0.5, 0.6], "sum to 1"),
        ([float("nan"), 1.0], "finite"),
        ([float("inf"), 0.0], "finite"),
        ([0.3, 0.3, 0.4], "must be"),
    ],
)
def test_bad_q_is_refused(q, message):
    A = theory.from_rates(torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=message):
        theory.certificate(A, torch.tensor(q, dtype=torch.float64))


def test_float32_is_computed_in_double_and_rounded_up():
    A = theory.from_rates(torch.rand(20, 5, 5, generator=torch.Generator().manual_seed(0)))
    q = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])
    single, double = theory.certificate(A, q), theory.certificate(theory.from_rates(A.double()), q.double())
    assert single.dtype == torch.float32
    assert (single.double() >= double).all() and (single.double() <= double * (1 + 2.0**-22)).all()
