"""Exact algebra: the identities of the theory hold as identities in the rates, and bad input is refused."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from sympy.polys.matrices import DomainMatrix

from theory import GeneratorError, NotUniqueError, get_system, group_inverse, stationary_distribution
from theory import first_order as first_order_numerical
from theory.symbolic import (
    _resolvent,
    block_mean_limit_symbolic,
    block_mean_symbolic,
    check_generator_symbolic,
    first_order_symbolic,
    group_inverse_symbolic,
    mode_limit,
    mode_mean,
    pooling_constant_symbolic,
    stationary_distribution_symbolic,
)

pytestmark = pytest.mark.numerical

sizes = pytest.mark.parametrize("n", [2, 3, 4])


def closed(A):
    """The matrix with its diagonal set so that columns sum to zero."""
    A = sympy.Matrix(A)
    for j in range(A.cols):
        A[j, j] = 0
        A[j, j] = -sum(A[:, j])
    return A


def generic(n):
    return closed(sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"k_{i}{j}", positive=True)))


def rational(n, seed):
    rng = np.random.default_rng(seed)
    return closed(sympy.Matrix(n, n, lambda i, j: sympy.Rational(*map(int, rng.integers(1, 30, 2)))))


def spanning_trees(A, root):
    """The sum over spanning trees directed into `root` of the products of their rates, by enumeration."""
    n, total = A.rows, sympy.Integer(0)
    others = [k for k in range(n) if k != root]
    for targets in itertools.product(range(n), repeat=n - 1):
        step = dict(zip(others, targets, strict=True))
        if any(source == target for source, target in step.items()):
            continue
        reached = 0
        for state in others:
            for _ in range(n):
                state = step.get(state, state)
            reached += state == root
        if reached == n - 1:
            total += sympy.prod(A[target, source] for source, target in step.items())
    return total


def zero(M):
    return all(sympy.cancel(entry) == 0 for entry in M)


@sizes
def test_stationary_distribution_is_the_sum_over_spanning_trees(n):
    A = generic(n)
    p = stationary_distribution_symbolic(A)
    assert p.shape == (n, 1) and type(p) is type(A)
    trees = sympy.Matrix([spanning_trees(A, root) for root in range(n)])
    assert len(trees[0].expand().args) == n ** (n - 2) or n == 2
    assert zero(p * sum(trees) - trees)
    assert (A * trees).expand().is_zero_matrix
    assert sympy.cancel(sum(p)) == 1


@sizes
def test_resolvent_gives_the_group_inverse_as_a_polynomial_identity(n):
    # With A^# = (N₀ d₂ − N₁ d₁)/d₁² and p1ᵀ = N₀/d₁, all three equations become identities between polynomials.
    A = generic(n)
    N0, N1, d1, d2, scale = _resolvent(A)
    assert scale == 1
    M = DomainMatrix.from_Matrix(A).convert_to(N0.domain).to_dense()
    N, one = N0 * d2 - N1 * d1, DomainMatrix.eye(n, N0.domain).to_dense()
    projector = one * d1 - N0
    assert projector * d1 == M * N
    assert projector * d1 == N * M
    assert (N * N0).is_zero_matrix
    assert all(N0[:, 0] == N0[:, j] for j in range(n))


@pytest.mark.parametrize("n", [2, 3])
def test_group_inverse_symbolically(n):
    A = generic(n)
    A_sharp = group_inverse_symbolic(A)
    if n == 2:
        assert zero(A_sharp - A / (A[1, 0] + A[0, 1]) ** 2)
    # The polynomial identity above proves the formula; here the function returns it: equal at rational rates.
    rates = dict(zip(sorted(A.free_symbols, key=str), rational(4, n)[:], strict=False))
    rates = {symbol: abs(value) for symbol, value in rates.items()}
    assert A_sharp.subs(rates) == group_inverse_symbolic(A.subs(rates))


@given(n=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_rational_rates_stay_rational_and_agree_with_floating_point(n, seed):
    A = rational(n, seed)
    p, A_sharp = stationary_distribution_symbolic(A), group_inverse_symbolic(A)
    assert all(entry.is_Rational for entry in [*p, *A_sharp])
    assert (A * p).is_zero_matrix and sum(p) == 1
    assert A * A_sharp == sympy.eye(n) - p * sympy.ones(1, n)
    assert (A_sharp * p).is_zero_matrix
    floating = torch.tensor(np.array(A, dtype=float))
    exact = torch.tensor(np.array(p, dtype=float)[:, 0])
    torch.testing.assert_close(stationary_distribution(floating), exact, rtol=1e-13, atol=0)
    inverse = torch.tensor(np.array(A_sharp, dtype=float))
    torch.testing.assert_close(group_inverse(floating), inverse, rtol=1e-9, atol=1e-11 * float(inverse.abs().max() + 1))


def test_rates_1e150_apart_are_exact():
    big = sympy.Integer(10) ** 150
    p = stationary_distribution_symbolic(closed([[0, big, 1], [1 / big, 0, big], [1, 1 / big, 0]]))
    assert sum(p) == 1 and all(entry.is_Rational and entry > 0 for entry in p)


def test_transient_states_get_exact_zeros():
    a, b, c = sympy.symbols("a b c", positive=True)
    p = stationary_distribution_symbolic(closed([[0, a, c], [b, 0, 0], [0, 0, 0]]))
    assert p == sympy.Matrix([a / (a + b), b / (a + b), 0])


def test_results_are_in_lowest_terms_and_of_the_kind_given():
    k = sympy.Symbol("k", positive=True)
    p = stationary_distribution_symbolic(sympy.ImmutableMatrix([[-k, 2 * k], [k, -2 * k]]))
    assert p == sympy.ImmutableMatrix([sympy.Rational(2, 3), sympy.Rational(1, 3)])
    assert isinstance(p, sympy.ImmutableMatrix)
    y = sympy.Symbol("y", real=True)
    up, down = sympy.exp(y), sympy.sqrt(2) / (1 + y**2)
    p = stationary_distribution_symbolic(closed([[0, down], [up, 0]]))
    assert sympy.simplify(p[0] - down / (up + down)) == 0
    assert stationary_distribution_symbolic(sympy.Matrix([[0]])) == sympy.Matrix([[1]])


a, b = sympy.symbols("a b", positive=True)


@pytest.mark.parametrize(
    "A, message",
    [
        (np.zeros((2, 2)), "sympy Matrix"),
        (sympy.zeros(2, 3), r"\(2, 3\)"),
        (sympy.zeros(0, 0), r"\(0, 0\)"),
        (sympy.Matrix([[-a, sympy.oo], [a, -sympy.oo]]), r"\[0, 1\]"),
        (sympy.Matrix([[sympy.nan, b], [a, -b]]), r"\[0, 0\]"),
        (sympy.Matrix([[a, b], [-a, -b]]), r"negative rate -a at \[1, 0\]"),
        (sympy.Matrix([[-1, 2], [sympy.Rational(1, 2), -2]]), "column 0 of A sums to -1/2"),
        (sympy.Matrix([[-a, a], [b, -b]]), "looks transposed"),
        (sympy.Matrix([[-0.5, b], [0.5, -b]]), "floating-point"),
        (sympy.Matrix([[-sympy.I, b], [sympy.I, -b]]), "complex"),
    ],
)
def test_bad_generators_are_refused(A, message):
    with pytest.raises(GeneratorError, match=message):
        check_generator_symbolic(A)
    with pytest.raises(GeneratorError, match=message):
        stationary_distribution_symbolic(A)


def test_two_recurrent_classes_are_listed():
    with pytest.raises(NotUniqueError) as caught:
        stationary_distribution_symbolic(closed([[0, a, 0, 0], [b, 0, 0, 0], [0, 0, 0, a], [0, 0, b, 0]]))
    assert caught.value.classes == [[0, 1], [2, 3]]
    with pytest.raises(NotUniqueError):
        stationary_distribution_symbolic(sympy.zeros(2))


# The first forward-mode derivative of some operations makes torch compile its own decompositions with torch.jit.script.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_first_order_of_the_two_state_system_by_hand_and_numerically():
    y = sympy.Symbol("y", real=True)
    x = sympy.symbols("x_0 x_1", real=True)
    A = sympy.Matrix([[-(1 + y), 2 - y], [1 + y, -(2 - y)]])
    phi1 = first_order_symbolic(A, [x[1] - y], x, [y])
    # A^# = A/9 here, Dp = (−1, 1)/3 and g(p, y) = (1 − 2y)/3.
    assert zero(phi1 - sympy.Matrix([1, -1]) * (1 - 2 * y) / 27)
    value = first_order_numerical(get_system("two_state"), torch.tensor([0.2], dtype=torch.float64))
    expected = np.array(phi1.subs(y, sympy.Rational(1, 5)), dtype=float)[:, 0]
    np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-13)


def test_a_scalar_mode_is_summed_and_its_limit_taken():
    kappa = sympy.Symbol("kappa", positive=True)
    for P in (1, 2, 5):
        direct = sum(kappa**t for t in range(1, P + 1)) / P
        assert sympy.cancel(mode_mean(kappa, sympy.Integer(P)) - direct) == 0
        general = mode_mean(kappa, sympy.Symbol("P", positive=True)).subs(sympy.Symbol("P", positive=True), P)
        assert sympy.cancel(sympy.expand_power_exp(general) - direct) == 0
    assert sympy.cancel(mode_limit(kappa) - kappa / (1 - kappa)) == 0


def start_vector(n):
    x = sympy.symbols(f"x_1:{n}", real=True)
    return sympy.Matrix([1 - sum(x), *x])


@pytest.mark.parametrize("n, P", [(2, 1), (2, 2), (2, 3)])
def test_block_mean_is_the_mean_of_the_states_for_all_rates(n, P):
    h = sympy.Symbol("h", positive=True)
    K = sympy.eye(n) + h * generic(n)
    x = start_vector(n)
    state, total = x, sympy.zeros(n, 1)
    for _ in range(P):
        state = K * state
        total += state
    assert zero(block_mean_symbolic(K, x, P) - total / P)


@sizes
def test_block_mean_for_every_period_by_induction_in_the_rates(n):
    # S_P = (K − K^{P+1})(I − K)^# d telescopes: S_P − S_{P−1} = K^P (I − K)(I − K)^# d, so S_P = Σ K^t d for every P
    # exactly when (K − K²)(I − K)^# = K (I − p1ᵀ). With the step absorbed into the rates, as polynomials:
    A = generic(n)
    N0, N1, d1, d2, _ = _resolvent(A)
    M = DomainMatrix.from_Matrix(A).convert_to(N0.domain).to_dense()
    one = DomainMatrix.eye(n, N0.domain).to_dense()
    K, N = one + M, N0 * d2 - N1 * d1
    assert K * (one * d1 - N0) * d1 == (K * K - K) * N


@pytest.mark.parametrize("n", [2, 3, 4])
def test_symbolic_period_evaluates_to_the_mean_and_its_limit_is_the_derived_one(n):
    A = rational(n, n)
    K = sympy.eye(n) + A / (2 * max(-A[k, k] for k in range(n)))
    x = sympy.Matrix([1] + [0] * (n - 1))
    P = sympy.Symbol("P", integer=True, positive=True)
    closed_form = block_mean_symbolic(K, x, P)
    p, limit = stationary_distribution_symbolic(K - sympy.eye(n)), block_mean_limit_symbolic(K, x)
    for period in (1, 4, 64):
        mean = sum((K**t * x for t in range(1, period + 1)), sympy.zeros(n, 1)) / period
        assert sympy.Matrix(closed_form.subs(P, period).doit()) == mean
        # What the limit leaves out is exactly −K^P times itself: exponentially small in P.
        assert period * (mean - p) - limit == -(K**period) * limit


def test_the_limit_in_the_period_by_sympy_itself_on_two_states():
    h, P, r = sympy.symbols("h P r", positive=True)
    A = closed([[0, b], [a, 0]])
    x = start_vector(2)
    # κ = 1 − h(a + b) = e^{−r}: SymPy can then take the limit of the explicit sum over modes.
    K = (sympy.eye(2) + h * A).subs(h, (1 - sympy.exp(-r)) / (a + b))
    p = stationary_distribution_symbolic(A)
    explicit = mode_mean(sympy.exp(-r), P) * (x - p) * P
    limit = explicit.applyfunc(lambda entry: sympy.limit(entry, P, sympy.oo))
    difference = (block_mean_limit_symbolic(K, x) - limit).applyfunc(lambda e: sympy.simplify(e.rewrite(sympy.exp)))
    assert difference.is_zero_matrix


def clock_example(n):
    y = sympy.symbols("y_1 y_2", real=True)
    x = sympy.symbols(f"x_0:{n}", real=True)
    rates = sympy.Matrix(n, n, lambda i, j: (i + 1) + (j + 2) * y[0] * int(i != n - 1) + y[1] ** 2 * int(i == 0))
    if n > 2:  # a ring, affine in y_1: dense quadratic rates are minutes of algebra
        ring = sympy.Matrix(n, n, lambda i, j: int(j in {(i - 1) % n, i + 1}))
        rates = rates.multiply_elementwise(ring).subs(y[1], 0)
    return closed(rates), [x[0] - y[0], y[0] + x[n - 1] * y[1]], x, y


@sizes
def test_the_pooling_constant_tends_to_phi_1(n):
    A, g, x, y = clock_example(n)
    phi1 = first_order_symbolic(A, g, x, y)
    assert zero(pooling_constant_symbolic(A, g, x, y, 0) - phi1)


def test_the_pooling_constant_of_undefined_rates_tends_to_phi_1():
    y = sympy.Symbol("y", real=True)
    x = sympy.symbols("x_0 x_1", real=True)
    up, down = sympy.Function("a")(y), sympy.Function("b")(y)
    A = closed([[0, down], [up, 0]])
    g = [sympy.Function("g")(x[1], y)]
    difference = pooling_constant_symbolic(A, g, x, [y], 0) - first_order_symbolic(A, g, x, [y])
    assert all(sympy.simplify(entry.doit()) == 0 for entry in difference)


def test_the_pooling_constant_at_finite_step_and_its_limit():
    y = sympy.Symbol("y", real=True)
    h = sympy.Symbol("h", positive=True)
    x = sympy.symbols("x_0 x_1", real=True)
    A = sympy.Matrix([[-(1 + y), 2 - y], [1 + y, -(2 - y)]])
    g = [x[1] - y]
    constant = pooling_constant_symbolic(A, g, x, [y], h)
    # By hand: p moves by (1, −1) h (1 − 2y)/9, A^# = A/9 and A (1, −1) = −3 (1, −1).
    assert zero(constant - sympy.Matrix([1, -1]) * (1 - 2 * y) / 9 * (sympy.Rational(1, 3) - h))
    phi1 = first_order_symbolic(A, g, x, [y])
    assert zero(constant.applyfunc(lambda entry: sympy.limit(entry, h, 0)) - phi1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda K: block_mean_symbolic(K, [1, 0], 0), "P must be"),
        (lambda K: block_mean_symbolic(K, [1, 0], sympy.Rational(3, 2)), "P must be"),
        (lambda K: block_mean_symbolic(K, [1, 1], 2), "sum to 1"),
        (lambda K: block_mean_symbolic(K, [1, 0, 0], 2), r"\[2, 1\]"),
        (lambda K: block_mean_symbolic(2 * K, [1, 0], 2), "negative rate|sums to"),
        (lambda K: block_mean_symbolic([1], [1], 2), "K must be"),
        (lambda K: first_order_symbolic(K - sympy.eye(2), [0], [a], [b]), "one symbol per state"),
        (lambda K: pooling_constant_symbolic(K - sympy.eye(2), [0, 0], [a, a], [b], 0), "slow variable"),
    ],
)
def test_bad_clock_input_is_refused(call, message):
    half = sympy.Rational(1, 2)
    with pytest.raises(ValueError, match=message):
        call(sympy.Matrix([[half, half], [half, half]]))


def test_importing_theory_leaves_sympy_out():
    code = "import sys, torch; before = 'sympy' in sys.modules; import theory; print('sympy' in sys.modules, before)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[0] == out[1]


def test_no_floating_point_enters():
    p = stationary_distribution_symbolic(rational(5, 0))
    assert not any(entry.has(sympy.Float) for entry in p) and math.isclose(float(sum(p)), 1.0)
