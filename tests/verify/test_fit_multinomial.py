"""The multinomial fit against SciPy's optimiser, and its stated error against an ensemble of fits."""

import numpy as np
import pytest
import torch
from scipy import optimize

import theory
from verify.fits import multinomial
from verify.fits.multinomial import fit

pytestmark = pytest.mark.numerical

RING = theory.get_system("driven_cycle")


def sampled(samples, count, seed, box_seed=0):
    y = RING.uniform(count, seed=box_seed)
    p = theory.stationary_distribution(RING.A(y))
    counts = np.random.default_rng(seed).multinomial(samples, p.numpy() / p.numpy().sum(-1, keepdims=True))
    return y, p, torch.from_numpy(counts / samples)


def test_newton_finds_the_minimum_that_scipy_finds():
    _, _, x = sampled(50, 300, seed=1)
    used = torch.from_numpy(np.random.default_rng(2).standard_normal((300, 6)))
    basis = multinomial._contrasts(5, x)
    start = torch.zeros(6, 4, dtype=torch.float64)
    ours, converged, steps = multinomial._newton(used, x, basis, start)
    assert converged and steps < 15

    def loss(flat):
        return float(multinomial._loss(used, x, basis, torch.from_numpy(flat).reshape(6, 4)))

    theirs = optimize.minimize(loss, start.numpy().reshape(-1), method="BFGS", options={"gtol": 1e-7})
    assert loss(ours.numpy().reshape(-1)) <= theirs.fun + 1e-14
    np.testing.assert_allclose(ours.numpy().reshape(-1), theirs.x, atol=1e-5)


def test_newton_that_is_cut_short_says_so(monkeypatch):
    _, _, x = sampled(50, 300, seed=1)
    used = torch.from_numpy(np.random.default_rng(2).standard_normal((300, 6)))
    basis, start = multinomial._contrasts(5, x), torch.zeros(6, 4, dtype=torch.float64)
    monkeypatch.setattr(multinomial, "NEWTON_STEPS", 1)
    ended, converged, steps = multinomial._newton(used, x, basis, start)
    assert not converged and steps == 1
    assert multinomial._loss(used, x, basis, ended) < multinomial._loss(used, x, basis, start)


def test_a_singular_hessian_is_shifted_by_its_rounding_and_an_indefinite_one_is_an_error():
    H = torch.tensor([[1.0, 1.0], [1.0, 1.0 - 1e-16]], dtype=torch.float64)
    assert int(torch.linalg.cholesky_ex(H)[1]) > 0
    factor = multinomial._factor(H)
    torch.testing.assert_close(factor @ factor.T, H, rtol=0, atol=1e-12)
    with pytest.raises(RuntimeError, match="not positive semidefinite"):
        multinomial._factor(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64))


def test_one_state_leaves_nothing_to_fit():
    y = torch.linspace(0, 1, 300, dtype=torch.float64)[:, None]
    found = fit(y, torch.ones_like(y), seed=0)
    assert found.converged and torch.equal(found.phi_theta(y).detach(), torch.ones_like(y))


def test_hessian_against_finite_differences_of_the_loss():
    rng = np.random.default_rng(0)
    used, basis = torch.from_numpy(rng.standard_normal((40, 3))), multinomial._contrasts(4, torch.zeros(1).double())
    x = torch.from_numpy(rng.dirichlet(np.ones(4), 40))
    unknowns = torch.from_numpy(rng.standard_normal((3, 3)))
    H = multinomial._hessian(used, (used @ unknowns @ basis.T).softmax(-1), basis)
    automatic = torch.autograd.functional.hessian(lambda u: multinomial._loss(used, x, basis, u), unknowns)
    torch.testing.assert_close(H, automatic.reshape(9, 9), rtol=0, atol=1e-12)


@pytest.mark.thorough
def test_few_samples_and_many_unseen_states():
    # Ten samples a pair: the mean of the logarithms of such frequencies does not even exist.
    y, _, x = sampled(10, 20_000, seed=3)
    assert float((x == 0).double().mean()) > 0.1
    learned = fit(y, x, seed=0)
    test = RING.uniform(500, seed=99)
    p = theory.stationary_distribution(RING.A(test))
    error = float(theory.total_variation(learned.phi_theta(test).detach(), p).mean())
    assert learned.converged and error < 8e-3
    assert error == pytest.approx(float(learned.sampling_tv(test).mean()), rel=0.6)


@pytest.mark.thorough
def test_the_stated_error_is_that_of_an_ensemble_and_falls_as_one_over_root_n():
    test = RING.uniform(100, seed=99)
    p = theory.stationary_distribution(RING.A(test))
    stated = {}
    for samples in (10**4, 10**6):
        fits = [fit(*sampled(samples, 1000, seed=seed)[::2], seed=0) for seed in range(8)]
        learned = torch.stack([one.phi_theta(test).detach() for one in fits])
        scatter = 0.5 * (learned - learned.mean(0)).abs().sum(-1).mean() * (8 / 7) ** 0.5
        stated[samples] = float(np.mean([one.sampling_tv(test).mean() for one in fits]))
        assert float(scatter) == pytest.approx(stated[samples], rel=0.15)
        # Against a law a little way off, so that the gap is linear in the noise: its scatter is the stated error.
        away = (p + 0.05 * torch.tensor([1.0, -1, 1, -1, 0], dtype=torch.float64)).abs()
        gaps = [float(theory.total_variation(q, away).mean()) for q in learned]
        claimed = float(np.mean([one.gap_error(test, away) for one in fits]))
        assert 0.5 < float(np.std(gaps, ddof=1)) / claimed < 2.0
    # More samples also buy more directions, so the error falls a little slower than 1/√N = 1/10.
    assert 0.1 < stated[10**6] / stated[10**4] < 0.2


@pytest.mark.thorough
def test_exact_frequencies_leave_only_the_optimiser_s_floor():
    y = RING.uniform(2000, seed=0)
    p = theory.stationary_distribution(RING.A(y))
    learned = fit(y, p / p.sum(-1, keepdim=True), seed=0)
    test = RING.uniform(300, seed=99)
    error = theory.total_variation(learned.phi_theta(test).detach(), theory.stationary_distribution(RING.A(test)))
    assert float(error.mean()) < 1e-6


def test_a_state_never_seen_stays_finite():
    y = RING.uniform(400, seed=0)
    x = torch.zeros(400, 5, dtype=torch.float64)
    x[:, 0] = 1.0
    learned = fit(y, x, seed=0)
    q = learned.phi_theta(y).detach()
    assert torch.isfinite(q).all() and float(q[:, 0].min()) > 1 - 1e-6
    assert torch.isfinite(learned.sampling_tv(y)).all()


def test_one_seed_one_result_and_any_device_name():
    y, _, x = sampled(100, 500, seed=0)
    one, again = fit(y, x, seed=0, device="cpu"), fit(y, x, seed=0)
    assert torch.equal(one.phi_theta(y), again.phi_theta(y)) and one.note == again.note


def test_counts_in_place_of_frequencies_are_refused():
    y, _, x = sampled(100, 500, seed=0)
    with pytest.raises(ValueError, match="divide counts by their sum"):
        fit(y, 100 * x, seed=0)
    with pytest.raises(ValueError, match="must be float64"):
        fit(y, x.float(), seed=0)
    with pytest.raises(ValueError, match="non-negative"):
        fit(y, x - 0.01, seed=0)
