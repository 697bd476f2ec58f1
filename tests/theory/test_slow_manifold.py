"""R^k gains one order each time: against trajectories of the full system, against SymPy, and by its own residual."""

import dataclasses

import numpy as np
import pytest
import sympy
import torch
from rounding import U, sum_bound
from scipy.integrate import solve_ivp
from slopes import slope_above

import theory

pytestmark = pytest.mark.numerical

EPS = 2.0 ** -np.arange(1, 11)
SYSTEMS = ["two_state", "driven_cycle", "birth_death", "sodium_channel", "attention", "random_exponential"]


def integrate(rhs, start: np.ndarray, span: float) -> np.ndarray:
    run = solve_ivp(rhs, (0.0, span), start, method="DOP853", rtol=1e-13, atol=1e-15)
    assert run.success
    return run.y[:, -1]


def points_on_the_manifold(system, eps: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, y) for each ε, y near `target`, after 25 relaxation times of the full system from within O(ε²) of h_ε.

    What is left of the start is ε² e^{-25}: whatever h_ε is, the point lies on it. The slow flow is first run
    backwards, so that the points of all ε lie near one y; it leaves the box there, whose sides are moved out of its
    way. In units of those 25 times all ε are one system of equations.
    """
    system = dataclasses.replace(system, low=system.low - 20, high=system.high + 20)
    span = 25 * eps[:, None] / theory.spectral_gap(system.A(target))
    n, shape = system.n_states, (len(eps), -1)

    def backwards(t, y):
        y = torch.from_numpy(y).reshape(shape)
        return (-span * system.g(theory.stationary_distribution(system.A(y)), y)).flatten().numpy()

    def full(t, state):
        x, y = torch.from_numpy(state).reshape(shape).split([n, system.n_slow], -1)
        fast = torch.einsum("eij,ej->ei", system.A(y), x) / eps[:, None]
        return (span * torch.cat([fast, system.g(x, y)], -1)).flatten().numpy()

    y0 = torch.from_numpy(integrate(backwards, target.repeat(len(eps)).numpy(), 1.0)).reshape(shape)
    start = torch.cat([theory.slow_manifold(system, 1)(y0, eps), y0], -1)
    end = torch.from_numpy(integrate(full, start.flatten().numpy(), 1.0).copy()).reshape(shape)
    return end[:, :n], end[:, n:]


def gap_in_units(system) -> float:
    return float(theory.spectral_gap(system.A(system.uniform(16, seed=5))).min())


@pytest.mark.thorough
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_residual_alone_shows_order_k_plus_one(name):
    system = theory.get_system(name)
    y = system.uniform(4, seed=7).expand(len(EPS), 4, -1)
    eps = torch.from_numpy(EPS * gap_in_units(system) * 0.25)
    for k in range(4):
        h = theory.slow_manifold(system, k)
        residual = theory.invariance_residual(system, h, y, eps[:, None].expand(-1, 4)).mean(-1)
        floor = sum_bound(system.A(y[0]) * h(y[0], float(eps[-1]))[:, None, :]).sum(-1).mean()  # rounding of A h
        assert slope_above(eps.numpy(), residual.numpy(), floor, 0.05) == pytest.approx(k + 1, abs=0.05), residual


LONG = ("attention", "random_exponential", "sodium_channel")  # integrations of many steps


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name in LONG else [])
        for name in SYSTEMS
        if name != "birth_death"
    ],
)
def test_distance_to_trajectories_falls_at_order_k_plus_one(name):
    system = theory.get_system(name)
    target = system.low + 0.4 * (system.high - system.low)
    eps = torch.from_numpy(EPS) * gap_in_units(system) * 0.25
    x, y = points_on_the_manifold(system, eps, target)
    errors = [(theory.slow_manifold(system, k)(y, eps) - x).abs().sum(-1).numpy() for k in range(4)]
    # There ε⁴ is far below 1e-12: what is left is the integrator's error, or more. It was the same to a factor of two
    # on all kernels tried, so four times it is a margin; below the rounding of the sum it is luck.
    floor = 4 * max(errors[3][-2:].max(), system.n_states * U)
    assert floor < 4e-12  # the reference is as good as it claims
    for k, error in enumerate(errors):
        assert slope_above(eps.numpy(), error, floor, 0.05) == pytest.approx(k + 1, abs=0.05), error


def test_first_two_orders_against_sympy():
    """Two states by hand: x₁ = h(y) solves −(a + b) h + a = ε h' g, expanded in ε to second order."""
    y, eps = sympy.symbols("y epsilon")
    a, b = 1 + y, 2 - y
    h0 = a / (a + b)
    g = lambda h: h - y  # noqa: E731
    h1 = sympy.simplify(-sympy.diff(h0, y) * g(h0) / (a + b))
    h2 = sympy.simplify(-(sympy.diff(h1, y) * g(h0) + sympy.diff(h0, y) * h1) / (a + b))
    system = theory.get_system("two_state")
    at = torch.tensor([[0.2], [0.9]], dtype=torch.float64)
    e = 1e-3
    expected = [float((h0 + eps * h1 + eps**2 * h2).subs({y: float(v), eps: e})) for v in at[:, 0]]
    assert theory.slow_manifold(system, 2)(at, e)[:, 1].tolist() == pytest.approx(expected, abs=5e-11)
    expected_first = [float(h1.subs(y, float(v))) for v in at[:, 0]]
    assert theory.first_order(system, at)[:, 1].tolist() == pytest.approx(expected_first, abs=1e-15)


def test_first_order_is_the_derivative_of_the_first_refinement():
    system = theory.get_system("driven_cycle")
    y = system.uniform(5, seed=0)
    p, refined = theory.slow_manifold(system, 0)(y, 0.01), theory.slow_manifold(system, 1)(y, 0.01)
    assert torch.allclose(refined, p + 0.01 * theory.first_order(system, y), atol=1e-15)


def test_every_order_has_mass_one_and_a_batch_of_eps_is_the_loop():
    system = theory.get_system("driven_cycle")
    y = system.uniform(3, seed=1)
    eps = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    for k in range(3):
        h = theory.slow_manifold(system, k)
        together = h(y, eps)
        assert (together.sum(-1) - 1).abs().max() < 1e-14
        assert torch.allclose(together[1], h(y[1], 0.01), atol=1e-15)


def test_a_generator_that_ignores_y_has_no_corrections():
    ring = theory.get_system("driven_cycle")
    fixed = ring.generator(torch.zeros(2, dtype=torch.float64))
    system = dataclasses.replace(ring, generator=lambda y: fixed.expand(*y.shape[:-1], 5, 5) + 0 * y[..., :1, None])
    assert theory.first_order(system, ring.uniform(4, seed=0)).abs().max() < 1e-15


@pytest.mark.parametrize("order", [-1, 1.5, True])
def test_bad_order(order):
    with pytest.raises(ValueError, match="order must be an integer >= 0"):
        theory.slow_manifold(theory.get_system("two_state"), order)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_eps(eps):
    h = theory.slow_manifold(theory.get_system("two_state"), 1)
    with pytest.raises(ValueError, match="eps must be positive and finite"):
        h(torch.tensor([0.5], dtype=torch.float64), eps)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_eps_of_a_larger_batch_than_y_and_lists_for_y(order):
    h = theory.slow_manifold(theory.get_system("two_state"), order)
    eps = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    y = torch.tensor([0.3], dtype=torch.float64)
    together = h(y, eps)
    assert together.shape == (3, 2)
    for k, single in enumerate((0.1, 0.2, 0.3)):
        assert torch.allclose(together[k], h([0.3], single), rtol=0, atol=1e-15)
    y = theory.get_system("two_state").uniform(4, seed=0)
    assert torch.allclose(torch.func.vmap(lambda y: h(y, 0.1))(y), h(y, 0.1), rtol=0, atol=1e-15)


def test_y_of_another_precision_or_shape_is_refused():
    h = theory.slow_manifold(theory.get_system("two_state"), 1)
    with pytest.raises(ValueError, match=r"y has dtype torch\.float32"):
        h(torch.tensor([0.3]), 0.1)
    with pytest.raises(ValueError, match=r"y must be \[..., 1\]"):
        h([0.3, 0.4], 0.1)
    with pytest.raises(ValueError, match="do not broadcast"):
        h([[0.3], [0.4]], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="order must be an integer"):
        theory.slow_manifold(theory.get_system("two_state"), "one")
