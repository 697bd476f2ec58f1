"""Derivatives of p_st where state 0 is transient: the same as after a renumbering of the states."""

import itertools

import numpy as np
import pytest
import torch
from torch.func import jacfwd, jacrev, jvp, vmap

from theory import from_rates, stationary_distribution

pytestmark = pytest.mark.numerical

F64 = torch.float64


def rates(seed, batch=()):
    """States 0 and 3 lead into the class {1, 2, 4}, which never leads back."""
    R = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2.0, (*batch, 5, 5)))
    for i, j in itertools.product((0, 3), (1, 2, 4)):
        R[..., i, j] = 0.0
    return R


ORDER = torch.tensor([1, 2, 4, 0, 3])
BACK = torch.argsort(ORDER)


def p_of(R):
    return stationary_distribution(from_rates(R))


def renumbered(R):
    """The same map through a chain whose first state is recurrent."""
    return p_of(R[..., ORDER, :][..., :, ORDER])[..., BACK]


@pytest.mark.parametrize("jacobian", [jacfwd, jacrev])
def test_first_and_second_derivatives(jacobian):
    R = rates(0)
    first = jacobian(p_of)(R)
    assert torch.isfinite(first).all() and first.abs().max() > 0.1
    torch.testing.assert_close(first, jacobian(renumbered)(R), rtol=1e-12, atol=1e-14)
    second = jacobian(jacfwd(p_of))(R)
    torch.testing.assert_close(second, jacobian(jacfwd(renumbered))(R), rtol=1e-12, atol=1e-14)


def test_the_adjoint_kernel_and_its_own_derivative():
    R = rates(1).requires_grad_(True)
    weights = torch.linspace(1, 2, 5, dtype=F64)
    (gradient,) = torch.autograd.grad((p_of(R) * weights).sum(), R, create_graph=True)
    (expected,) = torch.autograd.grad((renumbered(R) * weights).sum(), R, create_graph=True)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
    again = [torch.autograd.grad(g.square().sum(), R)[0] for g in (gradient, expected)]
    torch.testing.assert_close(*again, rtol=1e-11, atol=1e-13)


def test_a_batch_that_mixes_both_kinds_under_vmap():
    R = torch.cat([rates(2, (2,)), rates(3, (2,))[:, ORDER][:, :, ORDER]])
    torch.testing.assert_close(vmap(p_of)(R), p_of(R), rtol=1e-14, atol=0)
    inside = torch.where(R > 0, 1.0, 0.0)  # rates that are zero stay so
    moved = vmap(lambda r, t: jvp(p_of, (r,), (t,))[1])(R, inside)
    h = 1e-6
    expected = (p_of(R + h * inside) - p_of(R - h * inside)) / (2 * h)
    torch.testing.assert_close(moved, expected, rtol=1e-8, atol=1e-9)


def test_an_absorbing_last_state_has_no_nan():
    A = from_rates(torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=F64))
    assert vmap(stationary_distribution)(A[None]).tolist() == [[0.0, 1.0]]
    # The rate 1 -> 0, zero here, would carry dp_0 = 1 over the rate 0 -> 1.
    assert jacfwd(p_of)(torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=F64))[:, 0, 1].tolist() == [1.0, -1.0]
