"""Products and sums in twice the working precision, for residuals that a large ‖A^#‖ would magnify.

An error-free transformation writes a + b, or a b, as its rounded value plus the rounding error, both floats (Knuth;
Dekker, *Numer. Math.* 18 (1971) 224, with Veltkamp's splitting). Carried along in the second part, the errors make a
dot product as accurate as if it had been formed with twice the digits and rounded once (Ogita, Rump, Oishi, *SIAM J.
Sci. Comput.* 26 (2005) 1955): |error| <= η |x·y| + n² η² |x|·|y| / 2. With residuals of that kind a step of iterative
refinement leaves an error of some η relative to the solution, whatever the condition number κ, as long as κ η ≪ 1
(Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., Theorem 12.2).
"""

from __future__ import annotations

from torch import Tensor

SPLITTER = 2.0**27 + 1.0  # halves the 53 bits of a float64


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(s, e) with s = fl(a + b) and a + b = s + e."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(p, e) with p = fl(a b) and a b = p + e, for float64 that neither overflow nor underflow."""
    p = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


def quotient(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(q, e) with q = fl(a/b) and a/b = q + e to twice the working precision."""
    q = a / b
    p, e = two_product(q, b)
    return q, ((a - p) - e) / b


def row_sums(high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Σ over the last axis of the pairs high + low, as a pair."""
    while high.shape[-1] > 1:
        odd = high.shape[-1] % 2
        half = high.shape[-1] // 2
        s, e = two_sum(high[..., :half], high[..., half : 2 * half])
        e = e + (low[..., :half] + low[..., half : 2 * half])
        if odd:
            s_last, e_last = two_sum(s[..., :1], high[..., -1:])
            s, e = s.clone(), e.clone()
            s[..., :1], e[..., :1] = s_last, e[..., :1] + e_last + low[..., -1:]
        high, low = s, e
    return high[..., 0], low[..., 0]


def matvec(M: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """M x [..., n] as a pair, for M[..., n, n] and the pair x[..., n]."""
    high, low = two_product(M, x[0][..., None, :])
    return row_sums(high, low + M * x[1][..., None, :])


def _split(a: Tensor) -> tuple[Tensor, Tensor]:
    c = SPLITTER * a
    high = c - (c - a)
    return high, a - high
