"""What bad input and failing systems must get from `simulate`, line by line."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from theory.errors import FastSlowSystemError, GeneratorError, SimulationError, Status
from theory.flow import list_methods
from theory.flow.collocation.radau import tableau
from theory.flow.methods import collocation
from theory.systems import random_exponential

pytestmark = pytest.mark.numerical

T = [0.0, 0.5, 1.0]
X0, Y0 = [0.25, 0.75], [0.5]


def two_state(**changes):
    return dataclasses.replace(theory.get_system("two_state"), **changes)


def simulate(system=None, x0: Any = X0, y0: Any = Y0, t: Any = T, eps: Any = 0.1, **kwargs):
    return theory.simulate(system or two_state(), x0, y0, t, eps, **kwargs)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan"), float("inf"), [0.1, 0.0]])
def test_eps_that_is_not_positive(eps):
    with pytest.raises(ValueError, match="eps must be positive and finite"):
        simulate(eps=eps)


@given(st.floats(max_value=0.0) | st.just(float("nan")))
def test_eps_out_of_range_never_starts(eps):
    with pytest.raises(ValueError, match="eps"):
        simulate(eps=eps)


@pytest.mark.parametrize(
    "x0, message",
    [
        ([-0.1, 1.1], "negative"),
        ([0.5, 0.6], "sum to 1"),
        ([float("nan"), 1.0], "finite"),
        ([1.0], r"\[..., 2\]"),
        ([[0.5, 0.5], [0.5, 0.5 + 1e-9]], "trajectory 1"),
    ],
)
def test_start_off_the_simplex(x0, message):
    with pytest.raises(ValueError, match=message):
        simulate(x0=x0)


@given(st.floats(min_value=1e-10, max_value=1.0))
def test_start_is_never_renormalised(excess):
    with pytest.raises(ValueError, match="sum to 1"):
        simulate(x0=[0.25 + excess, 0.75])


@pytest.mark.parametrize("y0, message", [([float("inf")], "finite"), ([2.0], "box"), ([0.5, 0.5], r"\[..., 1\]")])
def test_start_outside_the_domain(y0, message):
    with pytest.raises(ValueError, match=f"y0.*{message}"):
        simulate(y0=y0)


@pytest.mark.parametrize("name", ["x0", "y0", "eps", "t"])
def test_float32_is_refused_with_the_reason(name):
    value = {"x0": X0, "y0": Y0, "eps": 0.1, "t": T}[name]
    with pytest.raises(ValueError, match=f"{name} has dtype torch.float32.*divided by ε"):
        simulate(**{name: torch.tensor(value, dtype=torch.float32)})


@pytest.mark.parametrize("value", [torch.tensor([0.25, 0.75], dtype=torch.complex128), np.array([True, False])])
def test_other_dtypes_are_refused(value):
    with pytest.raises(ValueError, match="x0 has dtype"):
        simulate(x0=value)


@pytest.mark.parametrize(
    "t, message",
    [
        ([0.0], "at least two"),
        ([[0.0, 1.0]], "at least two"),
        ([0.0, -1.0], "increase"),
        ([0.0, 0.0], "increase"),
        ([0.0, 1.0, 0.5], r"t\[1\] = 1.0 is followed by t\[2\]"),
        ([0.0, float("nan")], "finite"),
    ],
)
def test_time_span(t, message):
    with pytest.raises(ValueError, match=message):
        simulate(t=t)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"rtol": 0.0}, "rtol"),
        ({"rtol": 1e-15}, "at least 1e-13"),
        ({"atol": float("nan")}, "atol"),
        ({"max_steps": 0}, "max_steps"),
        ({"time_limit": -1.0}, "time_limit"),
        ({"method": "euler"}, "collocation, dopri5, lsoda, rodas5p"),
    ],
)
def test_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        simulate(**kwargs)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_numpy_integers_are_integers(kind):
    assert simulate(max_steps=kind(200)).status is Status.SUCCESS
    drawn = random_exponential.system(n_states=kind(3), n_slow=kind(2), seed=kind(1))
    assert (drawn.n_states, drawn.n_slow) == (3, 2)
    assert theory.reduced_flow(two_state(), Y0, T, order=kind(1), eps=0.1).status is Status.SUCCESS
    for call in (lambda: simulate(max_steps=True), lambda: random_exponential.system(n_slow=True)):
        with pytest.raises(ValueError, match="must be an integer >= 1, got True"):
            call()


def test_batches_that_do_not_agree_and_empty_ones():
    with pytest.raises(ValueError, match="do not broadcast"):
        simulate(y0=[[0.5]] * 3, eps=[0.1, 0.2])
    with pytest.raises(ValueError, match="no trajectory"):
        simulate(eps=torch.empty(0, dtype=torch.float64))
    with pytest.raises(ValueError, match="FastSlowSystem"):
        theory.simulate("two_state", X0, Y0, T, 0.1)


def test_mixed_devices_are_named():
    with pytest.raises(ValueError, match="x0 is on cpu and y0 on meta"):
        simulate(y0=torch.empty(1, dtype=torch.float64, device="meta"))


@pytest.mark.parametrize("method", list_methods())
def test_nan_in_the_middle_is_reported_with_its_time(method):
    def slow(x, y):
        return torch.where(y < 0.7, torch.ones_like(y), torch.full_like(y, torch.nan))

    system = two_state(slow=slow)
    result = simulate(system, method=method, throw=False)
    assert result.status is Status.NOT_FINITE
    assert 0.0 < float(result.end) <= 0.21
    assert not torch.isfinite(result.y[1:]).any()
    with pytest.raises(SimulationError, match=r"stopped at t = 0\.[12]") as caught:
        simulate(system, method=method)
    assert torch.isfinite(caught.value.result.y[0]).all()


def test_explicit_method_is_refused_when_stiff():
    with pytest.raises(ValueError, match=r"dopri5.*stiff.*collocation"):
        simulate(method="dopri5", eps=[0.1, 1e-5])


@pytest.mark.parametrize("method", ["collocation", "rodas5p", "lsoda"])
def test_step_limit_keeps_the_partial_trajectory(method):
    result = simulate(eps=1e-3, method=method, max_steps=4, throw=False)
    assert result.status is Status.MAX_STEPS
    assert 0 < float(result.end) < 1
    assert torch.isfinite(result.x[0]).all() and torch.isnan(result.x[-1]).all()
    with pytest.raises(SimulationError, match=r"MAX_STEPS.*max_steps"):
        simulate(eps=1e-3, method=method, max_steps=4)


@pytest.mark.parametrize("method", ["collocation", "rodas5p", "lsoda"])
def test_time_limit(method):
    result = simulate(eps=1e-3, method=method, time_limit=1e-9, throw=False)
    assert result.status is Status.TIME_LIMIT
    assert torch.isnan(result.x[-1]).all()


@pytest.mark.parametrize("method", list_methods())
def test_leaving_the_domain_is_a_status_not_an_exception(method):
    system = two_state(slow=lambda x, y: torch.full_like(y, 0.4))
    t = torch.linspace(0.0, 2.0, 21, dtype=torch.float64)
    result = simulate(system, t=t, method=method)
    assert result.status is Status.LEFT_DOMAIN
    exit_time = 0.5 / 0.4
    reached = torch.isfinite(result.y[:, 0])
    assert (reached == (t <= exit_time)).all()
    if method in ("collocation", "dopri5"):
        assert exit_time - 0.1 <= float(result.end) <= exit_time + 1e-9


def test_one_bad_trajectory_does_not_stop_the_others():
    system = two_state(slow=lambda x, y: 0.8 * torch.ones_like(y) * (y > 0.3))
    for method in ("collocation", "rodas5p"):
        result = simulate(system, y0=[[0.1], [0.5]], method=method)
        assert result.statuses.tolist() == [Status.SUCCESS, Status.LEFT_DOMAIN]
        assert torch.isfinite(result.x[0]).all() and torch.isnan(result.x[1, -1]).all()


def test_drift_off_the_simplex_is_a_status(monkeypatch):
    # no error control: overshoot below zero goes through
    blind = {s: tableau(s)._replace(last=np.zeros((3, s + 1))) for s in (5, 7)}
    monkeypatch.setattr(collocation, "_ERROR_FACTOR", 1e-14)
    monkeypatch.setattr(collocation, "tableau", blind.get)
    queue = theory.get_system("birth_death")
    x0 = torch.eye(16, dtype=torch.float64)[15]
    result = simulate(queue, x0=x0, eps=1e-2, rtol=1e-9, atol=1e-12, throw=False)
    assert result.status is Status.MASS_DRIFT
    with pytest.raises(SimulationError, match="MASS_DRIFT"):
        simulate(queue, x0=x0, eps=1e-2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", list_methods())
def test_a_matrix_that_stops_being_a_generator_is_refused(method):
    def leaking(y):
        A = theory.get_system("two_state").generator(y).clone()
        A[..., 0, 0] = A[..., 0, 0] * (1 + 1e-6 * (y[..., 0] < 0.49))
        return A

    system = two_state(generator=leaking, slow=lambda x, y: torch.full_like(y, -0.3))
    with pytest.raises(GeneratorError, match="y = "):
        simulate(system, method=method)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"slow": lambda x, y: x}, "map g.*shape"),
        ({"slow": lambda x, y: y.float()}, "map g.*dtype"),
        ({"generator": lambda y: torch.zeros(*y.shape[:-1], 3, 3, dtype=y.dtype)}, "matrix A.*shape"),
        ({"generator": lambda y: [0.0]}, "matrix A.*list"),
    ],
)
def test_a_system_of_the_wrong_shape_is_named(changes, message):
    with pytest.raises(FastSlowSystemError, match=message):
        simulate(two_state(**changes))


def test_a_generator_that_changes_its_size_on_the_way():
    def fickle(y):
        n = 2 if bool((y > 0.4).all()) else 3
        A = torch.full((*y.shape[:-1], n, n), 1.0, dtype=y.dtype)
        return A - n * torch.eye(n, dtype=y.dtype)

    system = two_state(generator=fickle, slow=lambda x, y: torch.full_like(y, -1.0))
    with pytest.raises(FastSlowSystemError, match=r"matrix A.*y of the batch"):
        simulate(system, t=[0.0, 0.3])


def test_inputs_and_global_state_are_left_alone():
    x0 = torch.tensor(X0, dtype=torch.float64)
    y0 = torch.tensor(Y0, dtype=torch.float64)
    before = (x0.clone(), y0.clone(), torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
    simulate(x0=x0, y0=y0)
    assert torch.equal(x0, before[0]) and torch.equal(y0, before[1])
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()) == before[2:]


def test_a_system_without_forward_derivative_is_named():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

    system = two_state(slow=lambda x, y: x[..., 1:2] - Opaque.apply(y))
    with pytest.raises(FastSlowSystemError, match="forward-mode derivative"):
        simulate(system)
