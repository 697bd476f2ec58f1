"""Sparse chains of ordinary size: spans beyond float64, responses and gradients, expanders, time."""

import time

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import theory
from theory import NumericalError
from theory.stationary.sparse.iteration import iterate
from theory.stationary.sparse.planning import Plan
from theory.stationary.sparse.stopped import StoppedChain


def ladder(n, birth, death):
    """A birth-death chain with two phases: p = (2/3, 1/3) ⊗ (birth/death)^k."""
    steps = sp.diags_array([np.full(n - 1, birth), np.full(n - 1, death)], offsets=[-1, 1])
    phases = sp.csr_array([[0.0, 0.2], [0.1, 0.0]])
    return theory.from_rates(sp.kron(steps, sp.eye_array(2)) + sp.kron(sp.eye_array(n), phases))


def random_strip(seed, phases, levels):
    """Levels × phases with random rates and a random drift: p may span a thousand powers of ten."""
    rng = np.random.default_rng([seed, phases])
    state = np.arange(levels * phases).reshape(levels, phases)
    drift = np.exp(rng.uniform(-4, 4) * np.cos(rng.uniform(1, 9) * np.linspace(0, 1, levels - 1)))[:, None]
    noise = lambda shape: np.exp(rng.normal(0, 0.5, shape))  # noqa: E731
    shape = (levels - 1, phases)
    i = np.concatenate([state[1:].ravel(), state[:-1].ravel(), np.roll(state, 1, 1).ravel()])
    j = np.concatenate([state[:-1].ravel(), state[1:].ravel(), state.ravel()])
    rate = np.concatenate(
        [(drift * noise(shape)).ravel(), (noise(shape) / drift).ravel(), 0.3 * noise(state.shape).ravel()]
    )
    return theory.from_rates(sp.csc_array((rate, (i, j)), shape=(state.size, state.size)))


def banded(chains, width):
    """p[n, chains] of generators with entries at most `width` off the diagonal: GTH from the last state to the first.

    Written for this test: all chains at once in NumPy, in the order of the band. Rates left by elimination lie between
    states near each other and stay in range; p does not, and so each p_k carries an exponent.
    """
    n = chains[0].shape[0]
    rate, s = np.zeros((n, 2 * width + 1, len(chains))), np.ones((n, len(chains)))  # A_ij at [i, j − i + width]
    for c, A in enumerate(chains):
        entries = A.tocoo()
        i, j = entries.coords
        rate[i, j - i + width, c] = entries.data
    for k in range(n - 1, 0, -1):
        i = np.arange(max(0, k - width), k)
        out, into = rate[i, k - i + width], rate[k, i - k + width]
        s[k] = out.sum(0)
        rate[i[:, None], i - i[:, None] + width] += (out / s[k])[:, None] * into
    x, exponent = np.ones((n, len(chains))), np.zeros((n, len(chains)), int)
    for k in range(1, n):
        j = np.arange(max(0, k - width), k)
        near = np.ldexp(x[j], exponent[j] - exponent[k - 1])
        x[k], up = np.frexp((rate[k, j - k + width] * near).sum(0) / s[k])
        exponent[k] = exponent[k - 1] + up
    p = np.ldexp(x, np.maximum(exponent - exponent.max(0), -3000))
    return p / p.sum(0)


@pytest.mark.thorough
@pytest.mark.numerical
@pytest.mark.parametrize("n", [501, 20_000])
def test_a_ladder_over_more_than_the_range_of_float64(n):
    p = theory.stationary_distribution(ladder(n, 0.05, 2.0))
    closed = np.kron(0.025 ** np.arange(n), [2 / 3, 1 / 3]) * 0.975
    seen = closed >= 1e-300
    np.testing.assert_allclose(p[seen], closed[seen], rtol=1e-12)
    assert p[~seen].max() < 1e-299


@pytest.mark.numerical
@pytest.mark.parametrize("phases, levels", [(2, 700), (3, 500), (4, 330)])
def test_sixty_random_strips_against_a_banded_elimination(phases, levels):
    chains = [random_strip(seed, phases, levels) for seed in range(20)]
    reference = banded(chains, phases)
    assert (reference.min(0) < 1e-300).sum() >= 3
    for A, q in zip(chains, reference.T, strict=True):
        p = theory.stationary_distribution(A)
        seen = q >= 1e-300
        np.testing.assert_allclose(p[seen], q[seen], rtol=1e-12)
        assert p[~seen].max(initial=0.0) < 1.01e-300


@pytest.mark.numerical
def test_a_bursty_gene_and_a_two_species_box():
    n = 1_000  # copies made one by one at rate 20, decaying: Poisson; doubled by a promoter that does nothing
    made, decay = sp.diags_array(np.full(n - 1, 20.0), offsets=-1), sp.diags_array(np.arange(1.0, n), offsets=1)
    A = theory.from_rates(
        sp.kron(made + decay, sp.eye_array(2)) + sp.kron(sp.eye_array(n), sp.csr_array([[0, 1.0], [1, 0]]))
    )
    with mpmath.workdps(30):
        closed = np.array([float(mpmath.exp(-20) * mpmath.mpf(20) ** k / mpmath.factorial(k) / 2) for k in range(n)])
    p, closed = theory.stationary_distribution(A), np.repeat(closed, 2)
    seen = closed >= 1e-300
    np.testing.assert_allclose(p[seen], closed[seen], rtol=1e-12)
    whole = (made + decay).tocsr()
    line = whole[:60, :60]
    both = theory.stationary_distribution(theory.from_rates(sp.kronsum(line, whole[:300, :300])))
    single = [float(v) for v in closed[: 2 * 300 : 2]]
    product = np.outer(np.array(single), np.array(single[:60])).ravel()
    product /= product.sum()
    seen = product >= 1e-300
    np.testing.assert_allclose(both[seen], product[seen], rtol=1e-12)


@pytest.mark.numerical
def test_small_entries_of_the_master_equation():
    """A state that is left early keeps its e^-t."""
    two = sp.csr_array([[-1.0, 0], [1, 0]])
    p = theory.propagate(two, [1.0, 0.0], [0.0, 1.0, 100.0, 600.0])[:, 0]
    np.testing.assert_allclose(p, np.exp([0.0, -1.0, -100.0, -600.0]), rtol=1e-11)
    n, t = 40, 0.01  # Erlang: p_k(t) = e^-t t^k/k!, reached by k jumps alone
    chain = theory.from_rates(sp.diags_array(np.ones(n - 1), offsets=-1))
    with mpmath.workdps(30):
        law = [float(mpmath.exp(-t) * mpmath.mpf(t) ** k / mpmath.factorial(k)) for k in range(n - 1)]
    np.testing.assert_allclose(theory.propagate(chain, np.eye(n)[0], [t])[0, :-1], law, rtol=1e-12)


def digraph(n, degree=4, seed=0):
    rng = np.random.default_rng(seed)
    j = np.tile(np.arange(n), degree)
    i = np.concatenate([(np.arange(n) + 1) % n, rng.integers(0, n, n * (degree - 1))])
    rates = sp.csc_array((np.exp(rng.normal(0, 1, len(i))), (i, j)), shape=(n, n))
    return theory.from_rates(rates)


@pytest.mark.numerical
def test_a_random_digraph_is_iterated_with_a_proven_error():
    A = digraph(1_500)
    p = theory.stationary_distribution(A)
    off = sp.csc_array(A - sp.diags_array(A.diagonal()))
    exit_rate = off.sum(axis=0)
    found = iterate((off @ sp.diags_array(1 / exit_rate)).tocsr())
    assert found is not None
    x, bound = found
    q = x / exit_rate
    error = np.abs(q / q.sum() / p - 1).max()
    assert error <= bound + 1e-12 and bound < 1e-8


def test_a_digraph_without_separators_costs_what_its_plan_says_before_the_work():
    off = digraph(20_000)
    off = sp.csc_array(off - sp.diags_array(off.diagonal()))
    off.sort_indices()
    plan = Plan(off, off.tocsr())
    assert plan.is_slow
    begin = time.process_time()
    p = theory.stationary_distribution(digraph(20_000))
    assert time.process_time() - begin < 60
    assert np.isfinite(p).all() and p.min() > 0


def test_a_share_of_jumps_below_the_range_of_float64_counts():
    # 0 and 1 swap at 1e150; 0 leaves for 2 at 1e-200, a share of 1e-350, and 2 stops at 1e-300, 1 at 1e-100
    rates = np.zeros((3, 3))
    rates[1, 0] = rates[0, 1] = 1e150
    rates[2, 0] = 1e-200
    chain = StoppedChain(sp.csc_array(rates), np.array([0.0, 1e-100, 1e-300]))
    visits, rewards = chain.visits(np.array([[1.0], [0], [0]])), chain.rewards(np.array([[0.0], [0], [1]]))
    np.testing.assert_allclose(visits[:, 0], [1e100, 1e100, 1e200], rtol=1e-14)
    np.testing.assert_allclose(rewards[:, 0], [1e200, 1e200, 1e300], rtol=1e-14)


def test_what_does_not_fit_names_the_way_out(monkeypatch):
    monkeypatch.setattr("theory.stationary.sparse.planning.Plan.fits", property(lambda self: False))
    with pytest.raises(NumericalError, match=r"theory.propagate\(A, p0, t\).*theory.lump"):
        theory.stationary_distribution(ladder(800, 1e-6, 2.0))  # mixes too slowly to be iterated


@pytest.mark.numerical
def test_gradient_against_differences_in_fifty_digits():
    rng = np.random.default_rng(5)
    n = 6
    R = 10.0 ** rng.uniform(-3, 3, (n, n))
    np.fill_diagonal(R, 0)
    w = rng.normal(size=n)

    def value(rates):
        M = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                M[i, j] = rates[i][j]
        for j in range(n):
            M[j, j] = -mpmath.fsum(M[i, j] for i in range(n) if i != j)
        for j in range(n):
            M[n - 1, j] = 1
        p = mpmath.lu_solve(M, mpmath.matrix([0] * (n - 1) + [1]))
        return mpmath.fsum(mpmath.mpf(float(a)) * b for a, b in zip(w, p, strict=True))

    gradient = theory.rate_gradient(theory.from_rates(sp.csc_array(R)), w).toarray()
    with mpmath.workdps(50):
        base = [[mpmath.mpf(float(v)) for v in row] for row in R]
        for i in range(n):
            for j in range(n):
                if i != j:
                    step = base[i][j] * mpmath.mpf(10) ** -16
                    moved = [row[:] for row in base]
                    moved[i][j] += step
                    back = [row[:] for row in base]
                    back[i][j] -= step
                    slope = float((value(moved) - value(back)) / (2 * step))
                    assert abs(gradient[i, j] - slope) <= 1e-11 * abs(slope) + 1e-14 * np.abs(gradient).max()


def test_backward_of_a_sparse_tensor():
    A = theory.from_rates(torch.rand(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    w = torch.linspace(-1, 1, 7, dtype=torch.float64)
    dense = A.clone().requires_grad_(True)
    (theory.stationary_distribution(dense) @ w).backward()
    with torch.sparse.check_sparse_tensor_invariants():
        coordinates = A.to_sparse_coo().coalesce()
        values = coordinates.values().clone().requires_grad_(True)
        given = torch.sparse_coo_tensor(coordinates.indices(), values, A.shape)
        p = theory.stationary_distribution(given)
        torch.testing.assert_close(p, theory.stationary_distribution(A))
        (p @ w).backward()
    i, j = coordinates.indices()
    torch.testing.assert_close(values.grad, dense.grad[i, j])


@pytest.mark.numerical
@pytest.mark.parametrize("coupling", [1e-17, 1e-20, 1e-150])
def test_the_gap_of_nearly_decomposable_chains(coupling):
    R = np.zeros((4, 4))
    R[1, 0] = R[0, 1] = 1.0
    R[3, 2] = R[2, 3] = 2.0
    R[2, 1], R[1, 2] = coupling, 2.02 * coupling
    A = theory.from_rates(R)
    expected = 0.5 * 3.02 * coupling  # half of each pair's weight is next to the way over, up to the coupling itself
    assert float(theory.spectral_gap(A)) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(theory.relaxation_times(A, 3), [1 / expected, 0.5, 0.25], rtol=1e-12)
    assert float(1 / theory.kemeny_constant(A)) == pytest.approx(expected, rel=1e-12)


def test_a_repeated_gap_has_no_derivative():
    A = theory.from_rates(torch.ones(4, 4, dtype=torch.float64)).requires_grad_(True)
    gap = theory.spectral_gap(A)
    assert float(gap.detach()) == pytest.approx(4.0)
    with pytest.raises(NumericalError, match="repeated eigenvalue"):
        gap.backward()
    with pytest.raises(NumericalError, match="repeated eigenvalue"):
        torch.func.jacfwd(theory.spectral_gap)(A.detach())
    R = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda R: theory.spectral_gap(theory.from_rates(R)), (R,), rtol=1e-4)


@pytest.mark.numerical
def test_sparse_results_are_the_dense_ones():
    rng = np.random.default_rng(0)
    R = rng.random((60, 60)) * (rng.random((60, 60)) < 0.1)
    R[np.arange(1, 60), np.arange(59)] += 1
    R[0, 59] = 1
    A = theory.from_rates(R)
    S, v, q = sp.csc_array(A.numpy()), rng.normal(size=60), rng.random(60)
    v, q = v - v.mean(), q / q.sum()
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)  # noqa: E731
    close(theory.solve_sum_zero(S, v), theory.solve_sum_zero(A, v))
    dA = theory.from_rates(rng.random((60, 60))).numpy() - theory.from_rates(rng.random((60, 60))).numpy()
    close(theory.sensitivity(S, sp.csc_array(dA)), theory.sensitivity(A, dA))
    close(theory.kemeny_constant(S), theory.kemeny_constant(A))
    close(theory.relaxation_times(S, 4), theory.relaxation_times(A, 4))
    close(theory.spectral_gap(S), theory.spectral_gap(A))
    assert theory.recurrent_classes(S) == theory.recurrent_classes(A)
    assert float(theory.total_variation(q, theory.stationary_distribution(A))) <= float(theory.certificate(S, q))
    assert float(theory.certificate(S, q)) <= 2 * float(theory.certificate(A, q))
    assert float(theory.certificate(S, theory.stationary_distribution(S))) < 1e-10
    both = theory.from_rates(rng.random((9, 9)) + 0.1)
    for M in (both, theory.from_rates(np.outer(q[:9], np.ones(9)))):
        x = theory.stationary_distribution(M)
        close(
            theory.entropy_production(sp.csr_array(M.numpy()), q[:9] / q[:9].sum()),
            theory.entropy_production(M, q[:9] / q[:9].sum()),
        )
        assert bool(theory.has_detailed_balance(sp.csr_array(M.numpy()))) == bool(theory.has_detailed_balance(M))
        assert x.shape == (9,)
