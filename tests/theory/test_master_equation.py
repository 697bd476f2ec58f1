"""Propagation, relaxation and thermodynamics of ṗ = A p against closed forms, mpmath and SciPy."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.sparse import coo_matrix, csc_array, csr_matrix
from scipy.stats import poisson

from theory import GeneratorError, NotUniqueError, from_rates, get_system, list_systems, spectral_gap
from theory import stationary_distribution as p_st
from theory.chain.master_equation import (
    entropy_production,
    has_detailed_balance,
    propagate,
    relative_entropy,
    relaxation_radius,
)
from theory.chain.transition_matrix import transition_matrix
from theory.chain.uniformisation import _poisson
from theory.systems import attention, birth_death, double_well, random_exponential

pytestmark = pytest.mark.numerical

sizes, seeds = st.integers(2, 8), st.integers(0, 10**6)


def random_generator(n, seed, decades=1.0, batch=()):
    rng = torch.Generator().manual_seed(seed)
    return from_rates((decades * torch.randn(*batch, n, n, generator=rng, dtype=torch.float64)).exp())


def random_state(n, seed, batch=()):
    rng = torch.Generator().manual_seed(seed + 1)
    return torch.randn(*batch, n, generator=rng, dtype=torch.float64).softmax(-1)


def exact_exponential(A, t, digits=50):
    """e^{At} at `digits` digits from the rates alone."""
    n = A.shape[-1]
    with mpmath.workdps(digits + 40):
        M = mpmath.matrix(n, n)
        for i, j in itertools.permutations(range(n), 2):
            M[i, j] = mpmath.mpf(A[i, j].item())
        for j in range(n):
            M[j, j] = -mpmath.fsum(M[i, j] for i in range(n) if i != j)
        largest = max(abs(M[j, j]) for j in range(n))
        squarings = max(0, int(mpmath.ceil(mpmath.log(largest * t + 1, 2))))
        K, term = mpmath.eye(n), mpmath.eye(n)
        for k in range(1, 60):
            term = term * M * (mpmath.mpf(t) / 2**squarings / k)
            K = K + term
        for _ in range(squarings):
            K = K * K
        return K


@pytest.mark.parametrize("t", [0.0, 1e-6, 0.3, 20.0, 1e4])
@pytest.mark.parametrize("name", ["two_state", "driven_cycle", "sodium_channel"])
def test_transition_matrix_entrywise_at_fifty_digits(name, t):
    system = get_system(name)
    A = system.A(system.uniform(1, seed=1)[0])
    K = transition_matrix(A, torch.tensor(t, dtype=torch.float64))
    exact = exact_exponential(A, t)
    for i, j in itertools.product(range(len(A)), repeat=2):
        assert abs(K[i, j].item() - exact[i, j]) <= 5e-15 * exact[i, j]
    torch.testing.assert_close(K.sum(0), torch.ones(len(A), dtype=torch.float64), rtol=1e-15, atol=0)


def test_two_states_by_hand_at_every_time():
    A = from_rates(torch.tensor([[0.0, 2.0], [1.0, 0.0]], dtype=torch.float64))
    t = torch.tensor([0.0, 1e-9, 0.1, 1.0, 10.0, 1e9], dtype=torch.float64)
    p = propagate(A, [1.0, 0.0], t)
    torch.testing.assert_close(p[:, 1], -torch.expm1(-3 * t) / 3, rtol=2e-15, atol=0)
    assert torch.equal(p[0], torch.tensor([1.0, 0.0], dtype=torch.float64))


@settings(max_examples=40)
@given(n=sizes, seed=seeds)
def test_propagation_against_scipy_and_the_semigroup(n, seed):
    A, x = random_generator(n, seed), random_state(n, seed)
    t = torch.tensor([0.0, 0.1, 0.7, 2.0], dtype=torch.float64)
    p = propagate(A, x, t)
    reference = np.stack([expm(A.numpy() * s) @ x.numpy() for s in t.tolist()])
    np.testing.assert_allclose(p.numpy(), reference, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(propagate(A, p[1], t[2:3] - t[1:2])[0], p[2], rtol=1e-13, atol=1e-16)
    assert bool((p >= 0).all())


def test_propagation_against_an_integrator():
    A, x = random_generator(6, 3), random_state(6, 3)
    t = np.linspace(0.0, 1.5, 7)
    run = solve_ivp(lambda _, p: A.numpy() @ p, (0, 1.5), x.numpy(), "DOP853", t, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(propagate(A, x, t).numpy(), run.y.T, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", [n for n in list_systems() if n not in ("double_well", "attention_causal")])
def test_long_times_end_in_the_stationary_distribution(name):
    system = get_system(name)
    A = system.A(system.uniform(4, seed=3))
    x = torch.full((system.n_states,), 1.0 / system.n_states, dtype=torch.float64)
    p = propagate(A, x, [1e3, 1e9])
    torch.testing.assert_close(p[:, 1], p_st(A), rtol=1e-12, atol=0)


def test_a_metastable_chain_keeps_its_mass_and_leaks_at_its_gap():
    y = torch.tensor([12.0, 0.0], dtype=torch.float64)
    A, gap = double_well.generator(y), double_well.spectral_gap(y).item()
    x = torch.zeros(64, dtype=torch.float64)
    x[:32] = 2 * double_well.stationary(y)[:32]
    t = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64) / gap
    p = propagate(A, x, t)
    torch.testing.assert_close(p.sum(-1), torch.ones(3, dtype=torch.float64), rtol=4e-15, atol=0)
    # The start is the slow mode up to what sits on the barrier, e^{−12} of it.
    torch.testing.assert_close(p[:, 32:].sum(-1), -torch.expm1(-gap * t) / 2, rtol=1e-3, atol=0)


def test_batches_broadcast_and_chunks_agree(monkeypatch):
    A, x = random_generator(4, 1, batch=(3, 1)), random_state(4, 1, batch=(5,))
    t = torch.linspace(0.0, 2.0, 9, dtype=torch.float64)
    p = propagate(A, x, t)
    assert p.shape == (3, 5, 9, 4)
    torch.testing.assert_close(p[2, 4], propagate(A[2, 0], x[4], t), rtol=1e-14, atol=0)
    monkeypatch.setattr("theory.chain.master_equation._ENTRIES_AT_ONCE", 100)
    torch.testing.assert_close(propagate(A, x, t), p, rtol=1e-14, atol=0)


def test_kinds_and_dtypes():
    A, x = random_generator(3, 2), random_state(3, 2)
    array, start = A.numpy().copy(), x.numpy().copy()
    torch.testing.assert_close(propagate(array, start, [0.5]), propagate(A, x, [0.5]))
    np.testing.assert_array_equal(array, A.numpy())
    single = propagate(A.float(), x.float(), [0.5, 100.0])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), propagate(A, x, [0.5, 100.0]), rtol=2e-5, atol=0)
    assert propagate([[-1, 1], [1, -1]], [1, 0], [1]).dtype == torch.float64
    one = torch.zeros(1, 1, dtype=torch.float64)
    assert propagate(one, one[0] + 1, [0.0, 5.0]).tolist() == [[1.0], [1.0]]
    assert propagate(torch.zeros(2, 2), torch.tensor([0.25, 0.75]), [3.0]).tolist() == [[0.25, 0.75]]


def test_derivatives_of_the_propagation():
    system = get_system("driven_cycle")
    y, x = system.uniform(1, seed=5)[0].requires_grad_(), random_state(5, 5).requires_grad_()
    t = torch.tensor([0.2, 3.0], dtype=torch.float64, requires_grad=True)

    def run(y, z, t):
        return propagate(system.generator(y), z.softmax(-1), t)

    assert torch.autograd.gradcheck(run, (y, x, t))
    assert torch.autograd.gradgradcheck(run, (y, x, t))


@pytest.mark.thorough
@given(n=sizes, seed=seeds, decades=st.floats(0.1, 4.0))
def test_sparse_propagation_is_the_dense_one(n, seed, decades):
    A, x = random_generator(n, seed, decades), random_state(n, seed, batch=(2,))
    t = np.array([0.0, 0.5, 0.5, 20.0]) / float(A.abs().max())
    dense = propagate(A, x, t)
    for kind in (csc_array, csr_matrix, coo_matrix):
        torch.testing.assert_close(propagate(kind(A.numpy()), x, t), dense, rtol=1e-12, atol=1e-18)


def test_sparse_propagation_of_a_large_chain_against_the_poisson_law():
    # Births alone, at rate 40: the count at t = 10 is Poisson(400); 2,000 states never feel the end.
    n, rate = 2000, 40.0
    A = csc_array((np.full(n - 1, rate), (np.arange(1, n), np.arange(n - 1))), shape=(n, n))
    A = (A - csc_array((np.r_[np.full(n - 1, rate), 0.0], (np.arange(n), np.arange(n))), shape=(n, n))).tocsc()
    start = np.zeros(n)
    start[0] = 1.0
    p = propagate(A, start, [1.0, 10.0]).numpy()
    for row, mean in zip(p, (40.0, 400.0), strict=True):
        exact = poisson.pmf(np.arange(n), mean)
        np.testing.assert_allclose(row, exact, rtol=1e-10, atol=1e-19)
        assert row.sum() == pytest.approx(1.0, abs=1e-13)


@given(st.floats(1e-6, 1e5))
def test_poisson_weights_and_what_they_leave_out(mean):
    first, weights = _poisson(mean)
    assert poisson.cdf(first - 1, mean) + poisson.sf(first + len(weights) - 1, mean) <= 2e-20
    exact = poisson.pmf(np.arange(first, first + len(weights)), mean)
    np.testing.assert_allclose(weights, exact, rtol=1e-9, atol=1e-25)


def test_sparse_limits_are_refused_with_the_remedy():
    A = csc_array(random_generator(4, 1).numpy())
    with pytest.raises(ValueError, match="max_products = 10"):
        propagate(A, np.full(4, 0.25), [1e3], max_products=10)
    with pytest.raises(GeneratorError, match="sums to"):
        propagate(csc_array(np.eye(3)), np.full(3, 1 / 3), [1.0])
    assert propagate(csc_array((3, 3)), np.full(3, 1 / 3), [1.0]).shape == (1, 3)


@given(n=sizes, seed=seeds, t=st.floats(0.01, 3.0))
def test_the_spectral_radius_decays_at_the_gap(n, seed, t):
    A = random_generator(n, seed, 0.5)
    gap = float(spectral_gap(A))
    radius = relaxation_radius(A, [t / gap])
    torch.testing.assert_close(radius, torch.tensor([math.exp(-t)], dtype=torch.float64), rtol=1e-8, atol=1e-14)


def test_total_variation_may_exceed_the_exponential_but_the_radius_does_not():
    # A full queue at light load drains at constant speed first: TV stays near 1 while e^{−gap·t} falls.
    y = torch.tensor([1.5], dtype=torch.float64)
    A, p = birth_death.generator(y), birth_death.stationary(y)
    t = torch.linspace(0.1, 6.0, 60, dtype=torch.float64)
    x = torch.eye(16, dtype=torch.float64)[15]
    gap = birth_death.spectral_gap(y)
    tv = 0.5 * (propagate(A, x, t) - p).abs().sum(-1)
    ratio = tv / (0.5 * (x - p).abs().sum() * torch.exp(-gap * t))
    assert float(ratio.max()) > 1.5
    torch.testing.assert_close(relaxation_radius(A, t), torch.exp(-gap * t), rtol=1e-10, atol=0)


def test_times_given_as_python_numbers_are_not_rounded_to_single_precision():
    exact = propagate(good, half, torch.tensor([0.1], dtype=torch.float64))
    assert torch.equal(propagate(good, half, [0.1]), exact)
    assert torch.equal(propagate(good, half, np.array([0.1])), exact)


@given(n=sizes, seed=seeds, decades=st.floats(0.1, 5.0))
def test_relative_entropy_at_fifty_digits(n, seed, decades):
    p = (random_state(n, seed) ** decades).softmax(-1)
    for shift in (1.0, 0.3, 0.05, 1e-3, 1e-7):
        x = (1 - shift) * p + shift * random_state(n, seed + 7)
        with mpmath.workdps(50):
            # As Σ x ln(x/p) − x + p, which is the same for exact unit sums and does not see the rounding of the sums.
            exact = mpmath.fsum(
                mpmath.mpf(a) * mpmath.log(mpmath.mpf(a) / mpmath.mpf(b)) - mpmath.mpf(a) + mpmath.mpf(b)
                for a, b in zip(x.tolist(), p.tolist(), strict=True)
            )
            assert abs(relative_entropy(x, p).item() - exact) <= 1e-12 * exact


@pytest.mark.parametrize("name", ["driven_cycle", "birth_death", "sodium_channel", "attention", "gene_switch"])
def test_relative_entropy_never_grows(name):
    system = get_system(name)
    A = system.A(system.uniform(3, seed=9))
    p = p_st(A)
    x = torch.eye(system.n_states, dtype=torch.float64)[::5]
    path = propagate(A[:, None], x, torch.linspace(0.0, 40.0, 300, dtype=torch.float64))
    D = relative_entropy(path, p[:, None, None, :])
    # Below n η² it has arrived: what is left is the rounding of x itself.
    floor = system.n_states * 1e-31
    assert bool((D.diff(dim=-1) <= floor).all())
    assert float(D[..., 0].min()) > 0 and bool((D >= 0).all())


def test_relative_entropy_at_the_edges():
    p = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], dtype=torch.float64)
    D = relative_entropy(x, p)
    torch.testing.assert_close(D, torch.tensor([math.log(2), 0.0, math.inf], dtype=torch.float64))


@given(n=sizes, seed=seeds)
def test_entropy_production_balances_the_free_energy(n, seed):
    A, x = random_generator(n, seed), random_state(n, seed)
    p = p_st(A)
    sigma = entropy_production(A, x)
    assert float(sigma) >= 0
    dD = ((A @ x) * (x / p).log()).sum()
    off = ~torch.eye(n, dtype=torch.bool)
    flow, equilibrium = A * x, A * p
    housekeeping = (flow * (equilibrium / equilibrium.T).where(off, torch.ones_like(A)).log())[off].sum()
    torch.testing.assert_close(sigma, housekeeping - dD, rtol=1e-9, atol=1e-10 * float(flow[off].sum()))
    if n == 2:
        torch.testing.assert_close(sigma, -dD, rtol=1e-9, atol=1e-12)


def test_entropy_production_of_the_driven_cycle_is_current_times_affinity():
    system = get_system("driven_cycle")
    y = system.uniform(5, seed=2)
    A, p = system.A(y), system.stationary(y)
    current = A[:, 1, 0] * p[:, 0] - A[:, 0, 1] * p[:, 1]
    torch.testing.assert_close(entropy_production(A, p), current * 5 * math.log(5.0), rtol=1e-12, atol=0)


def test_entropy_production_vanishes_at_equilibrium_and_is_infinite_one_way():
    system = get_system("birth_death")
    y = system.uniform(5, seed=2)
    assert float(entropy_production(system.A(y), system.stationary(y)).max()) < 1e-26
    ring = from_rates(torch.diag_embed(torch.ones(3, dtype=torch.float64)).roll(1, 0))
    assert entropy_production(ring, [1 / 3] * 3).item() == math.inf
    huge = from_rates(torch.tensor([[0.0, 1e200], [1e-200, 0.0]], dtype=torch.float64))
    expected = 0.5e200 * 400 * math.log(10.0)
    assert entropy_production(huge, [0.5, 0.5]).item() == pytest.approx(expected, rel=1e-13)


REVERSIBLE = {name: get_system(name) for name in list_systems() if get_system(name).reversible is not None} | {
    "attention_tied": attention.system(tied=True),
    "random_two": random_exponential.system(n_states=2, n_slow=1),
}


@pytest.mark.parametrize("name", REVERSIBLE)
def test_detailed_balance_is_found_where_it_holds(name):
    system = REVERSIBLE[name]
    found = has_detailed_balance(system.A(system.uniform(20, seed=1)))
    assert found.tolist() == [system.reversible] * 20


def kolmogorov(A):
    """Kolmogorov's criterion on every triangle, relative defect: enough for a chain with all rates positive."""
    return max(
        abs(math.log(float(A[j, i] * A[k, j] * A[i, k]) / float(A[k, i] * A[j, k] * A[i, j])))
        for i, j, k in itertools.permutations(range(len(A)), 3)
    )


@given(n=st.integers(3, 7), seed=seeds, defect=st.sampled_from([0.0, 1e-9, 1e-3, 1.0]))
def test_detailed_balance_agrees_with_kolmogorov(n, seed, defect):
    rng = torch.Generator().manual_seed(seed)
    energy = 3 * torch.randn(n, generator=rng, dtype=torch.float64)
    barrier = torch.randn(n, n, generator=rng, dtype=torch.float64)
    rates = (energy[None, :] - (barrier + barrier.T)).exp()
    rates[1, 0] *= 1 + defect
    A = from_rates(rates)
    assert bool(has_detailed_balance(A)) == (kolmogorov(A) < 1e-12)
    assert bool(has_detailed_balance(A, rtol=1e-6)) == (defect < 1e-6)


def test_detailed_balance_scales_with_the_data():
    A = birth_death.generator(torch.tensor([0.3], dtype=torch.float64))
    for unit in (1e-150, 1.0, 1e150):
        assert bool(has_detailed_balance(unit * A))
    deep = double_well.generator(torch.tensor([12.0, 2.0], dtype=torch.float64))
    assert bool(has_detailed_balance(deep))
    assert bool(has_detailed_balance(A.float()))
    with pytest.raises(NotUniqueError):
        has_detailed_balance(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="rtol"):
        has_detailed_balance(A, rtol=-1.0)


good = torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=torch.float64)
half = torch.tensor([0.5, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("kind", [lambda A: A, lambda A: csc_array(A.numpy())], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "p0, t, message",
    [
        ([0.5, 0.6], [1.0], "p0 must be a probability vector"),
        ([1.5, -0.5], [1.0], "smallest entry -0.5"),
        ([math.nan, 0.5], [1.0], "p0 must be a probability vector"),
        ([1.0], [1.0], r"p0 must be \[\.\.\., 2\]"),
        (half, [], "t must hold"),
        (half, 1.0, "t must hold"),
        (half, [1.0, 0.5], "ascending"),
        (half, [-1.0], ">= 0"),
        (half, [math.nan], "finite"),
        (half, [math.inf], "finite"),
    ],
)
def test_bad_states_and_times_are_refused(kind, p0, t, message):
    with pytest.raises(ValueError, match=message):
        propagate(kind(good), p0, t)


def test_mixed_dtypes_and_bad_generators_are_refused():
    with pytest.raises(ValueError, match=r"float32.*float64"):
        propagate(good, half.float(), [1.0])
    with pytest.raises(GeneratorError, match="transposed"):
        propagate(good.T, half, [1.0])
    with pytest.raises(GeneratorError):
        entropy_production(good.T, half)
    with pytest.raises(ValueError, match="x must be a probability vector"):
        entropy_production(good, [0.5, 0.4])
    with pytest.raises(ValueError, match="p must be a probability vector"):
        relative_entropy(half, [0.5, 0.4])
    with pytest.raises(ValueError, match="overflows"):
        propagate(1e200 * good, half, [1e200])
