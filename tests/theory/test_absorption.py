"""Hitting probabilities, first passage to sets, several classes and lumping against exact algebra and closed forms."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from theory import GeneratorError, NotUniqueError

KINDS = {"dense": np.asarray, "sparse": sp.csr_array}


def whole_rates(seed, n, share=0.4, high=9):
    """Small whole rates, exact in every number system; some states may be absorbing."""
    rng = np.random.default_rng(seed)
    R = rng.integers(1, high, (n, n)) * (rng.random((n, n)) < share)
    np.fill_diagonal(R, 0)
    return R.astype(float)


def exact(R):
    M = sympy.Matrix(R.astype(int).tolist())
    return M - sympy.diag(*[sum(M[:, j]) for j in range(M.cols)])


def exact_reward(A, free, rate):
    """m with Σ_i A_ij (m_i − m_j) = −c_j on the free states, by rational LU: an independent way."""
    B = -A.extract(free, free)
    return B.T.LUsolve(sympy.Matrix(rate)) if free else []


def reaches(R, targets):
    seen = set(targets)
    while True:
        more = {int(j) for i in seen for j in np.flatnonzero(R[i]) if j not in seen}
        if not more:
            return seen
        seen |= more


@pytest.mark.numerical
@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
def test_against_rational_arithmetic(seed, n):
    R = whole_rates(seed, n)
    A, X = theory.from_rates(R), exact(R)
    sets = [[0], [1, 2]]
    taken = {0, 1, 2}
    cut = R.copy()
    cut[:, sorted(taken)] = 0.0  # ways end at a target
    free = sorted(reaches(cut, taken) - taken)
    h = np.zeros((2, n))
    m = np.full(n, np.inf)
    m[sorted(taken)] = 0.0
    for k, members in enumerate(sets):
        h[k, members] = 1.0
        found = exact_reward(X, free, [sum(int(R[i, j]) for i in members) for j in free])
        for j, value in zip(free, found, strict=True):
            h[k, j] = float(value)
    stray = set(range(n)) - set(free) - taken
    safe = [j for j in free if j not in (reaches(cut, stray) if stray else set())]
    for j, value in zip(safe, exact_reward(X, safe, [1] * len(safe)), strict=True):
        m[j] = float(value)
    for of in KINDS.values():
        given_A = of(A.numpy())
        np.testing.assert_allclose(theory.hitting_probabilities(given_A, sets), h, rtol=1e-13, atol=0)
        np.testing.assert_allclose(theory.mean_first_passage_times(given_A, sorted(taken)), m, rtol=1e-13)


@pytest.mark.numerical
@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_classes_and_absorption_against_rational_arithmetic(seed, n):
    R = whole_rates(seed, n, share=0.2)
    A, X = theory.from_rates(R), exact(R)
    for of in KINDS.values():
        found = theory.stationary_distributions(of(A.numpy()))
        assert found.classes == theory.recurrent_classes(A)
        inside = sorted({state for members in found.classes for state in members})
        free = sorted(set(range(n)) - set(inside))
        for c, members in enumerate(found.classes):
            p = np.zeros(n)
            block = X.extract(members, members)
            p[members] = [float(v) for v in theory.stationary_distribution(block)]
            np.testing.assert_allclose(found.distributions[c], p, rtol=1e-13)
            absorbed = np.isin(np.arange(n), members).astype(float)
            into = exact_reward(X, free, [sum(int(R[i, j]) for i in members) for j in free])
            for j, value in zip(free, into, strict=True):
                absorbed[j] = float(value)
            np.testing.assert_allclose(found.absorption[c], absorbed, rtol=1e-13, atol=0)


@pytest.mark.numerical
@pytest.mark.parametrize("n, ratio", [(200, 0.5), (100_000, 1 - 3e-3)])
def test_ruin_down_to_1e_130(n, ratio):
    """The gambler's ruin: from state j the far end is hit first with (r^-j − 1)/(r^-n − 1), r the odds down over up."""
    up, down = np.full(n, ratio), np.ones(n)  # n + 1 states
    A = theory.from_rates(sp.diags_array([up, down], offsets=[-1, 1]))
    j = np.arange(n + 1.0)
    log_r = -np.log(ratio)
    closed = np.exp((j - n) * log_r) * np.expm1(-j * log_r) / np.expm1(-n * log_r)
    h = theory.hitting_probabilities(A, [[0], [n]]).numpy()
    seen = closed >= 1e-300
    assert closed[seen & (j > 0)].min() < 1e-60
    np.testing.assert_allclose(h[1][seen], closed[seen], rtol=n * 2e-15)
    np.testing.assert_allclose(h.sum(0), 1.0, rtol=1e-12)
    if n <= 200:
        np.testing.assert_allclose(theory.hitting_probabilities(A.toarray(), [0, n]), h, rtol=1e-13)


def test_first_passage_to_a_set_is_that_to_a_state_when_the_set_has_one():
    A = theory.from_rates(torch.rand(2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    full = theory.mean_first_passage_times(A)
    for i in range(6):
        torch.testing.assert_close(theory.mean_first_passage_times(A, i), full[:, i], rtol=1e-13, atol=0)
    single = theory.mean_first_passage_times(A.float(), [0, 3])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), theory.mean_first_passage_times(A, [0, 3]), rtol=1e-5, atol=0)


def test_derivatives_of_dense_results():
    R = torch.rand(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    of = lambda f: lambda R: f(theory.from_rates(R))  # noqa: E731
    assert torch.autograd.gradcheck(of(lambda A: theory.hitting_probabilities(A, [0, [1, 2]])), (R,))
    assert torch.autograd.gradcheck(of(lambda A: theory.mean_first_passage_times(A, [0, 4])), (R,))
    assert torch.autograd.gradcheck(of(lambda A: theory.lump(A, [[0, 1], [2, 3, 4]])), (R,))
    assert torch.autograd.gradcheck(of(lambda A: theory.relaxation_times(A, 3)), (R,), rtol=1e-4)


@pytest.mark.parametrize(
    "targets, message",
    [
        ([], "at least one"),
        ([[0], []], "at least one"),
        ([0, 5], "holds 5"),
        ([[0, 1], [1]], "state 1 twice"),
        ("ab", "sequence"),
        (3, r"pass \[3\]"),
        ([0.5], "sequence|integers"),
    ],
)
def test_targets_that_are_none(targets, message):
    A = theory.from_rates(np.ones((4, 4)))
    for of in KINDS.values():
        with pytest.raises(ValueError, match=message):
            theory.hitting_probabilities(of(A.numpy()), targets)


@pytest.mark.numerical
@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_lumping_of_lumpable_chains_is_exact(seed, k):
    rng = np.random.default_rng(seed)
    blocks = [list(map(int, b)) for b in np.split(rng.permutation(3 * k), k)]
    small = whole_rates(seed, k, share=1.0)
    R = rng.integers(1, 9, (3 * k, 3 * k)).astype(float)  # within blocks anything goes
    for target, members in enumerate(blocks):
        for source, others in enumerate(blocks):
            if target != source:
                for j in others:
                    weights = rng.integers(1, 5, 3)
                    R[members, j] = small[target, source] * weights / weights.sum()
    A = theory.from_rates(R)
    reference = theory.from_rates(small)
    labels = np.empty(3 * k, int)
    for b, members in enumerate(blocks):
        labels[members] = b
    for of in KINDS.values():
        for partition in (blocks, labels, labels.tolist()):
            assert theory.is_lumpable(of(A.numpy()), partition)
            lumped = theory.lump(of(A.numpy()), partition)
            lumped = lumped.toarray() if sp.issparse(lumped) else lumped.numpy()
            np.testing.assert_allclose(lumped, reference, rtol=1e-13)
    R[blocks[0][0], blocks[1][0]] *= 1.01
    assert not theory.is_lumpable(theory.from_rates(R), blocks)


def test_lumping_keeps_stationary_probabilities_and_says_where_it_cannot():
    A = theory.from_rates(np.random.default_rng(3).random((6, 6)))
    p, blocks = theory.stationary_distribution(A), [[0, 3], [1], [2, 4, 5]]
    for of in KINDS.values():
        q = theory.stationary_distribution(theory.lump(of(A.numpy()), blocks))
        np.testing.assert_allclose(q, [float(p[members].sum()) for members in blocks], rtol=1e-13)
    transient = theory.from_rates(np.array([[0.0, 1, 1, 4], [0, 0, 0, 2], [1, 3, 0, 0], [0, 0, 0, 0]]))
    with pytest.raises(GeneratorError, match="no stationary probability"):
        theory.lump(transient, [[0], [1, 3], [2]])
    with pytest.raises(ValueError, match="leaves out 1 states"):
        theory.lump(A, [[0, 1, 2], [3, 4]])
    apart = np.kron(np.eye(2), [[0.0, 1], [1, 0]])
    with pytest.raises(NotUniqueError, match="stationary_distributions"):
        theory.lump(theory.from_rates(apart), [[0, 2], [1], [3]])
    np.testing.assert_allclose(theory.lump(theory.from_rates(apart), [[0, 2], [1, 3]]), [[-1, 1], [1, -1]])


def test_a_batch_of_classes_is_refused_with_the_way_out():
    with pytest.raises(GeneratorError, match="call it once for each"):
        theory.stationary_distributions(torch.zeros(2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.as_tensor, sp.csr_array, lambda A: np.stack([-np.eye(4) + 0.25, A])]
)
def test_where_p_is_not_unique_the_function_that_answers_is_named_and_answers(kind):
    """State 2 ends in {0, 1} or in {3}, with 1 : 3."""
    rates = np.zeros((4, 4))
    rates[0, 1] = rates[1, 0] = rates[0, 2] = 1.0
    rates[3, 2] = 3.0
    A = kind(theory.from_rates(rates))
    asked = [theory.stationary_distribution, theory.kemeny_constant, theory.spectral_gap]
    asked += [lambda A: theory.relaxation_times(A, 1)] if sp.issparse(A) else [theory.group_inverse]
    for function in asked:
        with pytest.raises(theory.NotUniqueError) as caught:
            function(A)
        (call,) = re.findall(r"theory\.stationary_distributions\(A(?:\[\d+\])?\)", str(caught.value))
        found = eval(call, {"theory": theory, "A": A})
        np.testing.assert_allclose(found.distributions, [[0.5, 0.5, 0, 0], [0, 0, 0, 1]], rtol=1e-15)
        np.testing.assert_allclose(found.absorption, [[1, 1, 0.25, 0], [0, 0, 0.75, 1]], rtol=1e-15)
