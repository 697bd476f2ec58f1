"""Fuzz: the group inverse and what is computed from it, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import torch
from fuzz_inputs import (
    F64,
    attempt,
    exact_group_inverse,
    exact_stationary,
    fuzzed,
    generator_cases,
    is_generator,
    relative_error,
    spoiled_vectors,
)
from hypothesis import given
from hypothesis import strategies as st

from theory import (
    certificate,
    group_inverse,
    kemeny_constant,
    mean_first_passage_times,
    sensitivity,
    solve_sum_zero,
    spectral_gap,
    total_variation,
)

MILD = (0.0, 1.0, 3.0)
seeds = st.integers(0, 2**32 - 1)


def first(case):
    """The first matrix of a batch as float64, or None."""
    if case.array is None or case.array.ndim < 2 or 0 in case.array.shape:
        return None
    return case.array.reshape(-1, *case.array.shape[-2:])[0]


def solvable(case):
    """A fine case with one recurrent class and no transient state: what every function here must answer."""
    return case.fine and all(
        all(entry > 0 for entry in exact_stationary(A) or [0]) for A in case.array.reshape(-1, *case.array.shape[-2:])
    )


def unit(tensor):
    return 2.0**-24 if tensor.dtype == torch.float32 else 2.0**-53


@fuzzed
@given(generator_cases(most=3))
def test_group_inverse(case):
    inverse = attempt("theory.group_inverse", lambda: group_inverse(case.value), "A", "A^#")
    A = first(case)
    if inverse is None:
        assert not (solvable(case) and np.abs(A).max(initial=1) < 1e4 and A[A > 0].min(initial=1) > 1e-4)
        return
    assert inverse.shape == case.array.shape
    if A is None:
        return
    exact = exact_group_inverse(A, exact_stationary(A))
    found = inverse.double().reshape(-1, *A.shape)[0].tolist()
    top = max(abs(entry) for row in exact for entry in row)
    error = max(
        abs(Fraction(a) - b)
        for a_row, b_row in zip(found, exact, strict=True)
        for a, b in zip(a_row, b_row, strict=True)
    )
    assert error <= Fraction(4 * (2 * unit(inverse)) ** (2 / 3)) * top + Fraction(2.0**-1000)


@fuzzed
@given(generator_cases(most=4), st.data())
def test_certificate(case, data):
    """Never below the truth, and never above the trivial bound."""
    n = 1 if case.array is None or not case.array.shape else case.array.shape[-1]
    q = data.draw(spoiled_vectors(n))
    bound = attempt("theory.certificate", lambda: certificate(case.value, q.value), "A", "q")
    if bound is None:
        assert not (case.fine and q.fine)
        return
    assert is_generator(case.array, 2.0**-24 if "float32" in str(getattr(case.value, "dtype", "")) else 2.0**-53)
    shape = np.broadcast_shapes(case.array.shape[:-2], q.array.shape[:-1])
    assert bound.shape == shape and bool((bound >= 0).all())
    size = np.abs(q.array).sum(-1)
    assert (bound.numpy() <= 0.5 * (size + 1) * (1 + 1e-6) + 1e-6).all()
    wide = np.broadcast_to(case.array, (*shape, n, n)).reshape(-1, n, n)
    vectors = np.broadcast_to(q.array, (*shape, n)).reshape(-1, n)
    for A, vector, claimed in zip(wide, vectors, bound.double().reshape(-1).tolist(), strict=True):
        p = exact_stationary(A)
        if p is not None:  # else every p_st is at most the trivial bound away
            mass = sum(Fraction(float(v)) for v in vector) - 1  # rounding in the sum of q is part of q
            truth = sum(abs(Fraction(float(v)) - e) for v, e in zip(vector, p, strict=True)) / 2
            assert Fraction(claimed) * (1 + Fraction(1e-7)) + abs(mass) >= truth


@fuzzed
@given(generator_cases(most=3, reaches=MILD), seeds, st.sampled_from(["none"] * 4 + ["nan", "defect", "shape", "list"]))
def test_sensitivity(case, seed, fault):
    rng = np.random.default_rng(seed)
    A = case.array if case.array is not None and case.array.ndim >= 2 else np.zeros((2, 2))
    dA = rng.standard_normal(A.shape)
    dA -= dA.mean(-2, keepdims=True) if A.shape[-2] else 0.0
    dA = torch.from_numpy(dA)
    single = "float32" in str(getattr(case.value, "dtype", ""))
    dA = dA.float() if single else dA
    if fault != "none" and dA.numel():
        dA[..., 0, 0] = {"nan": torch.nan, "defect": 7.0}.get(fault, dA[0, 0] if dA.ndim == 2 else 0.0)
    value = {"shape": dA[..., :-1], "list": dA.tolist()}.get(fault, dA)
    moved = attempt("theory.sensitivity", lambda: sensitivity(case.value, value), "A", "dA", "columns of dA")
    if moved is None:
        assert not (solvable(case) and fault == "none" and not single)
        return
    M = first(case)
    if M is None or (fault == "list" and dA.ndim != 2):
        return
    p = exact_stationary(M)
    exact, n = exact_group_inverse(M, p), len(M)
    direction = [[Fraction(float(v)) for v in row] for row in dA.double().reshape(-1, n, n)[0].tolist()]
    for j in range(n):  # a direction is its rates; its diagonal completes them
        direction[j][j] = -sum(direction[i][j] for i in range(n) if i != j)
    flow = [sum(direction[i][j] * p[j] for j in range(n)) for i in range(n)]
    found = moved.double().reshape(-1, n)[0].tolist()
    size = max(abs(e) for row in exact for e in row) * sum(
        abs(direction[i][j]) * p[j] for i in range(n) for j in range(n)
    )
    condition = max(abs(e) for row in exact for e in row) * Fraction(float(np.abs(M).max()))
    for i in range(n):
        truth = -sum(exact[i][j] * flow[j] for j in range(n))
        assert abs(Fraction(found[i]) - truth) <= size * condition * Fraction(256 * unit(moved)) + Fraction(1e-300)


@fuzzed
@given(generator_cases(most=3, reaches=MILD), st.data())
def test_solve_sum_zero(case, data):
    n = 1 if case.array is None or not case.array.shape else case.array.shape[-1]
    v = data.draw(spoiled_vectors(n, total=0.0))
    z = attempt("theory.solve_sum_zero", lambda: solve_sum_zero(case.value, v.value), "A", "v", "A z")
    if z is None:
        assert not (
            solvable(case)
            and v.fine
            and case.array.dtype == np.float64
            and "float32" not in str(getattr(case.value, "dtype", ""))
            and "float32" not in str(getattr(v.value, "dtype", ""))
        )
        return
    assert z.shape == (*np.broadcast_shapes(case.array.shape[:-2], v.array.shape[:-1]), n)
    A = torch.from_numpy(case.array)
    if v.fine and z.numel():
        right = torch.from_numpy(np.array(v.array))
        residual = (A @ z.double()[..., None])[..., 0] - right
        scale = (A.abs() @ z.double().abs()[..., None])[..., 0].sum(-1) + right.abs().sum(-1)
        assert (residual.abs().sum(-1) <= 1e3 * n * unit(z) * scale + 1e-290).all()


@fuzzed
@given(generator_cases(most=3))
def test_spectral_gap(case):
    gap = attempt("theory.spectral_gap", lambda: spectral_gap(case.value), "A")
    matrices = case.array.reshape(-1, *case.array.shape[-2:]) if case.fine else []
    unique = all(exact_stationary(A) is not None for A in matrices)
    if gap is None:
        rates = np.abs(case.array[case.array != 0]) if case.fine else np.empty(0)
        assert not case.fine or not unique or rates.max() > 1e100 * rates.min()  # the eigenvalues need not converge
        return
    assert unique
    assert gap.shape == case.array.shape[:-2]
    for A, found in zip(case.array.reshape(-1, *case.array.shape[-2:]), gap.reshape(-1).tolist(), strict=True):
        rates, n = A.copy(), len(A)
        np.fill_diagonal(rates, 0.0)
        unit_rate = float(rates.max(initial=0.0)) or 1.0
        rates = rates / unit_rate
        exits = rates.sum(0)
        if n == 1:
            assert found == np.inf
            continue
        # The nonzero eigenvalues are the roots of λ² + sλ + d, for n = 2 the one of λ + s
        s, root = exits.sum(), 0.0
        if n == 3:
            pairs = ((0, 1), (0, 2), (1, 2))
            d = sum(exits[i] * exits[j] - rates[i, j] * rates[j, i] for i, j in pairs)
            root = max(s * s / 4 - d, 0.0) ** 0.5
        expected = s / 2 - root if n == 3 else s
        digits = np.sqrt(unit(gap)) if n == 3 else 64 * unit(gap)  # a double root is known to half the digits
        assert abs(found / unit_rate - expected) <= 64 * digits * s + 1e-300


@fuzzed
@given(generator_cases(most=3))
def test_mean_first_passage_times(case):
    times = attempt("theory.mean_first_passage_times", lambda: mean_first_passage_times(case.value), "A")
    if times is None:
        assert not case.fine
        return
    assert times.shape == case.array.shape
    limits = torch.finfo(times.dtype)
    for A, found in zip(
        case.array.reshape(-1, *case.array.shape[-2:]), times.reshape(-1, *case.array.shape[-2:]), strict=True
    ):
        rates = A[A > 0]
        if len(rates) and rates.max() / 1e145 > rates.min():
            assert (found >= 0).all()
            continue  # two jumps in turn may have a probability that no double holds
        for i, row in enumerate(exact_passage(A)):
            for j, wanted in enumerate(row):
                value = float(found[i, j])
                if wanted is None or wanted > Fraction(0.99 * limits.max):
                    assert value == np.inf
                else:
                    assert relative_error(value, wanted, limits.tiny) < 64 * len(A) * limits.eps


@fuzzed
@given(generator_cases(most=3))
def test_kemeny_constant(case):
    constant = attempt("theory.kemeny_constant", lambda: kemeny_constant(case.value), "A")
    if constant is None:
        assert not solvable(case)
        return
    assert constant.shape == case.array.shape[:-2]
    A = first(case)
    if A is None:
        return
    p, times = exact_stationary(A), exact_passage(A)
    start = next(j for j, entry in enumerate(p) if entry > 0)
    exact = sum(entry * times[i][start] for i, entry in enumerate(p) if entry > 0)
    limits = torch.finfo(constant.dtype)
    if all(t is None or t < Fraction(0.99 * limits.max) for row in times for t in row) and min(
        e for e in p if e
    ) > Fraction(limits.tiny):
        assert relative_error(float(constant.reshape(-1)[0]), exact, limits.tiny) < 128 * len(A) * limits.eps


def exact_passage(A):
    """m[i][j], the mean time from j to i; None where the chain may never arrive."""
    from fuzz_inputs import exact_generator, reachable, solve

    n, B, reach = len(A), exact_generator(A), reachable(A)
    table = [[Fraction(0)] * n for _ in range(n)]
    for i in range(n):
        # From j the chain arrives surely if i can be reached from everywhere that j reaches without passing i.
        without = A.copy()
        without[:, i] = 0.0
        onward = reachable(without)
        sure = [j for j in range(n) if j != i and all(reach[k, i] for k in np.flatnonzero(onward[j]))]
        if sure:
            rows = [[-B[k][j] for k in sure] + [Fraction(1)] for j in sure]
            for j, value in zip(sure, solve(rows), strict=True):
                table[i][j] = value[0]
        for j in set(range(n)) - {i, *sure}:
            table[i][j] = None
    return table


@fuzzed
@given(st.integers(1, 5), st.data())
def test_total_variation(n, data):
    p, q = data.draw(spoiled_vectors(n)), data.draw(spoiled_vectors(n))
    tv = attempt("theory.total_variation", lambda: total_variation(p.value, q.value), "p", "q")
    if tv is None:
        assert not (p.fine and q.fine)
        return
    with np.errstate(invalid="ignore"):  # inf − inf
        expected = 0.5 * np.abs(p.array - q.array).sum(-1)
    assert np.allclose(tv.double().numpy(), expected, rtol=1e-6, atol=1e-7, equal_nan=True)
    assert tv.dtype in (torch.float32, F64)
