"""A y that leaves the box is a status with its time, also where A(y) is no generator beyond it, or has no value."""

import math

import pytest
import torch

import theory
from theory import FastSlowSystem, GeneratorError, Status
from theory.flow import list_methods

pytestmark = pytest.mark.numerical

F64 = torch.float64
BEYOND = {  # the rate of 1 -> 0, whose box ends at 1
    "negative": lambda y: 1.0 - y,
    "nan": lambda y: 1.0 + torch.sqrt(1.0 - y),
}


def system(rate, slow=lambda x, y: 0.5 + 0.0 * y):
    def generator(y):
        a, b = y[..., 0], rate(y[..., 0])
        return torch.stack([torch.stack([-a, b], -1), torch.stack([a, -b], -1)], -2)

    return FastSlowSystem(generator=generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=1.0)


beyond = pytest.mark.parametrize("rate", BEYOND.values(), ids=list(BEYOND))


@beyond
@pytest.mark.parametrize("method", list_methods())
def test_simulate(method, rate):
    """Exits at t = 1.0 and 0.8; the third trajectory stays."""
    x0, y0 = torch.full((3, 2), 0.5, dtype=F64), torch.tensor([[0.5], [0.6], [0.25]], dtype=F64)
    run = theory.simulate(
        system(rate, lambda x, y: 0.5 * (y >= 0.5).to(y)), x0, y0, [0.0, 0.5, 0.9, 2.0], 0.1, method=method
    )
    assert run.statuses.tolist() == [Status.LEFT_DOMAIN, Status.LEFT_DOMAIN, Status.SUCCESS]
    seen = torch.isfinite(run.y[..., 0])
    assert seen.tolist() == [[True, True, True, False], [True, True, False, False], [True] * 4]
    assert torch.equal(seen, torch.isfinite(run.x).all(-1))
    exits = torch.tensor([1.0, 0.8, 2.0], dtype=F64)
    assert ((run.end <= exits + 1e-9) & (run.end >= exits - (0.02 if method == "dopri5" else 1e-9))).all()


@pytest.mark.parametrize("method", list_methods())
def test_a_matrix_that_is_no_generator_inside_is_still_an_error(method):
    bad = system(lambda y: torch.where((y > 0.7) & (y < 0.95), -0.1, 1.0).to(y))
    with pytest.raises(GeneratorError, match=r"at y = \[0\.[789]"):
        theory.simulate(bad, [0.5, 0.5], [0.5], torch.linspace(0.0, 2.0, 21, dtype=F64), 0.1, method=method)


@pytest.mark.parametrize("method", ["lsoda", "rodas5p", "collocation"])
def test_no_output_after_a_short_excursion(method):
    """y = 1.2 sin t is outside from t = 0.985 to 2.156; t is the first slow variable."""
    ring = theory.get_system("two_state")
    there_and_back = FastSlowSystem(
        generator=lambda y: ring.generator(0.5 + 0 * y[..., :1]),
        slow=lambda x, y: torch.stack([1.0 + 0 * y[..., 0], 1.2 * torch.cos(y[..., 0])], -1),
        n_states=2,
        n_slow=2,
        low=[-1.0, -1.0],
        high=[9.0, 1.0],
    )
    t = torch.linspace(0.0, 3.0, 13, dtype=F64)
    run = theory.simulate(there_and_back, [0.5, 0.5], [0.0, 0.0], t, 1.0, method=method, rtol=1e-4)
    assert run.status is Status.LEFT_DOMAIN
    assert torch.equal(torch.isfinite(run.y[:, 0]), t < math.asin(1 / 1.2))
    assert float(run.end) == pytest.approx(math.asin(1 / 1.2), abs=2e-3)


@beyond
def test_token_clock(rate):
    blocks = theory.token_clock(system(rate), [[0.5, 0.5]] * 2, [[0.5], [0.2]], period=4, n_blocks=13, step=0.1)
    assert blocks.status is Status.LEFT_DOMAIN
    assert blocks.inside.sum(-1).tolist() == [11, 13]  # the eleventh y is 1 + 4e-16: on the box, up to rounding
    assert 1.0 < blocks.y[0, 10, 0] < 1.0 + 1e-15 and blocks.y[0, 11, 0] == pytest.approx(1.05)
    for lost in (blocks.y[0, 12:], blocks.mean[0, 11:], blocks.x[0, 11:]):
        assert torch.isnan(lost).all()
    alone = theory.token_clock(system(rate), [0.5, 0.5], [0.2], period=4, n_blocks=13, step=0.1)
    torch.testing.assert_close(blocks.mean[1], alone.mean, rtol=0, atol=1e-15)
    assert torch.isfinite(blocks.mean[0, :11]).all()
    everyone = theory.token_clock(system(rate), [0.5, 0.5], [0.9], period=4, n_blocks=6, step=0.1)
    assert everyone.inside.tolist() == [True, True, True, False, False, False]


@beyond
@pytest.mark.parametrize("more", [{}, {"order": 1, "eps": 0.01, "x0": [0.5, 0.5]}], ids=["order 0", "order 1"])
def test_reduced_flow(rate, more):
    y0 = torch.tensor([[0.5], [0.9]], dtype=F64, requires_grad=True)
    run = theory.reduced_flow(system(rate), y0, [0.0, 0.1, 0.5, 2.0], **more)
    assert run.status is Status.LEFT_DOMAIN
    assert run.end.tolist() == pytest.approx([1.0, 0.2], abs=1e-9)
    for values in (run.x, run.y):
        assert torch.isfinite(values).all(-1).tolist() == [[True, True, True, False], [True, True, False, False]]
    (slope,) = torch.autograd.grad(run.y[0, 2, 0] + run.y[1, 1, 0], y0)
    torch.testing.assert_close(slope, torch.ones_like(slope))


@beyond
@pytest.mark.parametrize("driven_by", ["mean", "state"])
def test_sample_fast_slow_jumps(rate, driven_by):
    path = theory.sample_fast_slow_jumps(
        system(rate), [0, 1] * 5, [[0.5]] * 5 + [[0.9]] * 5, [0.0, 0.1, 0.5, 2.0], 0.1, seed=0, driven_by=driven_by
    )
    assert path.status is Status.LEFT_DOMAIN
    assert path.inside.tolist() == [[True, True, True, False]] * 5 + [[True, True, False, False]] * 5
    assert torch.equal(torch.isfinite(path.y[..., 0]), path.inside)
    torch.testing.assert_close(path.end, torch.tensor([1.0] * 5 + [0.2] * 5, dtype=F64), rtol=0, atol=1e-9)
    torch.testing.assert_close(path.occupation.sum(-1), torch.ones(10, dtype=F64))


def test_a_point_on_the_box_up_to_rounding_has_the_rates_of_the_box():
    here = system(BEYOND["negative"])
    y = torch.tensor([[1.0 + 4e-16], [1.0 + 5e-13], [-5e-13], [1.0 + 2e-12]], dtype=F64)
    assert here.inside(y).tolist() == [True, True, True, False]
    here.check_at(y[:3])
    assert torch.equal(here.A(y[:2]), here.A(torch.ones(2, 1, dtype=F64)))
    with pytest.raises(GeneratorError, match="outside the stated box"):
        here.check_at(y)
    slope = torch.func.jacfwd(lambda y: here.A(y)[0, 1])(y[1])
    assert slope.tolist() == [-1.0]  # and the derivative in y is kept
    inner = here.uniform(9, seed=0)
    assert torch.equal(here.A(inner), here.generator(inner))


def test_a_box_first_asked_for_in_a_transform_serves_after_it():
    """The corners are moved to another dtype there, and must not be kept as tensors of the transform."""
    system = theory.get_system("two_state")
    y = torch.tensor([0.25])
    inner = torch.func.jvp(lambda y: torch.where(system.inside(y), 2.0, 1.0) * y, (y,), (torch.ones(1),))
    assert inner[1].tolist() == [2.0]
    assert bool(system.inside(y)) and torch.func.jacrev(system.held)(y).tolist() == [[1.0]]
    nested = torch.func.jacfwd(torch.func.jacrev(lambda y: system.A(y)[..., 0, 1]))
    fresh = theory.get_system("two_state")
    assert torch.equal(
        nested(y.double()), torch.func.jacfwd(torch.func.jacrev(lambda y: fresh.A(y)[..., 0, 1]))(y.double())
    )
