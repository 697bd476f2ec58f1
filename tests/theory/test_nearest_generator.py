"""The nearest generator against SLSQP, against its optimality conditions, and its shift against SciPy's minimiser."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize, minimize_scalar

import theory

pytestmark = pytest.mark.numerical


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_generator(n, seed):
    rates = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return theory.from_rates(-rates.log())


def distance(M):
    return torch.linalg.matrix_norm(M - theory.nearest_generator(M))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [2, 3, 6])
def test_against_slsqp_column_by_column(n, seed):
    M = normal(n, n, seed=seed).numpy()
    A = theory.nearest_generator(M).numpy()
    for j in range(n):
        others = [(0.0, None) if i != j else (None, None) for i in range(n)]
        found = minimize(
            lambda a, j=j: ((a - M[:, j]) ** 2).sum(),
            np.zeros(n),
            jac=lambda a, j=j: 2 * (a - M[:, j]),
            bounds=others,
            constraints=LinearConstraint(np.ones((1, n)), 0.0, 0.0),
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        assert np.abs(A[:, j] - found.x).max() < 2e-7


@given(n=st.integers(1, 12), seed=st.integers(0, 2**31), scale=st.floats(-100, 100))
def test_optimality_conditions_of_the_projection_onto_a_cone(n, seed, scale):
    """A is the projection of M onto a convex cone iff ⟨M − A, A⟩ = 0 and ⟨M − A, G⟩ <= 0 for every generator G."""
    M = normal(n, n, seed=seed) * 10.0**scale
    A = theory.nearest_generator(M)
    theory.check_generator(A)
    unit, near = M / 10.0**scale, A / 10.0**scale
    residual = unit - near
    assert abs(float((residual * near).sum())) <= 1e-13 * n * n
    # Every generator is a non-negative combination of e_i e_jᵀ − e_j e_jᵀ.
    extreme_rays = residual - residual.diagonal().unsqueeze(-2)
    assert float(extreme_rays.max()) <= 1e-13 * n


@given(n=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_a_generator_is_its_own_projection(n, seed):
    A = random_generator(n, seed)
    assert torch.allclose(theory.nearest_generator(A), A, rtol=0.0, atol=4e-15 * float(A.abs().max()) * n)


@pytest.mark.thorough
@given(n=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_the_shift_is_the_minimum_over_multiples_of_the_identity(n, seed):
    M = normal(n, n, seed=seed)
    eye = torch.eye(n, dtype=torch.float64)
    c = float(theory.nearest_generator_shift(M))
    found = minimize_scalar(
        lambda c: float(distance(M - c * eye)) ** 2, bracket=(-1.0, 1.0), method="brent", options={"xtol": 1e-12}
    )
    assert float(distance(M - c * eye)) ** 2 <= found.fun * (1 + 1e-12) + 1e-14
    assert abs(c - found.x) <= 1e-5 * (1 + abs(c))
    derivative = sum(float((M - c * eye - theory.nearest_generator(M - c * eye))[j, j]) for j in range(n))
    assert abs(derivative) <= 1e-12 * n * (1 + abs(c))


@given(n=st.integers(2, 10), seed=st.integers(0, 2**31), c=st.floats(-50, 50))
def test_the_shift_of_a_shifted_generator(n, seed, c):
    A = random_generator(n, seed)
    shifted = A + c * torch.eye(n, dtype=torch.float64)
    assert abs(float(theory.nearest_generator_shift(shifted)) - c) <= 1e-12 * n * (1 + abs(c) + float(A.abs().max()))


def test_attention_weights_are_a_generator_once_the_identity_is_taken_off():
    W = normal(7, 7).softmax(-1)
    eye = torch.eye(7, dtype=torch.float64)
    assert float(theory.nearest_generator_shift(W.T)) == pytest.approx(1.0, abs=1e-14)
    assert float(distance(W.T - eye)) < 1e-14
    assert float(distance(W.T)) > 0.3


def test_two_states_by_hand():
    """Column (m, a): the average of the two is what is taken off, unless that leaves a negative rate."""
    M = torch.tensor([[1.0, 3.0], [5.0, -1.0]], dtype=torch.float64)
    assert theory.nearest_generator(M).tolist() == [[-2.0, 2.0], [2.0, -2.0]]
    assert theory.nearest_generator(torch.tensor([[5.0, 0.0], [1.0, 0.0]])).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_batches_dtypes_and_the_callers_array():
    M = normal(4, 3, 5, 5)
    kept = M.clone()
    A, c = theory.nearest_generator(M), theory.nearest_generator_shift(M)
    assert torch.equal(M, kept)
    assert A.shape == (4, 3, 5, 5)
    assert c.shape == (4, 3)
    # One Newton iteration serves the whole batch, so an element may take a step more than it needs: rounding.
    assert torch.equal(A[2, 1], theory.nearest_generator(M[2, 1]))
    assert float(c[2, 1]) == pytest.approx(float(theory.nearest_generator_shift(M[2, 1])), abs=1e-13)
    single = theory.nearest_generator(M.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), A, rtol=0.0, atol=1e-5)
    assert theory.nearest_generator([[1, 2], [3, 4]]).dtype == torch.float64
    assert not theory.nearest_generator(M.requires_grad_()).requires_grad


def test_extremes():
    assert theory.nearest_generator([[3.0]]).tolist() == [[0.0]]
    assert float(theory.nearest_generator_shift([[3.0]])) == 3.0
    assert not theory.nearest_generator(torch.zeros(4, 4)).any()
    assert float(theory.nearest_generator_shift(torch.zeros(4, 4))) == 0.0
    largest = torch.finfo(torch.float64).max
    huge = theory.nearest_generator([[-largest, largest], [largest, -largest]])
    assert torch.isfinite(huge).all()
    assert huge.tolist() == [[-largest, largest], [largest, -largest]]


@pytest.mark.parametrize("function", [theory.nearest_generator, theory.nearest_generator_shift])
@pytest.mark.parametrize(
    "bad, word",
    [
        (torch.zeros(2, 3), "shape"),
        (torch.zeros(0, 0), "shape"),
        (torch.zeros(3), "shape"),
        ([[0.0, math.nan], [0.0, 0.0]], r"\[0, 1\]"),
        ([[0.0, 0.0], [math.inf, 0.0]], r"\[1, 0\]"),
        (torch.zeros(2, 2, dtype=torch.complex128), "complex"),
    ],
)
def test_bad_input(function, bad, word):
    with pytest.raises(theory.GeneratorError, match=word):
        function(bad)


def test_ties_end_the_newton_iteration():
    M = torch.ones(6, 6, dtype=torch.float64)
    assert float(theory.nearest_generator_shift(M)) == pytest.approx(6.0)
    integers = torch.randint(-2, 3, (300, 7, 7), generator=torch.Generator().manual_seed(3)).double()
    c = theory.nearest_generator_shift(integers)
    eye = torch.eye(7, dtype=torch.float64)
    here = distance(integers - c[:, None, None] * eye)
    for nearby in (-1e-3, 1e-3):
        assert bool((here <= distance(integers - (c + nearby)[:, None, None] * eye) + 1e-12).all())
