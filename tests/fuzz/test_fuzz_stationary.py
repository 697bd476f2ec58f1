"""Fuzz: what a generator is, its recurrent classes, its p_st and the nearest one, for input of every kind."""

from fractions import Fraction

import numpy as np
import torch
from fuzz_inputs import (
    F64,
    attempt,
    completed,
    exact_group_inverse,
    exact_stationary,
    fuzzed,
    generator_cases,
    is_generator,
    rates,
    recurrent,
    relative_error,
    sparse_cases,
)
from hypothesis import given
from hypothesis import strategies as st

from theory import (
    check_generator,
    from_rates,
    from_row_convention,
    nearest_generator,
    nearest_generator_shift,
    recurrent_classes,
    stationary_distribution,
)


def single(value):
    """Whether the numbers are float32, with its unit round-off."""
    return "float32" in str(getattr(value, "dtype", ""))


def unit_of(value):
    return 2.0**-24 if single(value) else 2.0**-53


def matrices(array):
    return array.reshape(-1, *array.shape[-2:])


@fuzzed
@given(generator_cases())
def test_check_generator(case):
    answer = attempt("theory.check_generator", lambda: check_generator(case.value) or "passed", "A")
    if answer is None:
        assert not case.fine
    else:
        assert case.array is not None and is_generator(case.array, unit_of(case.value))


@fuzzed
@given(sparse_cases())
def test_check_generator_sparse(case):
    answer = attempt("theory.check_generator (sparse)", lambda: check_generator(case.value) or "passed", "A")
    if answer is None:
        assert not case.fine
    else:
        assert case.array is None or is_generator(case.array)


@fuzzed
@given(generator_cases())
def test_from_rates(case):
    A = attempt("theory.from_rates", lambda: from_rates(case.value), "rates")
    if A is None:
        assert not case.fine
        return
    R = case.array
    off = ~np.eye(R.shape[-1], dtype=bool)
    assert A.shape == R.shape and np.array_equal(
        A.numpy()[..., off], R[..., off].astype(A.numpy().dtype), equal_nan=True
    )
    if case.fine:
        assert is_generator(A.numpy().astype(float), unit_of(A))


@fuzzed
@given(generator_cases())
def test_from_row_convention(case):
    A = attempt("theory.from_row_convention", lambda: from_row_convention(case.value), "Q")
    if A is not None:
        assert np.array_equal(A.numpy(), np.swapaxes(case.array, -1, -2))
        assert is_generator(A.numpy().astype(float), unit_of(A))
    elif case.fine:  # by columns: it is one by rows as well only if p_st is uniform
        assert not is_generator(np.swapaxes(case.array, -1, -2), unit_of(case.value) / 2)


@fuzzed
@given(generator_cases(batches=((), (), (1,))))
def test_recurrent_classes(case):
    classes = attempt("theory.recurrent_classes", lambda: recurrent_classes(case.value), "A")
    if classes is None:
        assert not (case.fine and case.array.ndim == 2)
    else:
        assert [tuple(c) for c in classes] == recurrent(case.array)


@fuzzed
@given(generator_cases())
def test_stationary_distribution(case):
    before = None if case.array is None else case.array.copy()
    p = attempt("theory.stationary.distribution_distribution", lambda: stationary_distribution(case.value), "A")
    unique = case.array is not None and (case.fine or p is not None)
    exact = [exact_stationary(A) for A in matrices(case.array)] if unique else []
    if p is None:
        assert not case.fine or None in exact
        return
    assert is_generator(case.array, unit_of(case.value)) and None not in exact
    assert isinstance(p, torch.Tensor) == isinstance(case.value, torch.Tensor)
    assert p.shape == case.array.shape[:-1]
    assert single(p) == single(case.value)
    n, digits = p.shape[-1], np.finfo(np.float32 if single(p) else np.float64)
    for found, wanted in zip(np.asarray(p).reshape(-1, n), exact, strict=True):
        assert (found >= 0).all()
        for value, entry in zip(found, wanted, strict=True):
            assert relative_error(float(value), entry, float(digits.tiny)) < 16 * n * digits.eps
    after = case.value.numpy() if isinstance(case.value, torch.Tensor) else np.asarray(case.value)
    assert np.array_equal(after, before, equal_nan=True)


@fuzzed
@given(sparse_cases())
def test_stationary_distribution_sparse(case):
    p = attempt("theory.stationary_distribution (sparse)", lambda: stationary_distribution(case.value), "A", "rates")
    exact = exact_stationary(case.array) if case.array is not None and (case.fine or p is not None) else None
    if p is None:
        assert not case.fine or exact is None
        return
    if case.array is None:  # rounded to half precision on the way
        return
    assert is_generator(case.array) and exact is not None
    for value, entry in zip(p, exact, strict=True):
        assert relative_error(float(value), entry, 1e-290) < 1e-12


@fuzzed
@given(rates(batches=((), (3,))), st.sampled_from([torch.vmap, torch.func.jacrev, torch.func.jacfwd]), st.booleans())
def test_stationary_distribution_transformed(R, transform, lost):
    A = torch.from_numpy(completed(R))
    A = A if A.ndim == 3 else A[None]
    if lost:
        A[..., 0] = torch.nan
    function = torch.vmap(stationary_distribution if transform is torch.vmap else transform(stationary_distribution))
    value = attempt(f"theory.stationary_distribution ({transform.__name__})", lambda: function(A), "A", "p_st")
    if value is None:
        return
    assert not lost
    if transform is torch.vmap:
        assert torch.allclose(value, stationary_distribution(A), rtol=1e-13, atol=1e-300)
        return
    assert not value.isnan().any() and ((value.sum(-3) * A).nan_to_num().abs() <= 1e-12).all()
    for rates_of_one, found in zip(A.numpy(), value.numpy(), strict=True):
        off = rates_of_one[rates_of_one > 0]
        if ((off < 1e-100) | (off > 1e100)).any():
            continue  # products of a derivative with rates so far from 1 may underflow on the way
        assert_jacobian(rates_of_one, found, 10**11 if transform is torch.func.jacfwd else 10**9)


def assert_jacobian(A, found, digits):
    """found[k, i, j] is ∂p_k/∂A_ij = −(A^#_ki − A^#_kj) p_j, i != j, within 1/digits of the largest ∂p_k/∂ ln A, or
    where a rate is zero, of the largest derivative in rates from the same state."""
    p = exact_stationary(A)
    if any(entry and float(entry) < 1e-290 for entry in p):  # p, and with it the derivative, loses digits there
        return
    inverse, n = exact_group_inverse(A, p), len(A)
    for k in range(n):
        exact = {(i, j): -(inverse[k][i] - inverse[k][j]) * p[j] for i in range(n) for j in range(n) if i != j}
        largest = max((abs(entry) * Fraction(float(A[ij])) for ij, entry in exact.items()), default=Fraction(0))
        for (i, j), entry in exact.items():
            if abs(entry) < 1e300:
                beside = max(abs(exact[m, j]) for m in range(n) if m != j)
                allowed = largest / Fraction(float(A[i, j])) if A[i, j] else beside
                assert abs(Fraction(float(found[k, i, j])) - entry) <= allowed / digits + Fraction(1e-280), (k, i, j)


@fuzzed
@given(generator_cases())
def test_nearest_generator(case):
    A = attempt("theory.nearest_generator", lambda: nearest_generator(case.value), "M")
    if A is None:
        assert not case.fine
        return
    found, M = A.numpy().astype(float), case.array
    assert found.shape == M.shape and is_generator(found, unit_of(A))
    n, eps = M.shape[-1], 4 * unit_of(A)
    for G, B in zip(matrices(found), matrices(M), strict=True):
        size = np.abs(B).max()
        for j in range(n):
            off = np.arange(n) != j
            s = B[j, j] - G[j, j]  # the multiplier of the column sum; Karush, Kuhn and Tucker leave no other freedom
            assert np.abs(G[off, j] - (B[off, j] - s).clip(min=0)).max(initial=0) <= 8 * n * eps * size


@fuzzed
@given(generator_cases(reaches=(0.0, 1.0, 3.0, 150.0)))
def test_nearest_generator_shift(case):
    c = attempt("theory.nearest_generator_shift", lambda: nearest_generator_shift(case.value), "M")
    if c is None:
        assert not case.fine
        return
    M, n = torch.from_numpy(case.array), case.array.shape[-1]
    assert c.shape == M.shape[:-2]
    size = M.abs().amax((-2, -1)).clamp(min=1e-300)

    def distance(c):
        shifted = (M - c[..., None, None] * torch.eye(n, dtype=F64)) / size[..., None, None]
        return (shifted - nearest_generator(shifted)).square().sum((-2, -1))

    for step in (1e-3, -1e-3, 0.1, -0.1):
        assert (distance(c.double()) <= distance(c.double() + step * size) + 1e-6 * (unit_of(c) / 2**-53) ** 0.5).all()
