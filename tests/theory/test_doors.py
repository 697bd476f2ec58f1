"""Doors for what people have, and hints that lead there: each one is followed to the letter and must be right."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
import sympy
import torch

import theory
from theory import GeneratorError

P_ROW = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])  # p = (2, 2, 1)/5 of the chain in discrete time
P_TRUE = np.array([0.4, 0.4, 0.2])
COUNTS = np.array([[0, 6, 2], [3, 1, 0], [1, 1, 4]])
KINDS = {
    "dense": np.asarray,
    "tensor": torch.as_tensor,
    "batch": lambda M: np.stack([np.asarray(M, float)] * 2),
    "sparse": sp.csr_array,
    "sympy": lambda M: sympy.Matrix([[sympy.Rational(str(v)) for v in row] for row in np.asarray(M).tolist()]),
}


def stationary(A):
    p = theory.stationary_distribution(A)
    p = np.array(p.tolist(), float).squeeze() if isinstance(p, sympy.MatrixBase) else np.asarray(p)
    return p[0] if p.ndim == 2 else p


def null_vector(A):
    """p by SVD: independent of the package, and good enough for three states."""
    p = np.linalg.svd(A)[2][-1]
    return p / p.sum()


def calls(message):
    return re.findall(r"theory\.from_\w+\([^()]*\)", message)


def of_rates(R):
    off = R - np.diag(np.diag(R))
    return off - np.diag(off.sum(0))


def by_counts(C):
    return (C / C.sum(1, keepdims=True)).T - np.eye(len(C))


BATCH_OR_NOT = "transposed|A.T|A.mT"
# what is given, and for each call in the message, in its order, the generator that it must make
MEANT = {
    "rows sum to one": (P_ROW, [P_ROW.T - np.eye(3)]),
    "columns sum to one": (P_ROW.T, [P_ROW.T - np.eye(3)]),
    "counts": (COUNTS, [by_counts(COUNTS), by_counts(COUNTS.T), of_rates(COUNTS), of_rates(COUNTS.T)]),
    "rate matrix by rows": (
        np.array([[-1.0, 1, 0], [0, -2, 2], [3, 0, -3]]),
        [np.array([[-1.0, 0, 3], [1, -2, 0], [0, 2, -3]])],
    ),
    "Laplacian by rows": (
        np.array([[1.0, -1, 0], [0, 2, -2], [-3, 0, 3]]),
        [np.array([[-1.0, 0, 3], [1, -2, 0], [0, 2, -3]])],
    ),
    "rates": (
        np.array([[0.5, 1.5, 0.5], [2, 0, 0.25], [1, 1.25, 0]]),
        [
            of_rates(np.array([[0.5, 1.5, 0.5], [2, 0, 0.25], [1, 1.25, 0]])),
            of_rates(np.array([[0.5, 1.5, 0.5], [2, 0, 0.25], [1, 1.25, 0]]).T),
        ],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", MEANT)
def test_each_hint_followed_to_the_letter_is_right(given, kind):
    values, generators = MEANT[given]
    A = KINDS[kind](values)
    with pytest.raises(GeneratorError) as caught:
        theory.stationary_distribution(A)
    found = calls(str(caught.value))
    assert len(found) == len(generators), str(caught.value)
    for call, generator in zip(found, generators, strict=True):
        if kind == "sympy" and "from_counts" in call:
            continue  # exact counts have no door: refused with the numerical one
        followed = stationary(eval(call, {"theory": theory, "A": A}))
        np.testing.assert_allclose(followed, null_vector(generator), rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "tensor", "sparse", "sympy"])
def test_from_row_convention_recognises_a_transition_matrix(kind):
    """The row-stochastic P that was sent to from_rates, which answered (.4286, .1429, .4286)."""
    P = np.array([[0.5, 0.5, 0.0], [1 / 4, 0.5, 0.25], [0.25, 0.75, 0.0]])
    Q = KINDS[kind](P)
    with pytest.raises(GeneratorError, match="its rows sum to one") as caught:
        theory.from_row_convention(Q)
    (call,) = calls(str(caught.value))
    followed = stationary(eval(call, {"theory": theory, "Q": Q}))
    np.testing.assert_allclose(followed, null_vector(P.T - np.eye(3)), rtol=1e-12)


def test_a_positive_laplacian_by_columns_and_one_in_the_right_convention_already():
    L = np.array([[1.0, 0, -3], [-1, 2, 0], [0, -2, 3]])
    for door, name in ((theory.check_generator, "A"), (theory.from_row_convention, "Q")):
        with pytest.raises(GeneratorError, match=rf"the generator is -{name}"):
            door(L)
    theory.check_generator(-L)
    with pytest.raises(GeneratorError, match="in the column convention already: use it as A"):
        theory.from_row_convention(-L)


def test_a_doubly_stochastic_matrix_is_told_both_conventions():
    P = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    with pytest.raises(GeneratorError, match="doubly stochastic") as caught:
        theory.check_generator(P)
    for call in calls(str(caught.value)):
        np.testing.assert_allclose(stationary(eval(call, {"theory": theory, "A": P})), 1 / 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convention", ["row", "column"])
def test_transition_matrices_of_every_kind(kind, convention):
    A = theory.from_transition_matrix(KINDS[kind](P_ROW if convention == "row" else P_ROW.T), convention)
    np.testing.assert_allclose(stationary(A), P_TRUE, rtol=1e-14)
    theory.check_generator(A)


def test_tiny_probabilities_are_kept_and_rates_are_differentiable():
    P = torch.tensor([[1.0, 1e-37], [3e-37, 1.0]], dtype=torch.float64)
    for given in (P, sp.csr_array(P.numpy())):
        np.testing.assert_allclose(
            np.asarray(stationary(theory.from_transition_matrix(given))), [0.75, 0.25], rtol=1e-14
        )
    P = torch.tensor(P_ROW, requires_grad=True)
    theory.from_transition_matrix(P).square().sum().backward()
    assert P.grad is not None and bool((P.grad.diagonal() == 0).all())  # the diagonal is not read


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
def test_what_is_no_transition_matrix(of):
    rounded = np.array([[0.333, 0.333, 0.333], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(
        GeneratorError, match=r"row 0 of P sums to 0.999, not to one.*P / P.sum\(axis=1, keepdims=True\)"
    ):
        theory.from_transition_matrix(of(rounded))
    P = rounded
    theory.from_transition_matrix(eval("P / P.sum(axis=1, keepdims=True)", {"P": P}))
    with pytest.raises(GeneratorError, match='pass convention="column"'):
        theory.from_transition_matrix(of(P_ROW.T), "row")
    slip = P_ROW.copy()
    slip[2] = [1.0, -1e-17, 0.0]
    with pytest.raises(GeneratorError, match=r"entry -1e-17 at \[2, 1\].*set it to 0"):
        theory.from_transition_matrix(of(slip))
    with pytest.raises(ValueError, match="convention must be"):
        theory.from_transition_matrix(of(P_ROW), "rows")
    with pytest.raises(GeneratorError, match=r"entry nan at \[0, 0\]|non-finite entry nan at \[0, 0\]"):
        theory.from_transition_matrix(of(P_ROW * [[np.nan], [1], [1]]))


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor, sp.csc_array, sp.coo_array])
@pytest.mark.parametrize("convention", ["row", "column"])
def test_counts(of, convention):
    A = theory.from_counts(of(COUNTS if convention == "row" else COUNTS.T), convention)
    np.testing.assert_allclose(stationary(A), null_vector(by_counts(COUNTS)), rtol=1e-13)


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
def test_never_visited_states_are_named_or_dropped(of):
    C = np.zeros((5, 5))
    C[np.ix_([0, 2, 4], [0, 2, 4])] = COUNTS
    with pytest.raises(GeneratorError, match=r"states \[1, 3\] of C were never visited.*drop_unvisited=True"):
        theory.from_counts(of(C))
    A, kept = theory.from_counts(of(C), drop_unvisited=True)
    assert kept.tolist() == [0, 2, 4]
    np.testing.assert_allclose(stationary(A), null_vector(by_counts(COUNTS)), rtol=1e-13)
    A, kept = theory.from_counts(of(COUNTS), drop_unvisited=True)
    assert kept.tolist() == [0, 1, 2]
    C[0, 1] = 1.0
    for drop in (False, True):
        with pytest.raises(GeneratorError, match=r"states \[1\] of C are entered and no count leaves"):
            theory.from_counts(of(C), drop_unvisited=drop)
    C[1, 1] = 1.0  # it absorbs, said by a stay
    A, kept = theory.from_counts(of(C), drop_unvisited=True)
    assert kept.tolist() == [0, 1, 2, 4] and theory.recurrent_classes(A) == [[1]]


def test_counts_may_be_weights_of_any_size_and_batches():
    C = COUNTS * np.array([[1e-310], [1e300], [1.0]])  # a row's scale is its own
    for of in (np.asarray, sp.csr_array):
        np.testing.assert_allclose(stationary(theory.from_counts(of(C))), null_vector(by_counts(COUNTS)), rtol=1e-9)
    both = theory.from_counts(np.stack([COUNTS, COUNTS.T]), "row")
    np.testing.assert_allclose(theory.stationary_distribution(both[1]), null_vector(by_counts(COUNTS.T)), rtol=1e-12)
    with pytest.raises(ValueError, match="call it for each"):
        theory.from_counts(np.stack([COUNTS, COUNTS]), drop_unvisited=True)
    with pytest.raises(GeneratorError, match=r"states \[0\] \(batch element \[1\]\) of C were never"):
        theory.from_counts(np.stack([COUNTS, COUNTS * np.array([[0, 1, 1]]) * np.array([[0], [1], [1]])]))


class Frame:
    """What a labelled table offers of itself."""

    def __init__(self, values, index, columns):
        self.values, self.index, self.columns = np.asarray(values), np.asarray(index), np.asarray(columns)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_labelled_tables():
    C = np.zeros((4, 4))
    C[np.ix_([0, 1, 3], [0, 1, 3])] = COUNTS
    _, kept = theory.from_counts(Frame(C, list("abcd"), list("abcd")), drop_unvisited=True)
    assert kept.tolist() == ["a", "b", "d"]
    with pytest.raises(GeneratorError, match=r"states \[.*c.*\] of C were never visited"):
        theory.from_counts(Frame(C, list("abcd"), list("abcd")))
    with pytest.raises(GeneratorError, match="rows and the columns of P are labelled differently"):
        theory.from_transition_matrix(Frame(P_ROW, list("abc"), list("cab")))


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_rates_that_are_none_are_named(of, value):
    R = np.array([[0.0, 1, 2], [1, 0, value], [1, 1, 0]])
    with pytest.raises(GeneratorError, match=r"rates.*\[1, 2\]"):
        theory.from_rates(of(R))
    with pytest.raises(GeneratorError, match=r"rates.*\[1, 2\] \(batch element \[1\]\)"):
        theory.from_rates(np.stack([np.abs(np.nan_to_num(R, posinf=1.0)), R]))


def test_constant_matrices_times_rates():
    """from_rates(lam * birth + death), as the README writes a queue."""
    n, lam = 6, 0.5
    birth, death = np.eye(n, k=-1), np.eye(n, k=1)
    p = 0.5 ** np.arange(n)
    for B, D in (
        (birth, death),
        (sp.csr_array(birth), sp.csr_array(death)),
        (torch.tensor(birth), torch.tensor(death)),
    ):
        np.testing.assert_allclose(stationary(theory.from_rates(lam * B + D)), p / p.sum(), rtol=1e-14)
    half = sympy.Rational(1, 2)
    exact = theory.from_rates(half * sympy.Matrix(birth.astype(int)) + sympy.Matrix(death.astype(int)))
    np.testing.assert_allclose(stationary(exact), p / p.sum(), rtol=1e-15)


def test_what_numpy_would_misread_is_refused_by_name():
    A = theory.from_rates(np.ones((3, 3))).numpy()
    with pytest.raises(GeneratorError, match=r"masked entry at \[0, 2\].*filled\(0\)"):
        theory.check_generator(np.ma.masked_array(A, A * 0 + np.eye(3)[::-1] == 1))
    theory.check_generator(np.ma.masked_array(A))
    with pytest.raises(GeneratorError, match=r"SymPy matrix.*numpy.array"):
        theory.group_inverse(sympy.Matrix([[-1, 1], [1, -1]]))
    with pytest.raises(GeneratorError, match=r"12.8 GB.*theory.lump"):
        theory.group_inverse(sp.csr_array((40_000, 40_000)))
