"""φ_θ against NumPy and closed forms, and its refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rounding import U, sum_bound

from network import PhiTheta

pytestmark = pytest.mark.numerical

F64 = torch.float64


def build(*args, seed=0, dtype=F64, **kwargs):
    return PhiTheta(*args, generator=torch.Generator().manual_seed(seed), dtype=dtype, **kwargs)


def test_depth_one_is_tanh_features_and_a_linear_map():
    phi = build(2, 5, width=256, depth=1)
    phi.standardise([0.3, -1.0], [2.0, 0.5])
    y = np.random.default_rng(1).normal(size=(7, 3, 2))
    weights = {name: value.numpy() for name, value in phi.state_dict().items()}
    terms = ((y - [0.3, -1.0]) / [2.0, 0.5])[..., None, :] * weights["hidden.0.weight"]
    terms = np.concatenate([terms, np.broadcast_to(weights["hidden.0.bias"][:, None], (*terms.shape[:-1], 1))], -1)
    h = np.tanh(terms.sum(-1))
    # where the sum cancels, the feature is near 0 and has no relative accuracy: tanh' <= 1, and tanh itself is good to
    # two units in the last place; y is standardised with two more roundings
    bound = 2 * sum_bound(terms) + 2 * 2 * U * np.abs(terms).sum(-1) + 8 * U * np.abs(h)
    z = h @ weights["out.weight"].T + weights["out.bias"]
    x = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    with torch.no_grad():
        assert (np.abs(phi.features(torch.from_numpy(y)).numpy() - h) <= bound).all()
        np.testing.assert_allclose(phi(torch.from_numpy(y)).numpy(), x, rtol=1e-12)
        np.testing.assert_allclose(phi.log_prob(torch.from_numpy(y)).numpy(), np.log(x), rtol=1e-12)


@given(
    m=st.integers(1, 4),
    n=st.integers(1, 6),
    depth=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    size=st.floats(0, 1e6),
)
def test_the_simplex_head_is_on_the_simplex(m, n, depth, seed, size):
    phi = build(m, n, width=8, depth=depth, seed=seed)
    y = size * torch.randn(4, m, dtype=F64, generator=torch.Generator().manual_seed(seed))
    x = phi(y)
    assert x.shape == (4, n) and bool((x >= 0).all())
    # Each entry is an exponential over a sum of n: n + 3 roundings, and n − 1 more in the sum taken here.
    assert float((x.sum(-1) - 1).abs().max().detach()) <= (2 * n + 2) * 2.0**-53


def test_log_prob_reaches_where_softmax_underflows():
    phi = build(1, 3, width=4)
    with torch.no_grad():
        phi.out.weight.zero_()
        phi.out.bias.copy_(torch.tensor([0.0, -1e4, -2e4]))
    y = torch.zeros(1, 1, dtype=F64)
    assert phi(y)[0, 2] == 0.0
    torch.testing.assert_close(phi.log_prob(y)[0], torch.tensor([0.0, -1e4, -2e4], dtype=F64))


def test_the_linear_head_has_no_probability():
    phi = build(2, 3, head="linear")
    assert bool((phi(torch.randn(50, 2, dtype=F64)) < 0).any())
    with pytest.raises(ValueError, match="head='simplex'"):
        phi.log_prob(torch.zeros(1, 2, dtype=F64))


def test_gelu_is_the_exact_one():
    phi = build(1, 1, width=1, head="linear", activation="gelu")
    y = torch.linspace(-3, 3, 11, dtype=F64)[:, None]
    w = {name: float(value) for name, value in phi.state_dict().items()}
    z = [w["hidden.0.weight"] * v + w["hidden.0.bias"] for v in y[:, 0].tolist()]
    expected = [w["out.weight"] * v * 0.5 * (1 + math.erf(v / math.sqrt(2))) + w["out.bias"] for v in z]
    np.testing.assert_allclose(phi(y)[:, 0].detach().numpy(), expected, rtol=1e-12)


def test_gradients_against_finite_differences():
    phi = build(2, 3, width=6, depth=2)
    y = torch.randn(3, 2, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(phi, (y,))
    assert torch.autograd.gradgradcheck(phi, (y,))


def test_works_under_vmap_and_jacrev():
    phi = build(2, 3, width=6)
    y = torch.randn(5, 2, dtype=F64)
    torch.testing.assert_close(torch.func.vmap(phi)(y), phi(y))
    assert torch.func.vmap(torch.func.jacrev(phi))(y).shape == (5, 3, 2)


def test_one_seed_one_phi_theta_and_no_global_draw():
    state = torch.get_rng_state()
    first, second = build(2, 5, seed=3), build(2, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_standardisation_travels_with_the_weights():
    source, target = build(2, 3, seed=1), build(2, 3, seed=2)
    source.standardise(torch.tensor([1.0, 2.0]), 3.0)
    target.load_state_dict(source.state_dict())
    y = torch.randn(4, 2, dtype=F64)
    assert torch.equal(source(y), target(y))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_floating_dtype(dtype):
    assert build(2, 3, dtype=dtype)(torch.zeros(2, 2, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_slow": 0}, "n_slow must be an integer >= 1, got 0"),
        ({"n_states": 2.0}, "n_states must be an integer"),
        ({"width": -1}, "width must be"),
        ({"depth": True}, "depth must be"),
        ({"head": "softmax"}, "head must be one of simplex, linear"),
        ({"activation": "relu"}, "activation must be one of"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        PhiTheta(**{"n_slow": 1, "n_states": 2, **change})


def test_bad_inputs_are_named():
    phi = build(2, 3)
    with pytest.raises(ValueError, match=r"y must have shape \[\.\.\., 2\]"):
        phi(torch.zeros(4, 3, dtype=F64))
    with pytest.raises(ValueError, match=r"torch.float32 and φ_θ has torch.float64"):
        phi(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="on meta and φ_θ on cpu"):
        phi(torch.zeros(4, 2, dtype=F64, device="meta"))
    with pytest.raises(ValueError, match="scale must be > 0"):
        phi.standardise(0.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="center must be finite"):
        phi.standardise(float("nan"), 1.0)
    with pytest.raises(ValueError, match=r"center must be a number or have shape \[2\]"):
        phi.standardise([1.0, 2.0, 3.0], 1.0)
