"""Every function of theory that takes A, with every kind of A: right, or refused with the remedy.

The answer for the plain float64 matrix is the reference. A kind that a function does not take must be refused by a
`ValueError` whose text says what to pass instead.
"""

import inspect
import re
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
import sympy
import torch

import theory
from theory import GeneratorError

RATES = np.array([[0.0, 1, 2, 0], [3, 0, 1, 1], [0, 2, 0, 4], [1, 0, 5, 0]])
A = theory.from_rates(RATES).numpy()
Q = np.array([0.1, 0.2, 0.3, 0.4])
V = np.array([0.5, -0.25, -0.5, 0.25])
DA = theory.from_rates(RATES.T).numpy() - A
T = [0.5, 2.0]
HORIZON = 1e4


def beside(M, vector):
    """`vector` in the dtype and of the library that M needs."""
    if isinstance(M, torch.Tensor) and M.layout == torch.strided:
        return torch.as_tensor(vector, dtype=M.dtype)
    return np.asarray(vector, np.float32 if getattr(M, "dtype", None) == np.float32 else np.float64)


CALLS = {
    "check_generator": lambda M: theory.check_generator(M),
    "stationary_distribution": lambda M: theory.stationary_distribution(M),
    "stationary_distributions": lambda M: theory.stationary_distributions(M).distributions,
    "recurrent_classes": lambda M: theory.recurrent_classes(M),
    "group_inverse": lambda M: theory.group_inverse(M),
    "solve_sum_zero": lambda M: theory.solve_sum_zero(M, beside(M, V)),
    "sensitivity": lambda M: theory.sensitivity(M, sp.csc_array(DA) if sp.issparse(M) else beside(M, DA)),
    "rate_gradient": lambda M: theory.rate_gradient(M, V).toarray(),
    "certificate": lambda M: theory.certificate(M, beside(M, Q)),
    "spectral_gap": lambda M: theory.spectral_gap(M),
    "relaxation_times": lambda M: theory.relaxation_times(M, 1),
    "relaxation_radius": lambda M: theory.relaxation_radius(M, T),
    "kemeny_constant": lambda M: theory.kemeny_constant(M),
    "mean_first_passage_times": lambda M: theory.mean_first_passage_times(M, [0, 2]),
    "hitting_probabilities": lambda M: theory.hitting_probabilities(M, [0, 2]),
    "propagate": lambda M: theory.propagate(M, beside(M, Q), T),
    "entropy_production": lambda M: theory.entropy_production(M, beside(M, Q)),
    "has_detailed_balance": lambda M: theory.has_detailed_balance(M),
    "lump": lambda M: theory.lump(M, [[0, 1], [2, 3]]),
    "is_lumpable": lambda M: theory.is_lumpable(M, [[0, 1], [2, 3]]),
    "occupation_mean": lambda M: theory.occupation_mean(M, Q, 3.0),
    "occupation_covariance": lambda M: theory.occupation_covariance(M),
    "occupation_variance": lambda M: theory.occupation_variance(M, Q, 3.0),
    "occupation_interval": lambda M: theory.occupation_interval(M, Q, 3.0),
    "occupation_chi2": lambda M: theory.occupation_chi2(M, Q, 3.0)[0],
    "expected_occupation_tv": lambda M: theory.expected_occupation_tv(M, 3.0),
    "sample_jumps": lambda M: theory.sample_jumps(M, 0, HORIZON, seed=0, record=False).occupation,
}

STOCHASTIC = RATES / RATES.sum(1, keepdims=True)
KINDS = {
    "dense": A,
    "list": A.tolist(),
    "tensor": torch.tensor(A),
    "float32": A.astype(np.float32),
    "batch": np.stack([A, A]),
    "sparse": sp.csr_array(A),
    "sparse matrix": sp.coo_matrix(A),
    "sparse float32": sp.csc_array(A.astype(np.float32)),
    "sparse tensor": torch.tensor(A).to_sparse_coo().coalesce(),
    "sympy": sympy.Matrix(A.astype(int).tolist()),
    "integers": A.astype(int),
    "masked": np.ma.masked_array(A, A == 1.0),
    "transition matrix": STOCHASTIC,
    "sparse transition matrix": sp.csr_array(STOCHASTIC),
    "counts": RATES.T.copy(),
    "sparse counts": sp.csr_array(RATES.T),
    "complex": A.astype(complex),
    "float16": A.astype(np.float16),
}
NEVER = {"masked", "transition matrix", "sparse transition matrix", "counts", "sparse counts", "complex", "float16"}
REMEDY = re.compile(r"pass |call it once|theory\.\w+\(|cast it yourself|float64 only")


class Foreign:
    """An array of another library: jax, xarray and CuPy arrays convert themselves like this."""

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def plain(found, first):
    """`found` as float64; of the first batch element."""
    if sp.issparse(found):
        found = found.toarray()
    if isinstance(found, sympy.MatrixBase):
        found = np.array(found.tolist(), float).squeeze()
    if found is None or isinstance(found, (bool, list)):
        return found
    array = np.asarray(found.to_dense() if isinstance(found, torch.Tensor) else found, np.float64)
    return array[0] if first else array


@cache
def reference(name):
    """What the call gives for the plain matrix; None of `rate_gradient`, which is for sparse matrices alone."""
    return None if name == "rate_gradient" else plain(CALLS[name](A), False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_right_or_refused_with_the_remedy(name, kind):
    call, given = CALLS[name], KINDS[kind]
    if name == "recurrent_classes" and ("counts" in kind or "transition" in kind):
        assert call(given) == [[0, 1, 2, 3]]  # which depends neither on the diagonal nor, here, on the convention
        return
    expected = reference(name)
    try:
        found = call(given)
    except ValueError as refusal:
        said = str(refusal)
        told = REMEDY.search(said) is not None
        may_refuse = kind not in ("dense", "list", "tensor", "integers") or name == "rate_gradient"
        if not (told and may_refuse):
            raise
        return
    assert kind not in NEVER
    if name == "rate_gradient":
        return
    found = plain(found, kind == "batch" and not isinstance(found, bool))
    if expected is None or isinstance(expected, (bool, list)):
        assert found == expected
    elif name == "certificate" and "sparse" in kind:
        truth = float(theory.total_variation(Q, theory.stationary_distribution(A)))
        assert truth <= float(found) <= 2 * truth
    elif name == "sample_jumps" and "sparse" in kind:  # other draws of the same law
        spread = theory.occupation_covariance(A).diagonal().numpy() / HORIZON
        assert (np.abs(found - expected) <= 5 * (2 * spread) ** 0.5).all()
    else:
        single = "float32" in kind
        np.testing.assert_allclose(found, expected, rtol=2e-5 if single else 1e-11, atol=1e-5 if single else 1e-13)


def test_no_function_is_left_out():
    """Whatever has A for its first argument is called above, but for the systems', which take A(y)."""
    taking = {
        name
        for name in theory.__all__
        if inspect.isfunction(getattr(theory, name))
        and next(iter(inspect.signature(getattr(theory, name)).parameters), "") == "A"
    }
    assert taking - {"enclosure"} == set(CALLS)  # whose kinds are tested with it, in test_enclosure.py


def test_arrays_of_other_libraries():
    np.testing.assert_allclose(theory.stationary_distribution(Foreign(A)), theory.stationary_distribution(A))
    with pytest.raises(GeneratorError, match="from_transition_matrix"):
        theory.stationary_distribution(Foreign(STOCHASTIC))
