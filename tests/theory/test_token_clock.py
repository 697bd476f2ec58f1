"""The token clock: stepping, doubling and the closed form agree; the predicted gap is the leading term, exactly."""

import dataclasses

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from theory.clock.block_mean import block_mean, block_mean_by_stepping, block_mean_closed_form, propagator

pytestmark = pytest.mark.numerical

TWO = theory.get_system("two_state")
RING = theory.get_system("driven_cycle")


def start(system, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(count, system.n_states, generator=rng, dtype=torch.float64)
    return x / x.sum(-1, keepdim=True), system.uniform(count, seed=seed)


@given(st.integers(1, 70), st.integers(0, 2**31), st.booleans())
def test_stepping_doubling_and_closed_form_agree(period, seed, euler):
    x, y = start(RING, 3, seed)
    A = RING.A(y)
    K = propagator(A, 0.02, euler=euler)
    mean, end = block_mean(K, x, period)
    mean_by_steps, end_by_steps = block_mean_by_stepping(K, x, period)
    closed = block_mean_closed_form(A, RING.stationary(y), x, period, 0.02, euler=euler)
    assert (mean - mean_by_steps).abs().max() < 2e-15 * (8 + period)
    assert (end - end_by_steps).abs().max() < 2e-15 * (8 + period)
    assert (mean - closed).abs().max() < 1e-13


@pytest.mark.parametrize("period", [1, 2, 3, 65535, 65536, 65537])
def test_doubling_keeps_its_mass_and_p_st_at_long_periods(period):
    y = RING.uniform(4, seed=1)
    p = RING.stationary(y)
    mean, end = block_mean(propagator(RING.A(y), 0.05), p, period)
    assert (mean.sum(-1) - 1).abs().max() < 1e-15
    assert (mean - p).abs().max() < 2e-15 and (end - p).abs().max() < 2e-15


def test_closed_form_in_50_digits():
    """x̄ − p = (1/P) K (I − K^P)(I − K)^# (x − p), two states, where every matrix function is a scalar one."""
    y, period, h = 0.3, 37, 0.11
    with mpmath.workdps(50):
        a, b = mpmath.mpf(1) + mpmath.mpf("0.3"), 2 - mpmath.mpf("0.3")
        p1 = a / (a + b)
        decay = mpmath.exp(-(a + b) * mpmath.mpf("0.11"))
        x1 = mpmath.mpf("0.9")
        reference = float(sum(p1 + decay**t * (x1 - p1) for t in range(1, period + 1)) / period)
    blocks = theory.token_clock(
        TWO,
        torch.tensor([0.1, 0.9], dtype=torch.float64),
        torch.tensor([y], dtype=torch.float64),
        period=period,
        n_blocks=1,
        step=h,
    )
    assert float(blocks.mean[0, 1]) == pytest.approx(reference, abs=1e-15)


@pytest.mark.parametrize("system", [TWO, RING, theory.get_system("birth_death")], ids=lambda s: s.name)
@pytest.mark.parametrize("euler", [False, True])
def test_the_predicted_gap_is_exact_once_the_start_is_forgotten(system, euler):
    x, y = start(system, 6)
    step = 0.03
    gap = float(theory.spectral_gap(system.A(y)).min())
    period = int(np.ceil(40 / (gap * step)))
    blocks = theory.token_clock(system, x, y, period=period, n_blocks=3, step=step, euler=euler)
    predicted = theory.predicted_gap(system, blocks.y[:, -2], blocks.y[:, -1], period=period, step=step, euler=euler)
    p = theory.stationary_distribution(system.A(blocks.y[:, -1]))
    measured = blocks.mean[:, -1] - p
    assert (measured - predicted).abs().max() < 1e-9 * predicted.abs().max() + 1e-15
    # the end of the block is exponentially close to p_st: the 1/P gap is made by pooling
    assert (blocks.x[:, -1] - p).abs().max() < 1e-13


@pytest.mark.parametrize("euler", [False, True])
def test_the_prediction_tends_to_the_continuous_constant_at_first_order_in_the_step(euler):
    y = RING.uniform(5, seed=2)
    velocity = RING.g(RING.stationary(y), y)
    continuous = theory.first_order(RING, y)
    errors = []
    for h in (0.02, 0.01, 0.005, 0.0025):
        clock = theory.predicted_gap(RING, y - h * velocity, y, period=1, step=h, euler=euler)
        errors.append(float((clock - continuous).abs().max()))
    slopes = np.diff(np.log2(errors))
    assert slopes == pytest.approx([-1, -1, -1], abs=0.1)


def test_euler_refuses_a_step_too_large_and_says_what_to_do():
    x, y = start(TWO, 2)
    with pytest.raises(ValueError, match=r"take the exp kernel or a smaller step.*at y = \["):
        theory.token_clock(TWO, x, y, period=4, n_blocks=1, step=0.6, euler=True)


def test_leaving_the_box_is_a_status_with_its_block():
    runaway = dataclasses.replace(TWO, slow=lambda x, y: torch.ones_like(y), generator=lambda y: TWO.generator(y * 0.1))
    x, y = start(TWO, 3)
    blocks = theory.token_clock(runaway, x, y, period=2, n_blocks=5, step=0.5)
    assert blocks.status is theory.Status.LEFT_DOMAIN
    assert bool(blocks.inside[:, 0].all()) and not bool(blocks.inside[:, -1].any())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"period": 0}, "period must be an integer >= 1"),
        ({"period": 2.5}, "period must be"),
        ({"n_blocks": 0}, "n_blocks must be"),
        ({"step": -1.0}, "step must be positive"),
        ({"step": float("nan")}, "step must be positive"),
        ({"x0": torch.tensor([0.5, 0.6], dtype=torch.float64)}, "probability vector.*1.1"),
        ({"x0": torch.tensor([-0.5, 1.5], dtype=torch.float64)}, "probability vector"),
        ({"x0": torch.tensor([0.5, 0.5])}, "float32.*float64"),
        ({"x0": torch.ones(3, dtype=torch.float64) / 3}, r"x0 must be \[..., 2\]"),
        ({"y0": torch.tensor([float("inf")], dtype=torch.float64)}, "y0 is not finite"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    arguments = {
        "x0": torch.tensor([0.5, 0.5], dtype=torch.float64),
        "y0": torch.tensor([0.5], dtype=torch.float64),
        "period": 4,
        "n_blocks": 2,
        "step": 0.1,
    } | change
    x0, y0 = arguments.pop("x0"), arguments.pop("y0")
    with pytest.raises(ValueError, match=message):
        theory.token_clock(TWO, x0, y0, **arguments)


def test_a_generator_that_fails_on_the_way_is_named_with_its_y():
    system = dataclasses.replace(TWO, slow=lambda x, y: torch.ones_like(y), high=10.0)
    x, y = start(TWO, 2)
    with pytest.raises(theory.GeneratorError, match=r"at y = .*negative rate"):
        theory.token_clock(system, x, y, period=2, n_blocks=9, step=0.5)


def test_blocks_broadcast_and_the_input_is_not_changed():
    x, y = start(RING, 4)
    kept = x.clone(), y.clone()
    blocks = theory.token_clock(RING, x[0], y, period=8, n_blocks=3, step=0.05)
    assert blocks.y.shape == (4, 3, 2) and blocks.mean.shape == (4, 3, 5) and blocks.x.shape == (4, 3, 5)
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1])
    alone = theory.token_clock(RING, x[0], y[2], period=8, n_blocks=3, step=0.05)
    assert torch.allclose(alone.mean, blocks.mean[2], atol=1e-15)


def test_python_numbers_are_taken_as_float64_whatever_the_default_dtype():
    blocks = theory.token_clock(TWO, [1, 0], [0.25], period=3, n_blocks=2, step=0.1)
    exact = theory.token_clock(
        TWO, np.array([1.0, 0.0]), torch.tensor([0.25], dtype=torch.float64), period=3, n_blocks=2, step=0.1
    )
    assert torch.equal(blocks.mean, exact.mean)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"period": float("inf")}, "period must be an integer >= 1, got inf"),
        ({"n_blocks": None}, "n_blocks must be an integer >= 1, got None"),
        ({"step": "0.1"}, "step must be positive and finite"),
        ({"x0": np.full((2, 2), 0.5), "y0": np.full((3, 1), 0.5)}, "do not broadcast"),
        ({"y0": np.zeros((0, 1))}, "hold no trajectory"),
        ({"y0": None}, "y0 must hold real numbers"),
    ],
)
def test_what_is_no_start_and_no_clock_is_refused_by_name(change, message):
    given = {"x0": [0.5, 0.5], "y0": [0.5], "period": 4, "n_blocks": 2, "step": 0.1} | change
    with pytest.raises(ValueError, match=message):
        theory.token_clock(TWO, given.pop("x0"), given.pop("y0"), **given)


def test_a_slow_map_that_turns_nan_is_reported_with_block_and_y():
    system = dataclasses.replace(TWO, slow=lambda x, y: torch.where(y > 0.55, torch.nan, 1.0).to(y))
    with pytest.raises(theory.NumericalError, match=r"not finite in block 2 \(slow time 0.2\), at y = \[0.6"):
        theory.token_clock(system, [0.5, 0.5], [0.4], period=4, n_blocks=3, step=0.1)
