"""What the token clock and its prediction make of their arguments, one by one."""

import pytest
import torch

from theory import FastSlowSystem, NumericalError, get_system, predicted_gap, token_clock

pytestmark = pytest.mark.numerical

F64 = torch.float64


def test_the_kernel_is_exponential_unless_said_otherwise():
    system = get_system("two_state")
    y = system.uniform(2, seed=0)
    pair = {"period": 4, "step": 0.1}
    exponential, euler = (predicted_gap(system, y[:1], y[1:], **pair, euler=euler) for euler in (False, True))
    assert not torch.equal(exponential, euler)
    assert torch.equal(predicted_gap(system, y[:1], y[1:], **pair), exponential)
    start = {"x0": [0.5, 0.5], "y0": y[0], "period": 4, "n_blocks": 2, "step": 0.1}
    assert torch.equal(token_clock(system, **start).mean, token_clock(system, **start, euler=False).mean)
    assert not torch.equal(token_clock(system, **start).mean, token_clock(system, **start, euler=True).mean)


@pytest.mark.parametrize("name", ["x0", "y0"])
def test_a_number_in_the_place_of_a_vector_is_refused_by_name(name):
    system = get_system("two_state")
    start = {"x0": [0.5, 0.5], "y0": system.uniform(1, seed=0)[0], name: 0.5}
    with pytest.raises(ValueError, match=rf"{name} must be \[\.\.\., \d\] for system 'two_state', got \[\]"):
        token_clock(system, **start, period=2, n_blocks=1, step=0.1)


def test_the_first_trajectory_with_a_slow_map_that_is_not_finite_is_named():
    known = get_system("two_state")

    def slow(x, y):
        return torch.where(y > 0.35, torch.nan, 0.0 * y)

    system = FastSlowSystem(
        generator=known.generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=1.0, name="breaks above 0.35"
    )
    y0 = torch.tensor([[0.1], [0.4], [0.5]], dtype=F64)
    with pytest.raises(NumericalError, match=r"block 0 .*y = \[0\.4\]"):
        token_clock(system, torch.full((3, 2), 0.5, dtype=F64), y0, period=2, n_blocks=3, step=0.1)
