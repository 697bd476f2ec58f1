"""The slow manifold of the self-driven process: closed stationary laws, and its transport equations by collocation."""

import numpy as np
import pytest
import torch
from scipy import linalg, special

import theory
from theory import FastSlowSystem, first_order, self_driven_first_order, stationary_distribution

pytestmark = pytest.mark.numerical


def telegraph(rate=1.0):
    flip = rate * torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return FastSlowSystem(
        generator=lambda y: flip.expand(*y.shape[:-1], 2, 2),
        slow=lambda x, y: (x[..., 1] - x[..., 0])[..., None] - y,
        n_states=2, n_slow=1, low=-1.0, high=1.0,
    )  # fmt: skip


def beta_log_density(exponent):
    return lambda y: exponent * torch.log1p(-(y[..., 0] ** 2))


@pytest.mark.parametrize("rate", [1.0, 2.5])
def test_telegraph_stationary_law(rate):
    # E[x₊ | y] = (1 + y)/2 exactly; the formula's term is (y/2)(1 − ε/λ)/(1 − y²) by hand.
    for eps in (1e-2, 1e-3, 1e-4):
        y = (np.sqrt(eps / rate) * torch.linspace(-2, 2, 9, dtype=torch.float64))[:, None]
        term = eps * self_driven_first_order(telegraph(rate), y, beta_log_density(rate / eps - 1))[:, 1]
        by_hand = y[:, 0] / 2 * (1 - eps / rate) / (1 - y[:, 0] ** 2)
        torch.testing.assert_close(term, by_hand, rtol=1e-12, atol=1e-15)
        exact = y[:, 0] / 2
        assert float((term - exact).abs().max()) < 6 * (eps / rate) ** 1.5


def test_on_the_stationary_law_the_slope_is_one_half_and_the_ode_constant_is_wrong():
    scaled, weights = special.roots_legendre(100)
    epsilons = np.array([1e-2, 1e-3, 1e-4])
    means = []
    for eps in epsilons:
        nodes = 3 * np.sqrt(eps) * (1 + scaled)  # one half of the symmetric law, whose width is √(ε/2)
        y = torch.from_numpy(nodes)[:, None]
        density = weights * np.exp((1 / eps - 1) * np.log1p(-(nodes**2)))
        density /= density.sum()
        term = eps * self_driven_first_order(telegraph(), y, beta_log_density(1 / eps - 1)).numpy()[:, 1]
        means.append(float((density * np.abs(term)).sum()))
        exact = np.sqrt(eps / np.pi) / 2  # ½ E|y|, y asymptotically normal of variance ε/2
        assert means[-1] == pytest.approx(exact, rel=2 * eps)
    slopes = np.diff(np.log(means)) / np.diff(np.log(epsilons))
    np.testing.assert_allclose(slopes, 0.5, atol=0.01)
    assert float(first_order(telegraph(), y).abs().max()) == 0.0, "the ODE has no gap at all here"


def test_two_state_stationary_law():
    pair = theory.get_system("two_state")
    for eps in (1e-2, 1e-4):
        y = (0.5 + np.sqrt(eps) * torch.linspace(-1, 1, 5, dtype=torch.float64))[:, None]
        term = self_driven_first_order(pair, y, lambda y, eps=eps: (1 / eps - 1) * torch.log(y * (1 - y))[..., 0])
        learned = pair.stationary(y)[:, 1] + eps * term[:, 1]
        assert float((learned - y[:, 0]).abs().max()) < 3 * eps**1.5


def three_states(y):
    """Rates of a ring of three that turn with the angle y[..., 0], and with the last angle when there are two."""
    a, b = y[..., 0], y[..., -1]
    up = [1.5 + 0.6 * torch.sin(a), 1.2 + 0.3 * torch.cos(b), 1.0 + 0.4 * torch.sin(a + 1.0)]
    down = [0.5 + 0.2 * torch.cos(a), 0.7 + 0.3 * torch.sin(b), 0.4 + 0 * a]
    rates = torch.zeros(*y.shape[:-1], 3, 3, dtype=y.dtype)
    for j in range(3):
        step = torch.zeros(3, 3, dtype=y.dtype)
        step[(j + 1) % 3, j] = 1.0
        back = torch.zeros(3, 3, dtype=y.dtype)
        back[(j - 1) % 3, j] = 1.0
        rates = rates + up[j][..., None, None] * step + down[j][..., None, None] * back
    return rates - torch.diag_embed(rates.sum(-2))


def velocities(x, y):
    """g, quadratic in x: its mean over the states is not its value at their mean."""
    first = 0.6 * x[..., 0] - 0.5 * x[..., 1] + 0.4 * torch.sin(y[..., 0]) * x[..., 2] ** 2
    if y.shape[-1] == 1:
        return first[..., None]
    return torch.stack([first, 0.3 * x[..., 2] - 0.4 * x[..., 0] * torch.cos(y[..., 1])], -1)


def solve_transport(points, m, eps, t):
    """ρ[i, point] of the transport equations on a torus at time t from a broad start, by Fourier collocation."""
    side = 2 * np.pi * np.arange(points) / points
    grid = np.stack(np.meshgrid(*[side] * m, indexing="ij"), -1).reshape(-1, m)
    y = torch.from_numpy(grid)
    k = np.fft.fftfreq(points, 1 / points)
    k[points // 2] = 0.0
    derivative = np.fft.ifft(1j * k[:, None] * np.fft.fft(np.eye(points), axis=0), axis=0).real
    along = [derivative] if m == 1 else [np.kron(derivative, np.eye(points)), np.kron(np.eye(points), derivative)]
    size = len(grid)
    A = three_states(y).numpy()
    L = np.zeros((3, size, 3, size))
    for i in range(3):
        vertex = torch.zeros(size, 3, dtype=torch.float64)
        vertex[:, i] = 1.0
        g = velocities(vertex, y).numpy()
        for axis in range(m):
            L[i, :, i, :] -= along[axis] * g[None, :, axis]
        for j in range(3):
            L[i, np.arange(size), j, np.arange(size)] += A[:, i, j] / eps
    start = 1.0 + 0.5 * np.cos(grid).sum(-1) / m
    rho = stationary_distribution(torch.from_numpy(A)).numpy().T * start
    rho = linalg.expm(t * L.reshape(3 * size, 3 * size)) @ rho.reshape(-1)
    return grid, rho.reshape(3, size)


def fourier_density(grid, values, m):
    """y -> log of the trigonometric interpolant of values on the grid."""
    points = round(len(grid) ** (1 / m))
    coefficients = torch.from_numpy(np.fft.fftn(values.reshape([points] * m)).reshape(-1) / len(grid))
    k = np.fft.fftfreq(points, 1 / points)
    waves = torch.from_numpy(np.stack(np.meshgrid(*[k] * m, indexing="ij"), -1).reshape(-1, m))

    def log_density(y):
        phase = y @ waves.T
        return torch.log((torch.cos(phase) * coefficients.real - torch.sin(phase) * coefficients.imag).sum(-1))

    return log_density


@pytest.mark.parametrize(("m", "points"), [(1, 48), (2, 14)])
def test_against_the_transport_equations_the_error_is_of_second_order(m, points):
    torus = FastSlowSystem(generator=three_states, slow=velocities, n_states=3, n_slow=m, low=0.0, high=2 * np.pi)
    epsilons, errors, ode_errors = [0.04, 0.02, 0.01], [], []
    for eps in epsilons:
        grid, rho = solve_transport(points, m, eps, t=0.5)
        y, R = torch.from_numpy(grid), rho.sum(0)
        exact = torch.from_numpy((rho / R).T)
        p = stationary_distribution(torus.A(y))
        term = self_driven_first_order(torus, y, fourier_density(grid, R, m))
        errors.append(float((exact - p - eps * term).abs().max()))
        ode_errors.append(float((exact - p - eps * first_order(torus, y)).abs().max()))
    slopes = np.diff(np.log(errors)) / np.diff(np.log(epsilons))
    np.testing.assert_allclose(slopes, 2.0, atol=0.15)
    assert np.diff(np.log(ode_errors)) / np.diff(np.log(epsilons)) == pytest.approx(1.0, abs=0.15)


def test_what_is_refused():
    pair = theory.get_system("two_state")
    y = torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"not finite at y = \[1.0\]"):
        self_driven_first_order(pair, y, lambda y: torch.log(1 - y)[..., 0])
    with pytest.raises(ValueError, match=r"must have shape \[2\]"):
        self_driven_first_order(pair, y, lambda y: torch.log(y))
