"""The three fits: how near each comes to an exact map, and that each says when it has not converged."""

import pytest
import torch

import theory
from verify.fits import get_fit, list_fits

pytestmark = pytest.mark.numerical

RING = theory.get_system("driven_cycle")


def pairs(count: int, seed: int = 0, name: str = "driven_cycle"):
    system = theory.get_system(name)
    y = system.uniform(count, seed=seed)
    return y, theory.stationary_distribution(system.A(y))


def floor_of(result, seed: int = 99) -> float:
    y, p = pairs(300, seed)
    with torch.no_grad():
        return float(theory.total_variation(result.phi_theta(y), p).mean())


def test_fits_are_found_by_file_name():
    assert list_fits() == ["adamw", "lbfgs", "multinomial", "varpro"]
    with pytest.raises(ValueError, match="unknown fit 'sgd'; there are adamw, lbfgs, multinomial, varpro"):
        get_fit("sgd")


def test_varpro_reaches_a_floor_below_1e_11():
    result = get_fit("varpro")(*pairs(3000), seed=0)
    assert result.converged and "last layer solved exactly" in result.note
    assert floor_of(result) < 1e-11


def test_varpro_optimises_the_hidden_layer_where_that_lowers_the_floor():
    """A ridge that turns ten times faster than any drawn unit: drawing alone stops near 1e-5."""
    rng = torch.Generator().manual_seed(0)
    y = 2 * torch.rand(1500, 2, generator=rng, dtype=torch.float64) - 1
    x = torch.softmax(torch.stack([4 * torch.tanh(9 * y[:, 0] + 2), 0 * y[:, 0], y[:, 1]], -1), -1)
    result = get_fit("varpro")(y, x, seed=0)
    assert "optimised on the projected objective" in result.note


def test_varpro_says_that_it_lacks_pairs():
    with pytest.raises(ValueError, match="more pairs than its 257 features, got 200"):
        get_fit("varpro")(*pairs(200), seed=0)


def test_the_last_layer_is_the_least_squares_optimum():
    """Independent route: numpy's lstsq on the same features gives the same prediction."""
    import numpy as np

    from verify.fits.features import design_matrix

    y, p = pairs(600)
    phi = get_fit("varpro")(y, p, seed=0).phi_theta
    basis = design_matrix(phi, y).numpy()
    target = (p.log() - p.log().mean(-1, keepdim=True)).numpy()
    solution = np.linalg.lstsq(basis, target, rcond=1e-15)[0]
    predicted = torch.softmax(torch.from_numpy(basis @ solution), -1)
    assert float((predicted - phi(y).detach()).abs().max()) < 1e-10


def test_lbfgs_descends_and_reports_that_it_stopped():
    result = get_fit("lbfgs")(*pairs(300), seed=0)
    assert not result.converged and "stopped after" in result.note
    assert floor_of(result) < 2e-3


@pytest.mark.thorough
def test_adamw_descends():
    result = get_fit("adamw")(*pairs(1000), seed=0)
    assert floor_of(result) < 1e-2
    assert "AdamW" in result.note


@pytest.mark.parametrize("name", ["adamw", "lbfgs", "varpro"])
def test_the_same_seed_gives_the_same_phi_and_leaves_the_global_seed_alone(name, monkeypatch):
    monkeypatch.setattr("verify.fits.adamw.STEPS", 50)
    monkeypatch.setattr("verify.fits.lbfgs.ITERATIONS", 10)
    before = torch.get_rng_state()
    y, p = pairs(400)
    first, second = (get_fit(name)(y, p, seed=3).phi_theta for _ in range(2))
    assert torch.equal(first(y), second(y))
    assert torch.equal(before, torch.get_rng_state())
