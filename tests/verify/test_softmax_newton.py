"""Softmax models at their optimum, against closed forms, autograd and another optimiser."""

import pytest
import torch

from verify.trained.identity.softmax_newton import (
    _Kernel,
    _Regression,
    fit_kernel,
    fit_regression,
    kernel_at,
    log_linear,
    response,
    whitening,
)


def problem(points=60, features=3, states=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    psi = torch.cat(
        [torch.randn(points, features, generator=rng, dtype=torch.float64), torch.ones(points, 1).double()], 1
    )
    theta = torch.randn(features + 1, states, generator=rng, dtype=torch.float64)
    return psi, theta, rng


@pytest.mark.numerical
def test_a_law_without_noise_is_found_to_rounding():
    psi, theta, _ = problem()
    x = (psi @ theta).softmax(-1)
    psi = psi @ whitening(psi)
    found = fit_regression(psi, x, tolerance=1e-13)
    torch.testing.assert_close((psi @ found.unknowns).softmax(-1), x, rtol=0, atol=1e-9)
    torch.testing.assert_close((psi @ log_linear(psi, x)).softmax(-1), x, rtol=0, atol=1e-12)


@pytest.mark.numerical
def test_with_noise_the_gradient_vanishes_and_the_means_are_kept():
    psi, theta, rng = problem(400)
    x = torch.nn.functional.one_hot(torch.multinomial((psi @ theta).softmax(-1), 1, generator=rng)[:, 0], 4).double()
    psi = psi @ whitening(psi)
    found = fit_regression(psi, x, tolerance=1e-10)
    q = (psi @ found.unknowns).softmax(-1)
    assert found.gradient <= 1e-10 and float((psi.T @ (q - x)).abs().max()) / len(psi) < 1e-9
    free = torch.zeros_like(theta, requires_grad=True)
    other = torch.optim.LBFGS(
        [free], max_iter=1000, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure():
        other.zero_grad()
        loss = -(x * (psi @ free).log_softmax(-1)).sum(-1).mean()
        loss.backward()
        return loss

    other.step(closure)
    torch.testing.assert_close(q, (psi @ free.detach()).softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.numerical
def test_a_kernel_solves_its_moment_conditions():
    psi, _, rng = problem(50)
    counts = torch.randint(0, 9, (50, 4, 4), generator=rng).double()
    found = fit_kernel(psi, counts, tolerance=1e-10)
    K = kernel_at(found.unknowns, psi)
    torch.testing.assert_close(K.sum(-2), torch.ones(50, 4).double(), rtol=0, atol=1e-14)
    before, after = counts.sum(2), counts.sum(1)
    moved = (K @ before[..., None])[..., 0]
    assert float((psi.T @ (moved - after)).abs().max()) / counts.sum() < 1e-9  # Σ ψ ⊗ δ = 0
    by_symbol = (K * before[:, None, :]).sum(0) - counts.sum(0).T
    assert float(by_symbol.abs().max()) / counts.sum() < 1e-9  # each transition as often as it was seen


@pytest.mark.parametrize("chunk", [2**24, 40])
def test_the_hessian_of_a_regression_is_autograds(chunk, monkeypatch):
    monkeypatch.setattr("verify.trained.identity.softmax_newton.CHUNK", chunk)  # all points at once, and a few
    rng = torch.Generator().manual_seed(3)
    psi, x = (torch.rand(9, size, dtype=torch.float64, generator=rng) for size in (3, 4))
    x = x / x.sum(-1, keepdim=True)
    theta = torch.randn(3, 4, dtype=torch.float64, generator=rng)
    model = _Regression(psi)
    exact = torch.autograd.functional.hessian(lambda t: -(x * model.logits(t).log_softmax(-1)).sum(), theta)
    q = model.logits(theta).softmax(-1)
    torch.testing.assert_close(model.hessian(q, q), exact, rtol=1e-12, atol=1e-13)


@pytest.mark.numerical
def test_the_hessian_of_the_kernel_is_autograds():
    psi, _, rng = problem(12, 2, 3)
    model, target = _Kernel(psi, 3), torch.rand(12, 3, 3, generator=rng, dtype=torch.float64)
    theta = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    exact = torch.autograd.functional.hessian(lambda t: -(target * model.logits(t).log_softmax(-1)).sum(), theta)
    q = model.logits(theta).softmax(-1)
    mass = target.sum(-1, keepdim=True) * q
    torch.testing.assert_close(model.hessian(mass, q), exact, rtol=1e-12, atol=1e-13)


def test_whitened_features_have_unit_moments():
    psi, _, _ = problem(200, 5)
    psi = torch.cat([psi, psi[:, :1] + psi[:, 1:2]], 1)  # one that adds nothing
    Q = psi @ whitening(psi)
    assert Q.shape[1] == 6
    torch.testing.assert_close(Q.T @ Q / 200, torch.eye(6).double(), rtol=0, atol=1e-9)


@pytest.mark.numerical
def test_the_response_is_the_derivative_of_the_fit_in_its_target():
    psi, theta, rng = problem(80)
    psi = psi @ whitening(psi)
    weight = torch.rand(80, generator=rng, dtype=torch.float64)
    weight = weight / weight.sum()
    x = 0.5 * (psi @ theta).softmax(-1) + 0.5 * torch.rand(80, 4, generator=rng, dtype=torch.float64).softmax(-1)
    v = torch.randn(80, 4, generator=rng, dtype=torch.float64)
    v = 1e-2 * (v - v.mean(-1, keepdim=True))

    def at(step):
        return (psi @ fit_regression(psi, x + step * v, tolerance=1e-13, weight=weight).unknowns).softmax(-1)

    q = at(0.0)
    z = psi @ response(psi, fit_regression(psi, x, tolerance=1e-13, weight=weight).unknowns, v, weight)
    step = 1e-3  # central: error ∝ step², noise 1e-13/step
    torch.testing.assert_close(
        q * (z - (q * z).sum(-1, keepdim=True)), (at(step) - at(-step)) / (2 * step), rtol=1e-5, atol=1e-8
    )


@pytest.mark.numerical
def test_weights_are_repetitions():
    psi, theta, _ = problem(40)
    x, psi = (psi @ theta).softmax(-1), psi @ whitening(psi)
    many = torch.arange(40) % 3 + 1
    one = fit_regression(psi, x, weight=many / many.sum().double(), tolerance=1e-12)
    again = fit_regression(psi.repeat_interleave(many, 0), x.repeat_interleave(many, 0), tolerance=1e-12)
    torch.testing.assert_close((psi @ one.unknowns).softmax(-1), (psi @ again.unknowns).softmax(-1), rtol=0, atol=1e-8)


def test_a_fit_that_does_not_reach_its_tolerance_says_so():
    psi, theta, _ = problem(40)
    x, psi = (psi @ theta).softmax(-1), psi @ whitening(psi)
    solved, stopped = fit_regression(psi, x, tolerance=1e-9), fit_regression(psi, x, tolerance=0.0)
    assert solved.converged and solved.gradient <= 1e-9
    assert not stopped.converged and stopped.gradient > 0
