"""The theory in exact algebra (SymPy): p_st and A^# by cofactors, φ₁, and the token clock with its limit P → ∞.

Conventions are those of the numerical modules: A_ij is the rate j -> i, columns sum to zero. Numbers must be exact
(integers, rationals, algebraic numbers); a rate that is not identically zero is taken as positive, whatever SymPy
knows of its symbols. SymPy is imported with this module and `theory.generators.exact`, and by nothing else.

*p_st and A^#.* One recursion (Faddeev and LeVerrier; Gantmacher, *The Theory of Matrices* I, ch. 4) expands the
resolvent, adj(λI − A) = N₀ + N₁λ + …, det(λI − A) = d₁λ + d₂λ² + …, with exact divisions by integers only. From (λI −
A)⁻¹ = p1ᵀ/λ − A^# + O(λ) (Kato, *Perturbation Theory*, I.5.3),

    p = N₀ e / d₁  (any unit vector e: the columns agree),      A^# = (N₀ d₂ − N₁ d₁)/d₁².

N₀ holds the cofactors of −A: entry i counts the spanning trees directed into i, each with the product of its rates
(matrix-tree theorem: Tutte 1948; Hill 1966), and d₁ is the sum over all roots.

*Token clock.* x <- K x, x̄ the mean of the P states after each step. On the vectors of sum zero I − K is invertible,
so an identity between power series in one scalar κ, regular at |κ| < 1, holds with K for κ and (I − K)^# for 1/(1 −
κ) there. The closed form and the limit are therefore derived for one scalar mode, by SymPy's own summation and limit,
and lifted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy import MatrixBase
from sympy.polys.matrices import DomainMatrix

from theory.errors import GeneratorError, NotUniqueError
from theory.generators.checks import recurrent_classes
from theory.generators.exact import check_generator_symbolic, vanishes
from theory.kinds import Expression, Expressions, Symbolic


def stationary_distribution_symbolic(A: Symbolic) -> Any:
    """p_st [n, 1] of a sympy generator A[n, n], exactly, in lowest terms; transient states are exactly 0.

    Source: the matrix-tree theorem. Raises `GeneratorError` where A is not a generator, and `NotUniqueError` (listing
    them) where it has two or more recurrent classes for generic values of its symbols.
    """
    found = _resolvent(A)
    ring = found.N0.domain
    field = ring.get_field()
    trees = field.convert_from(found.d1, ring)
    entries = [field.convert_from(found.N0[i, 0].element, ring) / trees for i in range(A.rows)]
    return A._new(A.rows, 1, [field.to_sympy(entry) for entry in entries])


def group_inverse_symbolic(A: Symbolic) -> Any:
    """A^# [n, n] of a sympy generator A[n, n], exactly, over the common denominator d₁²; raises as p_st does."""
    N0, N1, d1, d2, scale = _resolvent(A)
    numerator = (N0 * d2 - N1 * d1).to_Matrix()
    return A._new(A.rows, A.rows, list(numerator * (scale / N0.domain.to_sympy(d1) ** 2)))


def first_order_symbolic(A: Symbolic, g: Expressions, x: Expressions, y: Expressions) -> Any:
    """φ₁(y) [n, 1] = A^# Dp_st[g(p_st, y)]: the slow manifold is p_st + ε φ₁ + O(ε²) (Fenichel 1979).

    A[n, n] in the symbols y = [y_1, …, y_m]; g = [g_1, …, g_m] in the symbols x = [x_1, …, x_n] and y.
    """
    _check_slow_map(A, g, x, y)
    p = stationary_distribution_symbolic(A)
    speed = [gk.subs(dict(zip(x, p, strict=True))) for gk in map(sympy.sympify, g)]
    Dp = sum((p.diff(yk) * gk for yk, gk in zip(y, speed, strict=True)), sympy.zeros(*p.shape))
    return group_inverse_symbolic(A) * Dp


def mode_mean(kappa: Expression, P: Expression) -> Any:
    """(1/P) Σ_{t=1}^P κ^t for κ != 1, as SymPy sums it."""
    t = sympy.Dummy("t", integer=True)
    total: Any = sympy.summation(kappa**t, (t, 1, P))
    if isinstance(total, sympy.Piecewise):
        branches: Any = total.args
        total = next(value for value, condition in branches if condition != sympy.Eq(kappa, 1))
    return total / P


def mode_limit(kappa: Expression) -> Any:
    """lim_{P→∞} P · `mode_mean`(κ, P) where |κ| < 1, as SymPy takes it along κ = e^{−r}, r > 0."""
    r, P = sympy.Dummy("r", positive=True), sympy.Dummy("P", positive=True)
    k = sympy.Dummy("k", positive=True)
    along = sympy.limit((P * mode_mean(k, P)).subs(k, sympy.exp(-r)), P, sympy.oo)
    return sympy.simplify(along.subs(r, -sympy.log(k))).subs(k, kappa)


def block_mean_symbolic(K: Symbolic, x_start: Symbolic, P: Expression) -> Any:
    """x̄ [n, 1] = p + (1/P)(K − K^{P+1})(I − K)^# (x_start − p), lifted from `mode_mean`; P an integer or a symbol.

    K[n, n] is column-stochastic (I + hA, say), p its stationary distribution, x_start[n, 1] sums to 1. With a symbol
    P the result holds K^P unevaluated; `.subs(P, 3).doit()` evaluates it. Raises `GeneratorError` where K − I is not
    a generator, `ValueError` for another P or x_start.
    """
    P = sympy.sympify(P)
    if not (P.is_Symbol or (P.is_Integer and P.is_positive)):
        raise ValueError(f"P must be a positive integer or a symbol, got {P}")
    p, pseudo, d = _clock(K, x_start)
    K = sympy.ImmutableMatrix(K)
    k, w = sympy.Dummy("k", positive=True), sympy.Dummy("w")
    numerator = sympy.expand_power_exp(mode_mean(k, P) * P * (1 - k))
    if P.is_Symbol:
        numerator = numerator.subs(k**P, w)
    settled, fading = sympy.zeros(*d.shape), sympy.zeros(*d.shape)
    for (i, j), coefficient in sympy.Poly(sympy.cancel(numerator), k, w).terms():
        term = coefficient * K**i * (pseudo * d)
        settled, fading = (settled, fading + term) if j else (settled + term, fading)
    constant = sympy.ImmutableMatrix(p + settled / P)
    if not P.is_Symbol:
        return constant + K**P * fading / P
    # Unevaluated: SymPy would otherwise write K^P through its eigenvalues, in radicals.
    power = sympy.MatPow(K, P, evaluate=False)
    fading = sympy.MatMul(1 / P, power, sympy.ImmutableMatrix(fading), evaluate=False)
    return sympy.MatAdd(constant, fading, evaluate=False)


def block_mean_limit_symbolic(K: Symbolic, x_start: Symbolic) -> Any:
    """lim_{P→∞} P (x̄ − p) [n, 1] = K (I − K)^# (x_start − p), lifted from `mode_limit`; K aperiodic; raises as x̄."""
    _, pseudo, d = _clock(K, x_start)
    k = sympy.Dummy("k", positive=True)
    numerator = sympy.Poly(sympy.cancel(mode_limit(k) * (1 - k)), k)
    lifted = sympy.zeros(*d.shape)
    for (i,), coefficient in numerator.terms():
        lifted += coefficient * K**i * (pseudo * d)
    return lifted


def pooling_constant_symbolic(A: Symbolic, g: Expressions, x: Expressions, y: Expressions, step: Expression) -> Any:
    """lim_{P→∞} P (x̄ − p_st) [n, 1] on the Euler clock, in the block after a settled one at y; arguments as for φ₁.

    That block holds y₊ = y + h g(p_st(y), y) and starts from p_st(y), h = step. `step=0` takes the limit h → 0, by
    l'Hôpital's rule: N(h)/h with N(0) = 0. It is φ₁(y): pooling over P tokens leaves the gap of the ODE at ε = 1/P.
    """
    _check_slow_map(A, g, x, y)
    h = sympy.Dummy("h", positive=True)
    p = stationary_distribution_symbolic(A)
    speed = [gk.subs(dict(zip(x, p, strict=True))) for gk in map(sympy.sympify, g)]
    ahead = {yk: yk + h * gk for yk, gk in zip(y, speed, strict=True)}
    moved = p - p.subs(ahead, simultaneous=True)
    reciprocal = sympy.Dummy("reciprocal")
    # h κ/(1 − κ) at κ = 1 + hλ is a polynomial in 1/λ: on vectors of sum zero 1/λ becomes A^#.
    polynomial = sympy.Poly(sympy.expand(sympy.cancel(h * mode_limit(1 + h / reciprocal))), reciprocal)
    A_sharp = group_inverse_symbolic(A).subs(ahead, simultaneous=True)
    lifted = sympy.zeros(A.rows)
    for (i,), coefficient in polynomial.terms():
        lifted += coefficient * A_sharp**i
    if sympy.sympify(step).is_zero:
        return lifted.subs(h, 0) * moved.diff(h).subs(h, 0)
    return (lifted * moved / h).subs(h, step)


class _Resolvent(NamedTuple):
    """N₀, N₁, d₁, d₂ of the module docstring for M = scale · A, over the smallest SymPy ring that holds M."""

    N0: DomainMatrix
    N1: DomainMatrix
    d1: Any
    d2: Any
    scale: Any


def _resolvent(A: Any) -> _Resolvent:
    check_generator_symbolic(A)
    n = A.rows
    pattern = np.array([[float(i != j and not vanishes(A[i, j])) for j in range(n)] for i in range(n)])
    classes = recurrent_classes(pattern)
    if len(classes) > 1:
        raise NotUniqueError(
            f"A has {len(classes)} recurrent classes, {classes}: every mixture of their stationary distributions is "
            "stationary; take one class alone, A.extract(states, states), or add the rates that join them",
            classes,
        )
    # Over a ring the recursion meets no greatest common divisors: p and A^# of A = M/scale are p and scale·A^# of M.
    M: Any = DomainMatrix.from_Matrix(A).to_dense()
    scale = sympy.Integer(1)
    if M.domain.is_Field and M.domain.has_assoc_Ring:
        common, M = M.clear_denoms(convert=True)
        scale = M.domain.to_sympy(common.element)
    ring = M.domain
    one = DomainMatrix.eye(n, ring).to_dense()
    previous, current = one * ring.zero, one
    coefficients = [ring.one]
    for k in range(1, n + 1):
        product = M * current
        trace = sum((product[i, i].element for i in range(n)), ring.zero)
        coefficients.append(ring.exquo(-trace, ring.convert(k)))
        if k < n:
            previous, current = current, product + one * coefficients[-1]
    # coefficients[k] multiplies λ^{n−k} in det(λI − M); the last is det(−M) = 0.
    d2 = coefficients[n - 2] if n > 1 else ring.zero
    return _Resolvent(current, previous, coefficients[n - 1], d2, scale)


def _clock(K: Any, x_start: Any) -> tuple[Any, Any, Any]:
    if not isinstance(K, MatrixBase) or K.rows != K.cols:
        raise GeneratorError(f"K must be a square sympy Matrix, got {getattr(K, 'shape', type(K).__name__)}")
    generator = K - sympy.eye(K.rows)
    p = stationary_distribution_symbolic(generator)
    start: Any = sympy.Matrix(x_start)
    if start.shape != (K.rows, 1) or not vanishes(sum(start) - 1):
        raise ValueError(f"x_start must be [{K.rows}, 1] and sum to 1; got shape {start.shape} and sum {sum(start)}")
    return p, -group_inverse_symbolic(generator), start - p


def _check_slow_map(A: Any, g: Any, x: Any, y: Any) -> None:
    if len(x) != A.rows or len(g) != len(y):
        raise ValueError(
            f"x needs one symbol per state and g one entry per slow variable; A has {A.rows} states, got {len(x)} "
            f"symbols x, {len(g)} entries of g and {len(y)} symbols y"
        )
