"""The reduced flow: its order in ε, its cost, the layer shift against closed forms, and its derivatives."""

import dataclasses

import numpy as np
import pytest
import torch
from rounding import U
from scipy.linalg import solve_continuous_lyapunov

import theory
from theory.errors import GeneratorError, NumericalError, Status
from theory.flow.layer_shift import layer_shift

pytestmark = pytest.mark.numerical

EPS = torch.tensor([2.0**-6, 2.0**-8, 2.0**-10], dtype=torch.float64)
T = torch.linspace(0.0, 1.5, 4, dtype=torch.float64)


def quadratic_two_state():
    """The two-state system with g quadratic in x, still inside the box."""
    return dataclasses.replace(
        theory.get_system("two_state"), slow=lambda x, y: x[..., 1:2] ** 2 * (1 + y) - 0.5 * x[..., 0:1] * y - y**2
    )


def case(name):
    if name == "quadratic":
        system = quadratic_two_state()
    else:
        system = theory.get_system(name)
    x0 = torch.zeros(system.n_states, dtype=torch.float64)
    x0[0] = 1.0
    middle = 0.5 * (system.low + system.high)
    return system, x0, middle + 0.3 * (system.uniform(1, seed=3)[0] - middle)


def slopes(error):
    return (error[:-1] / error[1:]).log2() / 2


@pytest.mark.parametrize("name", ["two_state", "quadratic", "driven_cycle", "random_exponential"])
def test_orders_one_and_two(name):
    system, x0, y0 = case(name)
    full = theory.simulate(system, x0, y0, T, EPS, rtol=1e-11, atol=1e-13)
    first = theory.reduced_flow(system, y0, T)
    second = theory.reduced_flow(system, y0, T, order=1, eps=EPS, x0=x0)
    unshifted = theory.reduced_flow(system, y0, T, order=1, eps=EPS)
    assert full.status is Status.SUCCESS
    y_error = [(full.y - other.y)[:, 1:].abs().amax((1, 2)) for other in (first, second, unshifted)]
    x_error = [(full.x - other.x)[:, 1:].abs().amax((1, 2)) for other in (first, second)]
    assert (slopes(y_error[0]) - 1).abs().max() < 0.06
    assert (slopes(x_error[0]) - 1).abs().max() < 0.06
    assert (slopes(y_error[1]) - 2).abs().max() < 0.06
    assert (slopes(x_error[1]) - 2).abs().max() < 0.06
    assert (slopes(y_error[2]) - 1).abs().max() < 0.1  # φ₁ without the shift stays at first order


def test_cost_does_not_depend_on_eps():
    system, x0, y0 = case("driven_cycle")
    cost = {theory.reduced_flow(system, y0, T, order=1, eps=eps, x0=x0).stats.evaluations for eps in (1e-3, 1e-5, 1e-8)}
    assert max(cost) <= 1.05 * min(cost)


def test_order_zero_stays_on_the_critical_manifold():
    system, _, y0 = case("driven_cycle")
    path = theory.reduced_flow(system, y0, T)
    assert system.stationary is not None
    torch.testing.assert_close(path.x, system.stationary(path.y), rtol=1e-12, atol=1e-14)
    assert path.status is Status.SUCCESS and path.order == 0 and path.y.shape == (4, 2)


def test_batches_broadcast():
    system, x0, _ = case("driven_cycle")
    y0 = 0.3 * system.uniform(3, seed=0)
    path = theory.reduced_flow(system, y0, T, order=1, eps=EPS[:, None], x0=x0)
    assert path.y.shape == (3, 3, 4, 2) and path.x.shape == (3, 3, 4, 5)
    alone = theory.reduced_flow(system, y0[1], T, order=1, eps=float(EPS[2]), x0=x0)
    assert (path.y[2, 1] - alone.y).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["two_state", "driven_cycle", "birth_death"])
def test_layer_shift_of_a_linear_g(name):
    system, x0, y0 = case(name)
    A = system.generator(y0)
    gx = torch.func.jacrev(system.slow)(x0, y0)
    expected = -gx @ theory.group_inverse(A) @ (x0 - theory.stationary_distribution(A))
    torch.testing.assert_close(layer_shift(system, x0[None], y0[None])[0], expected, rtol=1e-10, atol=1e-13)


def test_layer_shift_of_a_quadratic_g():
    base, x0, y0 = case("driven_cycle")
    rng = np.random.default_rng(1)
    Q = torch.from_numpy(rng.standard_normal((2, 5, 5)))
    system = dataclasses.replace(base, slow=lambda x, y: torch.einsum("kij,...i,...j->...k", Q, x, x) - y)
    A = system.generator(y0)
    p = theory.stationary_distribution(A)
    d = x0 - p
    gx = torch.func.jacrev(system.slow)(p, y0)
    shifted = (A - p[:, None]).numpy()
    X = torch.from_numpy(solve_continuous_lyapunov(shifted, -np.outer(d, d)))
    expected = -gx @ theory.group_inverse(A) @ d + torch.einsum("kij,ij->k", Q, X)
    torch.testing.assert_close(layer_shift(system, x0[None], y0[None])[0], expected, rtol=1e-9, atol=1e-12)


def test_layer_shift_vanishes_on_the_manifold():
    system, _, y0 = case("driven_cycle")
    p = theory.stationary_distribution(system.generator(y0))
    assert layer_shift(system, p[None], y0[None]).abs().max() < 1e-15


def test_layer_shift_of_a_slow_mode():
    y = torch.zeros(1, 1, dtype=torch.float64)
    rates = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 1e-7], [0.0, 3e-7, 0.0]], dtype=torch.float64)
    A = theory.from_rates(rates)
    system = theory.FastSlowSystem(
        generator=lambda y: A.expand(*y.shape[:-1], 3, 3),
        slow=lambda x, y: x[..., 2:] - y,
        n_states=3,
        n_slow=1,
        low=-1.0,
        high=1.0,
    )
    x0 = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = -(theory.group_inverse(A) @ (x0[0] - theory.stationary_distribution(A)))[2:]
    torch.testing.assert_close(layer_shift(system, x0, y)[0], expected, rtol=1e-7, atol=0)


@pytest.mark.thorough
def test_differentiable_in_start_and_eps():
    system, x0, y0 = case("two_state")
    t = torch.tensor([0.0, 0.4], dtype=torch.float64)

    def end(y0, eps):
        zero = theory.reduced_flow(system, y0, t, rtol=1e-11).y[-1]
        one = theory.reduced_flow(system, y0, t, order=1, eps=eps, x0=x0, rtol=1e-11).y[-1]
        return torch.cat([zero, one])

    eps = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(end, (y0.clone().requires_grad_(), eps), atol=1e-7)


def test_leaving_the_box_is_a_status():
    system = dataclasses.replace(
        theory.get_system("two_state"), slow=lambda x, y: torch.full_like(y, 0.5), low=0.0, high=1.0
    )
    assert theory.reduced_flow(system, [0.9], T).status is Status.LEFT_DOMAIN


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"order": 2}, "order must be 0 or 1"),
        ({"order": 1}, "needs eps"),
        ({"order": 0, "eps": 0.1}, "order 0 knows neither"),
        ({"order": 1, "eps": -0.1}, "positive"),
        ({"order": 1, "eps": 0.1, "x0": [0.5, 0.6]}, "sum to 1"),
        ({"order": 1, "eps": 0.1, "x0": [1.0]}, "x0 must be"),
        ({"y0": [float("nan")]}, "finite"),
        ({"y0": [0.5, 0.5]}, "y0 must be"),
        ({"t": [0.0, 1.0, 0.5]}, "increase"),
    ],
)
def test_bad_input(kwargs, message):
    kwargs = {"y0": [0.5], "t": T, **kwargs}
    with pytest.raises(ValueError, match=message):
        theory.reduced_flow(theory.get_system("two_state"), kwargs.pop("y0"), kwargs.pop("t"), **kwargs)


def test_a_flow_that_is_not_finite_is_reported():
    system = dataclasses.replace(
        theory.get_system("two_state"), slow=lambda x, y: torch.where(y < 0.6, 1.0, torch.nan) * torch.ones_like(y)
    )
    with pytest.raises((NumericalError, GeneratorError)):
        theory.reduced_flow(system, [0.5], T)


@pytest.mark.parametrize("name", ["y0", "eps"])
def test_an_empty_batch_is_refused_by_name(name):
    sizes = {"y0": (1, 1), "eps": (1,)} | {name: (0, 1)[: 2 if name == "y0" else 1]}
    y0, eps = (torch.full(sizes[one], 0.5, dtype=torch.float64) for one in ("y0", "eps"))
    with pytest.raises(ValueError, match=f"{name} holds no"):
        theory.reduced_flow(theory.get_system("two_state"), y0, [0.0, 0.1], order=1, eps=eps)


@pytest.mark.parametrize("name", ["driven_cycle", "birth_death", "sodium_channel", "double_well"])
def test_the_factors_of_the_elimination_give_phi_1(name):
    """x at the first time is p + ε φ₁(y0): by two substitutions in the kernel, by LU factors and torch's jvp here."""
    system = theory.get_system(name)
    y0 = 0.5 * (system.low + system.high) + 0.2 * (system.uniform(3, seed=4) - 0.5 * (system.low + system.high))
    eps = 1e-3
    found = theory.reduced_flow(system, y0, [0.0, 1e-6], order=1, eps=eps)
    assert found.stats.method == "dop853"
    phi = (found.x[:, 0] - theory.stationary_distribution(system.A(y0))) / eps
    expected = theory.first_order(system, y0)
    condition = theory.group_inverse(system.A(y0)).abs().sum(-2).amax(-1) * system.A(y0).abs().amax((-2, -1))
    rounding = 8 * system.n_states * U * (condition * expected.abs().sum(-1) + 1 / eps)  # 1/ε: of p, in x − p
    assert bool(((phi - expected).abs().sum(-1) <= rounding).all()), (phi - expected).abs().sum(-1) / rounding
