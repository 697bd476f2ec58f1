"""The constants of the methods against the conditions that define them, and the compiled LU against LAPACK."""

import numpy as np
import pytest

from theory.flow.collocation.error import between
from theory.flow.collocation.radau import tableau
from theory.flow.methods import rodas5p

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("s", [3, 5, 7])
def test_radau_integrates_polynomials_exactly(s):
    radau = tableau(s)
    a = np.linalg.inv(radau.a_inverse)
    power = np.arange(1, s + 1)
    np.testing.assert_allclose(
        a @ radau.nodes[:, None] ** (power - 1), radau.nodes[:, None] ** power / power, atol=1e-12
    )
    superconvergent = np.arange(1, 2 * s)  # the end value is of order 2s − 1
    np.testing.assert_allclose(
        [a[-1] @ radau.nodes ** (q - 1) for q in superconvergent], 1 / superconvergent, rtol=0, atol=1e-13
    )
    assert abs(a[-1] @ radau.nodes ** (2 * s - 1) - 1 / (2 * s)) > 1e-9


@pytest.mark.parametrize("s", [3, 5, 7])
def test_eigenvectors_rebuild_the_inverse(s):
    radau = tableau(s)
    rebuilt = radau.real_eigenvalue * np.outer(radau.from_real, radau.to_real)
    for pair, (re, im) in enumerate(radau.eigenvalues):
        left = radau.from_complex[0, pair] + 1j * radau.from_complex[1, pair]
        right = radau.to_complex[0, pair] + 1j * radau.to_complex[1, pair]
        rebuilt = rebuilt + ((re + 1j * im) * np.outer(left, right)).real
    np.testing.assert_allclose(rebuilt, radau.a_inverse, atol=1e-10)


@pytest.mark.parametrize("s", [3, 5, 7])
def test_error_estimate_has_order_s(s):
    radau = tableau(s)
    for q in range(s + 2):  # for u = t^q on [0, 1] the estimate μ₀⁻¹(u'(0) + e·Z) vanishes up to degree s, not beyond
        slope = 1.0 if q == 1 else 0.0
        estimate = slope + (radau.error_weights @ (radau.nodes**q - (q == 0)))
        assert (abs(estimate) < 1e-9) == (q <= s)


def test_radau_refuses_an_even_number_of_nodes():
    with pytest.raises(ValueError, match="odd"):
        tableau(4)


def test_rodas5p_satisfies_the_order_conditions():
    c = np.zeros((8, 8))
    a = np.zeros((8, 8))
    for i in range(8):
        c[i, : len(rodas5p._C[i])] = rodas5p._C[i]
        row = rodas5p._A[min(i, 5)]
        a[i, : len(row)] = row
        a[i, 5:i] = 1.0
    gamma = np.linalg.inv(np.eye(8) / rodas5p._GAMMA - c)
    alpha = a @ gamma
    weights = a[7].copy()
    weights[7] = 1.0
    b = weights @ gamma
    beta = alpha + gamma
    ones = np.ones(8)
    al, be = alpha @ ones, beta @ ones
    conditions = [  # Hairer & Wanner II, table IV.7.1 (α for the nodes of nonlinear trees, β for chains)
        (b @ ones, 1),
        (b @ be, 1 / 2),
        (b @ al**2, 1 / 3),
        (b @ beta @ be, 1 / 6),
        (b @ al**3, 1 / 4),
        (b @ (al * (alpha @ be)), 1 / 8),
        (b @ beta @ al**2, 1 / 12),
        (b @ beta @ beta @ be, 1 / 24),
        (b @ al**4, 1 / 5),
        (b @ beta @ beta @ beta @ be, 1 / 120),
        (b @ (al**2 * (alpha @ be)), 1 / 10),
        (b @ (al * (alpha @ al**2)), 1 / 15),
        (b @ beta @ al**3, 1 / 20),
        (b @ beta @ (al * (alpha @ be)), 1 / 40),
        (b @ beta @ beta @ al**2, 1 / 60),
        (b @ (al * (alpha @ beta @ be)), 1 / 30),
        (b @ (alpha @ be) ** 2, 1 / 20),
    ]
    for value, expected in conditions:
        assert abs(value - expected) < 1e-12
    np.testing.assert_allclose(weights - np.append(a[7, :7], 0.0), np.eye(8)[7])  # the estimate is the last stage


@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_compiled_lu_solves_as_lapack_does(n):
    from theory.flow.collocation import lu as _lu

    rng = np.random.default_rng(n)
    M = rng.random((n, n)) - n * np.eye(n)
    shift = 0.7 + 0.4j
    b = rng.standard_normal(n)
    factors, x = M.T.copy(order="C"), b.copy()
    _lu.factor_real(factors)
    _lu.solve_real(factors, x)
    np.testing.assert_allclose(x, np.linalg.solve(M, b), rtol=1e-12)
    complex_M = shift * np.eye(n) - M
    re, im = complex_M.T.real.copy(order="C"), complex_M.T.imag.copy(order="C")
    x, y = b.copy(), np.ones(n)
    _lu.factor_complex(re, im)
    _lu.solve_complex(re, im, x, y)
    np.testing.assert_allclose(x + 1j * y, np.linalg.solve(complex_M, b + 1j), rtol=1e-12)


@pytest.mark.parametrize("s", [3, 5, 7])
def test_the_last_coefficients_are_those_of_chebyshev(s):
    found = tableau(s)
    coefficients = np.random.default_rng(s).standard_normal(s + 1)
    values = np.polynomial.chebyshev.chebval(2.0 * found.ends - 1.0, coefficients)
    np.testing.assert_allclose(found.last @ values, coefficients[: s - 3 : -1], rtol=0, atol=2e-13)


@pytest.mark.parametrize("s", [5, 7])
@pytest.mark.parametrize("function", [np.exp, np.sin, lambda t: 1 / (1 + t), lambda t: np.cos(5 * t)])
def test_the_error_between_the_nodes_is_seen(s, function):
    """Against the polynomial itself: never called less than 0.4 of it; and more than 30 times at few steps only, those
    about which the function is even or odd, where every other coefficient vanishes."""
    found = tableau(s)
    theta, ratios = np.linspace(0.0, 1.0, 401), []
    for start in (0.0, 0.4, 1.1):
        for h in (0.1, 0.3, 0.6, 1.0):
            values = function(start + h * found.ends)
            fit = np.polynomial.chebyshev.Chebyshev.fit(found.ends, values, s, domain=[0, 1])
            error = np.abs(fit(theta) - function(start + h * theta)).max()
            seen = between(values[:1], values[1:, None], found.last, np.ones(1))
            ratios += [seen / error] if error > 1e-13 else []
    assert min(ratios) > 0.4 and np.median(ratios) < 30 and max(ratios) < 1000
