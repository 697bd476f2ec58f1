"""The three worked examples of docs/your-model.md: generators on their whole box, faces that hold, units that fit."""

import importlib.util
from pathlib import Path

import pytest
import torch

import theory

MODELS = Path(__file__).parents[2] / "docs" / "models"


def load(name):
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.system()


@pytest.mark.parametrize("name", sorted(file.stem for file in MODELS.glob("*.py")))
def test_a_model_is_sound_and_stays_in_its_box(name):
    system = load(name)
    y = system.uniform(20, seed=0)
    system.check_at(y)
    x = torch.eye(system.n_states, dtype=torch.float64)
    for k in range(system.n_slow):
        if not system.periodic[k]:
            for face, sign in ((system.low, 1.0), (system.high, -1.0)):
                on = y.clone()
                on[:, k] = face[k]
                drift = system.g(x[:, None], on[None])[..., k]
                assert (sign * drift >= -1e-12).all()
    path = theory.simulate(system, x[0], y[:2], [0.0, 0.5, 2.5], 0.002)
    assert path.status is theory.Status.SUCCESS
    reduced = theory.reduced_flow(system, y[:2], [0.0, 0.5, 2.5])
    assert theory.total_variation(path.x[:, -1], reduced.x[:, -1]).max() < 0.1


def test_the_channel_has_independent_gates():
    system = load("potassium_channel")
    y = torch.tensor([[-70.0], [-55.0], [-54.9999]], dtype=torch.float64)
    p = theory.stationary_distribution(system.A(y))
    u = (y[:, 0] + 55.0) / 10.0
    alpha = torch.where(u == 0, 0.1, 0.1 * u / -torch.expm1(-torch.where(u == 0, 1.0, u)))
    beta = 0.125 * torch.exp(-(y[:, 0] + 65.0) / 80.0)
    n = alpha / (alpha + beta)
    binomial = torch.stack([c * n**k * (1 - n) ** (4 - k) for k, c in enumerate((1, 4, 6, 4, 1))], -1)
    torch.testing.assert_close(p, binomial, rtol=1e-9, atol=1e-14)
