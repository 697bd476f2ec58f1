"""Token clocks on batches: the size of the chunks does not show, and an error names the y that is at fault."""

import sys

import pytest
import torch

from theory import FastSlowSystem, GeneratorError, NumericalError, from_rates, get_system, predicted_gap, token_clock

pytestmark = pytest.mark.numerical

F64 = torch.float64


def starts(system, *batch):
    y = system.uniform(int(torch.tensor(batch).prod()), seed=0).reshape(*batch, system.n_slow)
    return torch.full((*batch, system.n_states), 1.0 / system.n_states, dtype=F64), y


@pytest.mark.parametrize("chunk", [1, 30, 75, 2**19])
def test_chunks_do_not_show(chunk, monkeypatch):
    system = get_system("driven_cycle")
    x0, y0 = starts(system, 2, 4)
    whole = token_clock(system, x0, y0, period=5, n_blocks=3, step=0.05)
    monkeypatch.setattr(sys.modules["theory.clock.blocks"], "CHUNK", chunk)
    parts = token_clock(system, x0, y0, period=5, n_blocks=3, step=0.05)
    for name in ("y", "mean", "x"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-14, atol=1e-16)
    assert parts.mean.shape == (2, 4, 3, system.n_states) and parts.inside.shape == (2, 4, 3)


def steep(limit):
    """Two states whose rates grow with |y|, and a g that is not finite above `limit`."""

    def generator(y):
        return from_rates(torch.ones(2, 2, dtype=F64) * (1.0 + y.abs().sum(-1))[..., None, None])

    def slow(x, y):
        return torch.where(y > limit, torch.nan, torch.ones_like(y))

    return FastSlowSystem(generator=generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=100.0, name="steep")


@pytest.mark.parametrize("worst", [0, 1, 2])
def test_the_euler_error_names_the_fastest_y(worst):
    system = steep(1e3)
    y0 = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    y0[worst] = 50.0
    x0 = torch.full((3, 2), 0.5, dtype=F64)
    with pytest.raises(ValueError, match=r"largest exit rate is 51:.*\(at y = \[50.0\]\)"):
        token_clock(system, x0, y0, period=2, n_blocks=1, step=0.05, euler=True)


def test_a_g_that_is_not_finite_is_named_with_its_block_and_its_y():
    system = steep(3.2)
    y0, x0 = torch.tensor([[0.0], [3.0]], dtype=F64), torch.full((2, 2), 0.5, dtype=F64)
    with pytest.raises(NumericalError, match=r"not finite in block 3 \(slow time 0.3\), at y = \[3.3"):
        token_clock(system, x0, y0, period=2, n_blocks=5, step=0.1)
    kept = token_clock(system, x0, y0, period=2, n_blocks=3, step=0.1)
    assert kept.y[1, :, 0].tolist() == pytest.approx([3.0, 3.1, 3.2])


def test_the_predicted_gap_refuses_what_does_not_belong_to_its_system():
    system = get_system("two_state")
    y = torch.full((3, 1), 0.5, dtype=F64)
    gap = predicted_gap(system, y - 0.1, y, period=4, step=0.1)
    assert gap.shape == (3, 2) and gap.sum(-1).abs().max() < 1e-16
    torch.testing.assert_close(2 * predicted_gap(system, y - 0.1, y, period=8, step=0.1), gap, rtol=1e-13, atol=0)
    for arguments, name in (
        ({"y_before": y[:, :0]}, "y_before must be"),
        ({"y": y.float()}, "y has dtype"),
        ({"y_before": y[:2]}, "do not broadcast"),
        ({"period": 0}, "period must be"),
        ({"step": -0.1}, "step must be"),
    ):
        with pytest.raises(ValueError, match=name):
            predicted_gap(**{"system": system, "y_before": y, "y": y, "period": 4, "step": 0.1} | arguments)


@pytest.mark.parametrize("name", ["y_before", "y"])
def test_the_predicted_gap_names_the_y_without_a_generator(name):
    def generator(y):
        rates = from_rates(torch.ones(2, 2, dtype=F64).expand(*y.shape[:-1], 2, 2))
        return torch.where((y > 0.7)[..., None], -rates, rates)

    system = FastSlowSystem(generator=generator, slow=lambda x, y: -y, n_states=2, n_slow=1, low=0.0, high=1.0)
    y = torch.tensor([[0.1], [0.2], [0.3]], dtype=F64)
    wrong = {"y_before": y, "y": y} | {name: y + torch.tensor([[0.0], [0.55], [0.0]], dtype=F64)}
    with pytest.raises(GeneratorError, match=r"at y = \[0.75\].*negative rate"):
        predicted_gap(system, period=4, step=0.1, **wrong)
