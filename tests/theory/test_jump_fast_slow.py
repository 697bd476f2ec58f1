"""The fast-slow jump process against the ODE, closed moments, closed stationary laws and closed survival functions."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import theory
from theory import FastSlowSystem, sample_fast_slow_jumps
from theory.errors import GeneratorError, NumericalError, Status

pytestmark = pytest.mark.numerical


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def two_rates(a, b):
    """The generator of 0 -> 1 at rate a[...] and 1 -> 0 at rate b[...]."""
    return torch.stack([torch.stack([-a, b], -1), torch.stack([a, -b], -1)], -2)


def system(generator, slow, n_states=2, low=-10.0, high=10.0):
    return FastSlowSystem(generator=generator, slow=slow, n_states=n_states, n_slow=1, low=low, high=high)


TELEGRAPH = system(
    lambda y: two_rates(torch.ones_like(y[..., 0]), torch.ones_like(y[..., 0])),
    lambda x, y: (x[..., 1] - x[..., 0])[..., None] - y,
)


@pytest.mark.thorough
def test_driven_by_the_mean_y_and_x_are_those_of_the_ode():
    ring = theory.get_system("driven_cycle")
    y0 = 0.5 * (ring.low + ring.high)
    t = torch.linspace(0.0, 0.4, 5, dtype=torch.float64)
    path = sample_fast_slow_jumps(ring, 3, y0, t, 0.1, seed=0, rtol=1e-10, atol=1e-12)

    def rhs(_, z):
        x, y = torch.from_numpy(z[:5]), torch.from_numpy(z[5:])
        return torch.cat([ring.A(y) @ x / 0.1, ring.g(x, y)]).numpy()

    start = torch.cat([torch.eye(5, dtype=torch.float64)[3], y0]).numpy()
    exact = integrate.solve_ivp(rhs, (0, 0.4), start, "DOP853", t.numpy(), rtol=1e-11, atol=1e-13).y.T
    np.testing.assert_allclose(path.x, exact[:, :5], atol=3e-9)
    np.testing.assert_allclose(path.y, exact[:, 5:], atol=3e-9)
    assert 0 < path.flow_error < 1e-7


@pytest.mark.thorough
def test_driven_by_the_mean_the_law_of_the_state_is_x():
    ring = theory.get_system("driven_cycle")
    y0 = ring.uniform(1, seed=0)[0]
    path = sample_fast_slow_jumps(ring, torch.full((3000,), 1), y0, [0.0, 0.05, 0.3], 0.3, seed=4)
    for k in (1, 2):
        seen = torch.bincount(path.states[:, k], minlength=5).numpy()
        assert stats.chisquare(seen, 3000 * path.x[0, k].numpy()).pvalue > 0.01


def test_a_changing_rate_gives_the_closed_survival_function():
    # y = t and one way out of state 0 at rate a(y) = 1 + sin²(3 y): survival exp(−∫ a / ε).
    one_way = system(
        lambda y: two_rates(1.0 + torch.sin(3.0 * y[..., 0]) ** 2, torch.zeros_like(y[..., 0])),
        lambda x, y: torch.ones_like(y),
    )
    t = torch.linspace(0.0, 2.0, 6, dtype=torch.float64)
    count = 20_000
    for driven_by in ("state", "mean"):
        path = sample_fast_slow_jumps(one_way, torch.zeros(count, dtype=torch.long), f64(0.0), t, 1.7, seed=1,
                                      driven_by=driven_by)  # fmt: skip
        survival = np.exp(-(1.5 * t - torch.sin(6.0 * t) / 12.0).numpy() / 1.7)
        seen = (path.states == 0).double().mean(0).numpy()
        error = np.sqrt(survival * (1 - survival) / count)
        assert (np.abs(seen - survival)[1:] < 3.5 * error[1:]).all()
        torch.testing.assert_close(path.y[..., 0], t.expand(count, -1), rtol=1e-12, atol=1e-12)


def test_the_moments_of_the_telegraph_process():
    # m = (E σ, E y, E σy, E y²), σ = ±1: closed linear equations, whatever ε.
    eps, t = 0.5, 1.2
    M = np.array([[-2 / eps, 0, 0, 0], [1, -1, 0, 0], [0, 0, -1 - 2 / eps, 0], [0, 0, 2, -2]])
    start, drive = np.array([1.0, 0.3, 0.3, 0.09]), np.array([0, 0, 1.0, 0])
    exact = integrate.solve_ivp(lambda _, m: M @ m + drive, (0, t), start, rtol=1e-10, atol=1e-12).y[:, -1]
    count = 40_000
    path = sample_fast_slow_jumps(
        TELEGRAPH, torch.ones(count, dtype=torch.long), f64(0.3), t, eps, seed=6, driven_by="state"
    )
    sign, y = 2.0 * path.states[:, -1] - 1.0, path.y[:, -1, 0]
    for sample, value in zip((sign, y, sign * y, y * y), exact, strict=True):
        assert abs(float(sample.mean()) - value) < 3.5 * float(sample.std()) / math.sqrt(count)
    assert path.x is None and int(path.jumps.sum()) == pytest.approx(count * t / eps, rel=0.02)


def test_the_stationary_law_of_the_self_driven_two_state_system_stays():
    # R = Beta(1/ε, 1/ε) and E[x₁ | y] = y: see theory.manifold.self_driven.
    pair = theory.get_system("two_state")
    rng = np.random.default_rng(0)
    count, eps = 20_000, 0.3
    y0 = rng.beta(1 / eps, 1 / eps, count)
    state0 = (rng.random(count) < y0).astype(int)
    path = sample_fast_slow_jumps(pair, state0, torch.from_numpy(y0[:, None]), 1.5, eps, seed=2, driven_by="state")
    y, state = path.y[:, -1, 0].numpy(), path.states[:, -1].numpy()
    assert stats.kstest(y, stats.beta(1 / eps, 1 / eps).cdf).pvalue > 0.01
    assert np.corrcoef(y, y0)[0, 1] < 0.5, "y must have moved, or the law would stay for no reason"
    for weight in (np.ones(count), y - 0.5, (y - 0.5) ** 2):
        moment = (state - y) * weight
        assert abs(moment.mean()) < 3.5 * moment.std() / math.sqrt(count)


def test_on_the_stationary_law_the_distance_to_p_st_falls_with_slope_one_half():
    pair = theory.get_system("two_state")
    rng = np.random.default_rng(1)
    epsilons, distances = [0.16, 0.04, 0.01], []
    for eps in epsilons:
        y0 = rng.beta(1 / eps, 1 / eps, 2000)
        state0 = (rng.random(2000) < y0).astype(int)
        path = sample_fast_slow_jumps(pair, state0, torch.from_numpy(y0[:, None]), 0.3, eps, seed=3, driven_by="state")
        y, state = path.y[:, -1, 0], path.states[:, -1].double()
        # E[x₁ | y] by regression on y, as a learner would find it from states and y alone.
        design = torch.stack([torch.ones_like(y), y - 0.5], -1)
        learned = design @ torch.linalg.lstsq(design, state[:, None]).solution
        distances.append(float((learned[:, 0] - pair.stationary(y[:, None])[:, 1]).abs().mean()))
    slope = np.polyfit(np.log(epsilons), np.log(distances), 1)[0]
    assert 0.35 < slope < 0.65


def test_occupation_jumps_and_shapes():
    pair = theory.get_system("two_state")
    y0 = pair.uniform(3, seed=0)[:, None]
    path = sample_fast_slow_jumps(pair, torch.tensor([0, 1]), y0, [0.5, 0.6, 1.5], f64(0.1, 0.2), seed=0,
                                  driven_by="state")  # fmt: skip
    assert path.states.shape == (3, 2, 3) and path.y.shape == (3, 2, 3, 1) and path.occupation.shape == (3, 2, 2)
    torch.testing.assert_close(path.occupation.sum(-1), torch.ones(3, 2, dtype=torch.float64))
    # dy/dt = x₁ − y, so y(t₁) − y(t₀) + ∫y = time in state 1: the occupation must fit y's own path.
    assert torch.equal(path.y[:, :, 0], y0.expand(3, 2, 1)) and (path.jumps > 0).all()
    assert path.t.tolist() == [0.5, 0.6, 1.5] and path.status is Status.SUCCESS
    single = sample_fast_slow_jumps(pair, 0, f64(0.5), 1.0, 0.1, seed=0)
    assert single.states.shape == (2,) and single.x.shape == (2, 2) and single.jumps.shape == ()


def test_the_occupation_is_the_time_in_each_state():
    # dy/dt = x₁: y counts the time in state 1 exactly.
    clock = system(lambda y: two_rates(1.0 + y[..., 0] ** 2, 2.0 + 0 * y[..., 0]), lambda x, y: x[..., 1:])
    path = sample_fast_slow_jumps(clock, [0, 1, 0], f64(0.0), 3.0, 0.2, seed=5, driven_by="state")
    torch.testing.assert_close(path.occupation[:, 1], path.y[:, -1, 0] / 3.0, rtol=0, atol=1e-12)


def test_one_seed_one_result():
    pair = theory.get_system("two_state")
    args = (pair, torch.zeros(50, dtype=torch.long), f64(0.4), 1.0, 0.05)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = sample_fast_slow_jumps(*args, seed=3, driven_by="state")
    again = sample_fast_slow_jumps(*args, seed=3, driven_by="state")
    other = sample_fast_slow_jumps(*args, seed=4, driven_by="state")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.y, again.y) and torch.equal(one.states, again.states)
    assert not torch.equal(one.y, other.y)
    assert len(torch.unique(one.y[:, -1])) == 50


def test_leaving_the_box_is_a_status_with_the_time():
    flip = lambda y: two_rates(1 + 0 * y[..., 0], 1 + 0 * y[..., 0])  # noqa: E731
    drift = system(flip, lambda x, y: torch.ones_like(y), low=0.0, high=1.0)
    path = sample_fast_slow_jumps(drift, 0, f64(0.5), [0.0, 0.4, 0.8], 0.5, seed=0)
    assert path.status is Status.LEFT_DOMAIN and path.inside.tolist() == [True, True, False]


@pytest.mark.parametrize("driven_by", ["mean", "state"])
def test_states_that_are_never_left(driven_by):
    """At the start, on the way, and the only state that there is: A_ii = +0 there."""
    causal = theory.get_system("attention_causal")
    y0 = causal.uniform(1, seed=0)[0]
    path = sample_fast_slow_jumps(causal, [0, 3, 5], y0, [0.0, 50.0], 0.1, seed=0, driven_by=driven_by)
    assert path.states[:, -1].tolist() == [0, 0, 0] and path.jumps[0] == 0 and (path.jumps[1:] > 0).all()
    assert path.occupation[0].tolist() == [1.0] + [0.0] * (causal.n_states - 1)
    one = system(lambda y: torch.zeros(*y.shape, 1, dtype=y.dtype), lambda x, y: -y, n_states=1)
    path = sample_fast_slow_jumps(one, 0, f64(1.0), 1.0, 0.1, seed=0, driven_by=driven_by)
    assert path.jumps == 0 and float(path.y[-1]) == pytest.approx(math.exp(-1.0), abs=1e-7)


def test_numerical_failures_are_errors_that_name_y():
    def jump_in_rate(y):
        a = torch.where(y[..., 0] > 0.3, 50.0 + 0 * y[..., 0], 1.0)
        return two_rates(a, a)

    moving = lambda x, y: torch.ones_like(y)  # noqa: E731
    with pytest.raises(NumericalError, match=r"y = \[0\.(3|29)"):
        sample_fast_slow_jumps(system(jump_in_rate, moving), [0] * 20, f64(0.0), 1.0, 1.0, seed=0)
    root = system(lambda y: two_rates(1 + 0 * y[..., 0], 1 + 0 * y[..., 0]), lambda x, y: -torch.sqrt(y))
    with pytest.raises(NumericalError, match="fell below rounding at t ="):
        sample_fast_slow_jumps(root, 0, f64(1e-3), 1.0, 1.0, seed=0)
    negative = system(lambda y: two_rates(1.0 - y[..., 0], 1 + 0 * y[..., 0]), moving)
    with pytest.raises((GeneratorError, NumericalError), match=r"y = \[1\.0|y = \[0\.99"):
        sample_fast_slow_jumps(negative, [0, 1] * 20, f64(0.0), 5.0, 0.3, seed=0)
    with pytest.raises(NumericalError, match="max_steps = 10 steps reached t ="):
        sample_fast_slow_jumps(theory.get_system("two_state"), 0, f64(0.5), 1.0, 1e-3, seed=0, max_steps=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state0": 2}, "state0 holds 2; the states of A are 0 to 1"),
        ({"state0": 0.5}, "state0 has dtype"),
        ({"y0": f64(math.nan)}, "y0 is not finite"),
        ({"y0": torch.tensor([0.5])}, "float64 only"),
        ({"y0": f64(0.5, 0.5)}, r"y0 must be \[..., 1\]"),
        ({"t": -1.0}, "t must increase"),
        ({"t": [0.0, 1.0, 1.0]}, "t must increase"),
        ({"t": [0.0]}, "at least two times"),
        ({"t": math.inf}, "t must be finite"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"eps": math.nan}, "eps must be positive"),
        ({"seed": -3}, "seed must be an integer"),
        ({"driven_by": "chance"}, "driven_by must be one of mean, state"),
        ({"driven_by": "state", "x0": f64(0.5, 0.5)}, "leave x0 out"),
        ({"x0": f64(0.7, 0.5)}, "x0 must be a probability vector"),
        ({"rtol": 0.0}, "rtol must be positive"),
        ({"max_steps": 0}, "max_steps must be an integer >= 1"),
        ({"state0": [0, 1, 0], "y0": torch.zeros(2, 1, dtype=torch.float64), "x0": f64(0.5, 0.5)}, "do not broadcast"),
        ({"system": FastSlowSystem(generator=lambda y: torch.ones(*y.shape[:-1], 2, 2, dtype=y.dtype),
                                   slow=lambda x, y: y, n_states=2, n_slow=1, low=0, high=1)}, "A\\(y\\) of system"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(arguments, message):
    good = {"system": theory.get_system("two_state"), "state0": 0, "y0": f64(0.5), "t": 1.0, "eps": 0.1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        sample_fast_slow_jumps(**(good | arguments))
