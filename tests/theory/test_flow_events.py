"""Events of `simulate`: against closed forms, on captured systems and on those left to torch."""

import math
from typing import Any

import pytest
import torch

import theory
from theory.captured import forget
from theory.errors import FastSlowSystemError, Status

pytestmark = pytest.mark.numerical

RATES = torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=torch.float64)


def system(slow, low=0.0, high=1.0):
    return theory.FastSlowSystem(
        generator=lambda y: RATES.expand(*y.shape[:-1], 2, 2) + 0 * y[..., None],
        slow=slow,
        n_states=2,
        n_slow=1,
        low=[low],
        high=[high],
        name="events",
    )


def simulate(of, y0, t, **more):
    return theory.simulate(of, [0.5, 0.5], y0, t, 0.01, rtol=1e-9, atol=1e-12, **more)


@pytest.mark.parametrize("by_torch", [False, True], ids=["captured", "torch"])
def test_a_batch_ends_where_each_trajectory_passes(by_torch):
    logistic = system(lambda x, y: y * (1 - y))
    if by_torch:
        forget(logistic)
    starts = torch.tensor([[0.5], [0.1], [0.9]], dtype=torch.float64)
    found = simulate(logistic, starts, [0.0, 0.5, 1.0, 2.0], event=lambda x, y: y[..., 0] - 0.7)
    expected = math.log(0.7 / 0.3)  # from 1/2; from 1/10 it is later than 2, from 9/10 never
    assert [one is Status.EVENT for one in found.statuses] == [True, False, False]
    assert found.status is Status.EVENT and float(found.end[0]) == pytest.approx(expected, abs=1e-7)
    assert found.x_event is not None and found.y_event is not None
    assert float(found.y_event[0]) == pytest.approx(0.7, abs=1e-14)
    assert found.x_event[0].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-7)
    assert torch.isnan(found.y_event[1:]).all() and torch.isnan(found.x_event[1:]).all()
    assert torch.isfinite(found.y[0, :2]).all() and torch.isnan(found.y[0, 2:]).all()
    assert torch.isfinite(found.y[1:]).all() and found.end[1:].tolist() == [2.0, 2.0]


def test_an_event_of_the_fast_state_inside_the_layer():
    still = system(lambda x, y: 0 * y)
    found = theory.simulate(
        still, [1.0, 0.0], [0.5], [0.0, 1.0], 0.01, rtol=1e-9, atol=1e-12, event=lambda x, y: x[..., 0] - 0.8
    )
    # x_0 = 2/3 + 1/3 e^{−3 t/ε}
    assert float(found.end) == pytest.approx(-0.01 / 3 * math.log(0.4), rel=1e-6)


def test_what_comes_first_decides():
    ramp = system(lambda x, y: 1 + 0 * y)
    left = simulate(ramp, [0.5], [0.0, 2.0], event=lambda x, y: y[..., 0] - 1.5)
    assert left.status is Status.LEFT_DOMAIN and torch.isnan(left.y_event).all()
    assert simulate(ramp, [0.5], [0.0, 2.0], event=lambda x, y: y[..., 0] - 0.9).status is Status.EVENT


def test_a_start_at_zero_is_no_event():
    ramp = system(lambda x, y: 1 + 0 * y)
    assert simulate(ramp, [0.5], [0.0, 0.25], event=lambda x, y: y[..., 0] - 0.5).status is Status.SUCCESS
    back = system(lambda x, y: 1 - 2 * y)  # from 0.2 to 0.5: touches nothing
    assert simulate(back, [0.2], [0.0, 1.0], event=lambda x, y: y[..., 0] - 0.2).status is Status.SUCCESS


@pytest.mark.parametrize(
    "event, message",
    [
        (lambda x, y: y, r"event\(x, y\) must be a tensor of shape \[1\].*last axis alone"),
        (lambda x, y: 1.0, r"got float"),
        (lambda x, y: torch.log(y[..., 0] - 2), r"event\(x, y\) is nan at x ="),
    ],
)
def test_events_that_are_none(event, message):
    with pytest.raises(FastSlowSystemError, match=message):
        simulate(system(lambda x, y: 1 + 0 * y), [0.5], [0.0, 0.1], event=event)


def test_an_event_needs_the_collocation():
    ramp, event = system(lambda x, y: 1 + 0 * y), lambda x, y: y[..., 0] - 0.9
    with pytest.raises(ValueError, match="leave method out"):
        simulate(ramp, [0.5], [0.0, 0.1], event=event, method="rodas5p")
    wrong: Any = 0.5
    with pytest.raises(ValueError, match="event must be a function"):
        simulate(ramp, [0.5], [0.0, 0.1], event=wrong)
