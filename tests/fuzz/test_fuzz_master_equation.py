"""Fuzz: propagation, thermodynamics, occupation and sampled jumps of one generator."""

import math

import mpmath
import numpy as np
import torch
from fuzz_inputs import (
    attempt,
    exact_stationary,
    fuzzed,
    generator_cases,
    is_generator,
    rates,
    recurrent,
    sparse_cases,
    spoiled_vectors,
)
from hypothesis import given
from hypothesis import strategies as st

from theory import (
    entropy_production,
    expected_occupation_tv,
    from_rates,
    has_detailed_balance,
    occupation_chi2,
    occupation_covariance,
    occupation_interval,
    occupation_mean,
    propagate,
    relative_entropy,
    relaxation_radius,
    sample_jumps,
    sample_tokens,
    token_frequency_covariance,
)

MILD = (0.0, 1.0, 3.0)
NUMBERS = st.sampled_from(
    [1.0, 0.5, 3, 1e-300, 1e300, 0, -1.0, math.nan, math.inf, True, None, "1", 1j, [1.0], [], np.float32(2), 10**400]
    + [np.array(2.0), np.array([2.0]), torch.tensor(2.0), torch.tensor([1.0, 2.0])]
)
TIMES = st.sampled_from(
    [
        [1.0],
        [0.0, 0.5, 2.0],
        [0],
        [1e-300, 1.0],
        [1e300],
        [2.0, 1.0],
        [-1.0],
        [math.nan],
        [math.inf],
        [],
        1.0,
        None,
        "t",
    ]
    + [[[1.0]], np.array([0.5, 1.0])[::-1], torch.tensor([1.0]), [1j], [True], (0.25, 0.25)]
)
INTEGERS = st.sampled_from([0, 1, 5, np.int64(3), -1, 2**70, 1.0, 1.5, True, None, "3", math.nan])


def positive(value):
    """The number, where it must be taken as one."""
    plain = value.item() if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim == 0 else value
    fine = isinstance(plain, (int, float, np.floating)) and not isinstance(plain, bool) and 0 < plain < np.inf
    return float(plain) if fine else None


def size_of(case):
    return 1 if case.array is None or not case.array.shape else case.array.shape[-1]


def is_single(value):
    return "float32" in str(getattr(value, "dtype", ""))


@fuzzed
@given(generator_cases(most=3), TIMES, st.data())
def test_propagate(case, t, data):
    p0 = data.draw(spoiled_vectors(size_of(case)))
    p = attempt("theory.propagate", lambda: propagate(case.value, p0.value, t), "A", "p0", "t")
    easy = case.fine and p0.fine and not is_single(case.value) and not is_single(p0.value)
    if p is None:
        plain = isinstance(t, list) and t in ([1.0], [0.0, 0.5, 2.0]) and not any(isinstance(one, bool) for one in t)
        assert not (easy and plain and np.abs(case.array).max(initial=0) < 1e300)
        return
    times = np.asarray(t, float)
    assert (np.diff(times) >= 0).all() and (times >= 0).all()
    n, unit = size_of(case), 2.0**-24 if p.dtype == torch.float32 else 2.0**-53
    assert p.shape[-2:] == (len(times), n)
    assert ((p.sum(-1) - 1).abs() <= 64 * n * unit).all() and (p >= -64 * n * unit).all()
    flat, starts = case.array.reshape(-1, n, n), np.broadcast_to(p0.array, (*p.shape[:-2], n)).reshape(-1, n)
    if len(starts) and np.abs(flat[0]).max() * times[-1] < 30:
        with mpmath.workdps(40):
            E = mpmath.expm(mpmath.matrix(flat[0].tolist()) * mpmath.mpf(float(times[-1])))
            exact = [float(sum(E[i, j] * mpmath.mpf(float(starts[0][j])) for j in range(n))) for i in range(n)]
        assert np.abs(p.double().reshape(-1, len(times), n)[0, -1].numpy() - exact).max() <= 256 * n * unit


@fuzzed
@given(sparse_cases(most=4), TIMES, INTEGERS, st.data())
def test_propagate_sparse(case, t, most, data):
    n = 1 if case.array is None or not case.array.shape else case.array.shape[-1]
    p0 = data.draw(spoiled_vectors(n))
    p = attempt(
        "theory.propagate (sparse)",
        lambda: propagate(case.value, p0.value, t, max_products=most if isinstance(most, float) else 1000),
        *("A", "p0", "t", "max_products"),
    )
    if p is not None:
        if case.array is None:  # rounded to half precision on the way
            return
        assert is_generator(case.array)
        dense = propagate(case.array, p0.array, t)
        assert p.shape == dense.shape and (p - dense).abs().max() < 1e-10 if p.numel() else True


@fuzzed
@given(generator_cases(most=3), TIMES)
def test_relaxation_radius(case, t):
    radius = attempt("theory.relaxation_radius", lambda: relaxation_radius(case.value, t), "A", "t")
    if radius is None:
        return
    assert radius.shape == (*case.array.shape[:-2], len(t))
    unit = 2.0**-24 if radius.dtype == torch.float32 else 2.0**-53
    assert ((radius >= 0) & (radius <= 1 + 1e3 * unit)).all()
    if size_of(case) == 2 and case.array.ndim == 2 and len(t):
        gap = case.array[0, 1] + case.array[1, 0]
        expected = np.exp(-gap * np.asarray(t, float))
        assert np.abs(radius.double().numpy() - expected).max() < 1e3 * unit


@fuzzed
@given(st.integers(1, 5), st.data())
def test_relative_entropy(n, data):
    x, p = data.draw(spoiled_vectors(n)), data.draw(spoiled_vectors(n))
    D = attempt("theory.relative_entropy", lambda: relative_entropy(x.value, p.value), "x", "p")
    if D is None:
        assert not (x.fine and p.fine) or np.broadcast(x.array[..., 0], p.array[..., 0]) is None
        return
    a, b = np.broadcast_arrays(x.array, p.array)
    assert D.shape == a.shape[:-1]
    for u, v, found in zip(a.reshape(-1, n), b.reshape(-1, n), D.reshape(-1).tolist(), strict=True):
        with mpmath.workdps(40):
            pairs = [(mpmath.mpf(float(s)), mpmath.mpf(float(r))) for s, r in zip(u, v, strict=True) if s > 0]
            terms = [s * mpmath.log(s / r) for s, r in pairs]
            # minus the masses' difference, which is rounding: the sum of p f(r) contains it
            exact = mpmath.fsum(terms) - mpmath.fsum(map(float, u)) + mpmath.fsum(map(float, v))
        assert abs(found - float(exact)) <= 1e-12 * abs(float(exact)) + 1e-15


@fuzzed
@given(generator_cases(most=3, reaches=(0.0, 1.0, 3.0, 150.0)), st.data())
def test_entropy_production(case, data):
    n = size_of(case)
    x = data.draw(spoiled_vectors(n))
    sigma = attempt("theory.entropy_production", lambda: entropy_production(case.value, x.value), "A", "x")
    if sigma is None:
        assert not (case.fine and x.fine and not is_single(case.value) and not is_single(x.value))
        return
    assert (sigma >= 0).all()
    A, u = case.array.reshape(-1, n, n), np.broadcast_to(x.array, (*sigma.shape, n)).reshape(-1, n)
    if len(A) and len(u) and not is_single(sigma):
        exact = mpmath.mpf(0)
        with mpmath.workdps(40):
            for i in range(n):
                for j in range(i):
                    there, back = (mpmath.mpf(float(A[0][a, b])) * float(u[0][b]) for a, b in ((i, j), (j, i)))
                    if there > 0 and back > 0:
                        exact += (there - back) * mpmath.log(there / back)
                    elif there > 0 or back > 0:
                        exact = mpmath.inf
        found = sigma.reshape(-1)[0].item()
        assert found == exact or abs(found / exact - 1) < 1e-12 or (not math.isinf(exact) and exact < 1e-290)


@fuzzed
@given(
    generator_cases(most=3, reaches=(0.0, 1.0, 3.0, 20.0)),
    st.sampled_from([None, None, 0.1, -1.0, math.nan, "1", True]),
)
def test_has_detailed_balance(case, rtol):
    found = attempt("theory.has_detailed_balance", lambda: has_detailed_balance(case.value, rtol=rtol), "A", "rtol")
    if found is None:
        return
    n = size_of(case)
    assert found.shape == case.array.shape[:-2] and found.dtype == torch.bool
    for A, balanced in zip(case.array.reshape(-1, n, n), found.reshape(-1).tolist(), strict=True):
        p = exact_stationary(A)
        worst = 0.0
        for i in range(n):
            for j in range(i):
                there, back = (float(A[i, j]) * float(p[j]), float(A[j, i]) * float(p[i]))
                if max(there, back) > 1e-280:
                    worst = max(worst, abs(there - back) / max(there, back))
        if rtol is None and (worst < 1e-15 or worst > 1e-4):
            assert balanced == (worst < 1e-15)


@fuzzed
@given(generator_cases(most=3, reaches=MILD, batches=((), (), (2,))), NUMBERS, NUMBERS, st.data())
def test_occupation(case, t, level, data):
    """The five functions of an occupation over [0, t], each with a vector of any kind."""
    n = size_of(case)
    x = data.draw(spoiled_vectors(n))
    names = ("A", "x0", "t", "occupation", "law", "level")
    calls = {
        "occupation_mean": lambda: occupation_mean(case.value, x.value, t),
        "occupation_covariance": lambda: occupation_covariance(case.value),
        "occupation_interval": lambda: occupation_interval(case.value, x.value, t, level=level),
        "occupation_chi2": lambda: occupation_chi2(case.value, x.value, t),
        "expected_occupation_tv": lambda: expected_occupation_tv(case.value, t),
    }
    mean, C, interval, chi2, tv = (attempt(f"theory.{name}", call, *names) for name, call in calls.items())
    usual = case.fine and all(exact_stationary(A) for A in case.array.reshape(-1, n, n))
    usual = usual and np.abs(case.array).max(initial=0) < 1e2 and not is_single(case.value)
    if C is None:
        assert not (usual and np.abs(case.array)[case.array != 0].min(initial=1) > 1e-2)
        return
    scale = C.abs().amax() if C.numel() else 1.0
    assert ((C - C.mT).abs() <= 1e-12 * scale).all() and (C.sum(-1).abs() <= 1e-2 * scale + 1e-6).all()
    assert (C.diagonal(dim1=-2, dim2=-1) >= -1e-2 * scale - 1e-6).all()
    if mean is not None and x.fine:
        assert ((mean.sum(-1) - 1).abs() < 1e-3).all() and positive(t) is not None
    if interval is not None:
        assert positive(t) is not None and 0 < positive(level) < 1
        if np.isfinite(x.array).all():
            assert (interval[..., 0] <= interval[..., 1]).all()
    if chi2 is not None:
        assert chi2[1] == len(recurrent(case.array)[0]) - 1
        assert not x.fine or (chi2[0] >= 0).all()
    if tv is not None:
        assert (tv >= 0).all() and positive(t) is not None


@fuzzed
@given(generator_cases(most=4, batches=((), (), (2,), (0,))), NUMBERS, INTEGERS, st.data(), st.booleans())
def test_sample_jumps(case, t, seed, data, record):
    n = size_of(case)
    state0 = data.draw(
        st.sampled_from([0, n - 1, n, -1, [0, 0], [], 0.0, None, "0", True, [[0], [0]], torch.tensor(0)])
    )
    run = attempt(
        "theory.sample_jumps",
        lambda: sample_jumps(case.value, state0, t, seed=seed, record=record, max_jumps=200),
        *("A", "state0", "t", "seed", "max_jumps"),
    )
    if run is None:
        return
    assert is_generator(case.array) and positive(t) is not None
    assert ((run.occupation.sum(-1) - 1).abs() < 1e-12).all() and (run.occupation >= 0).all()
    times, states = run.times.reshape(-1, run.times.shape[-1]), run.states.reshape(-1, run.states.shape[-1])
    assert (times.diff(dim=-1) >= 0).all() and (times <= positive(t)).all()
    A = np.broadcast_to(case.array, (*run.jumps.shape, n, n)).reshape(-1, n, n)
    if record:
        for path, matrix, jumps in zip(states.tolist(), A, run.jumps.reshape(-1).tolist(), strict=True):
            hops = list(zip(path[1 : jumps + 1], path[:jumps], strict=True))
            assert all(matrix[i, j] > 0 for i, j in hops) and len(hops) == jumps


@fuzzed
@given(rates(most=4, batches=((2,), (0,), ()), reaches=MILD), INTEGERS, INTEGERS, INTEGERS, st.data())
def test_sample_tokens_and_their_covariance(R, period, chains, seed, data):
    A = from_rates(R)
    top = (-A.diagonal(dim1=-2, dim2=-1)).amax() if A.numel() else torch.tensor(1.0)
    K = torch.eye(A.shape[-1], dtype=A.dtype) + A / (2 * top if top > 0 else 1.0)
    x = K[..., 0] if K.ndim == 3 else K
    spoil = data.draw(st.sampled_from(["none"] * 4 + ["nan", "negative", "float32", "list"]))
    if spoil in ("nan", "negative") and K.numel():
        K[..., 0, 0] = math.nan if spoil == "nan" else -1.0
    K = {"float32": K.float, "list": K.tolist}.get(spoil, lambda: K)()
    small = isinstance(period, (int, np.integer)) and not isinstance(period, bool) and period < 10
    few = isinstance(chains, (int, np.integer)) and not isinstance(chains, bool) and chains < 10
    period, chains = period if small else -1, chains if few else -1  # others are tried in the argument checks
    counts = attempt(
        "theory.sample_tokens",
        lambda: sample_tokens(K, x, period, chains=chains, seed=seed),
        *("K", "x", "period", "chains", "seed"),
    )
    if counts is not None:
        assert (counts.sum(-1) == period * chains).all() and (counts >= 0).all()
    if spoil != "none" or K.ndim < 2 or not K.numel():
        return
    p = torch.full(K.shape[:-1], 1.0 / K.shape[-1], dtype=K.dtype)
    C = attempt(
        "theory.token_frequency_covariance",
        lambda: token_frequency_covariance(K, p, period),
        *("K", "p", "period"),
    )
    if C is not None and torch.allclose((K @ p[..., None])[..., 0], p, rtol=0, atol=1e-15):
        powers = [torch.linalg.matrix_power(K, k) for k in range(period)]
        lagged = [power * p[..., None, :] - p[..., :, None] * p[..., None, :] for power in powers]
        exact = sum(lagged[abs(s - t)] if s >= t else lagged[t - s].mT for s in range(period) for t in range(period))
        assert (C - exact / period**2).abs().max() < 1e-10
