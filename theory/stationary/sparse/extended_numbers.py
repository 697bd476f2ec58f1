"""Numbers m 2^e that carry an exponent of their own: nothing is out of range, whatever elimination makes of the rates.

A sum keeps the larger exponent of its terms, so a mantissa that begins in [1/2, 1) stays within [1/4, number of terms]:
nothing needs normalising in the innermost loop. A term 2^-130 of the other is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np

from theory.compiled import fused

NEGLIGIBLE = 130
POWERS = 0.5 ** np.arange(NEGLIGIBLE + 1.0)


class Numbers(NamedTuple):
    """mantissa · 2^exponent, entry by entry; zero has the mantissa 0."""

    mantissa: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Numbers:
        """The float64 numbers `values`."""
        mantissa, exponent = np.frexp(values)
        return cls(mantissa, exponent.astype(np.int64))

    def rounded(self) -> np.ndarray:
        """As float64: 0 below its range, inf above."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.mantissa, np.clip(self.exponent, -2000, 2000).astype(np.int32))


@fused
@no_type_check
def plus(m, e, a, f, powers):
    """m 2^e + a 2^f; the sum has the larger of the two exponents."""
    if a == 0.0:
        return m, e
    if m == 0.0:
        return a, f
    d = f - e
    if d <= 0:
        return (m + a * powers[-d], e) if d >= -NEGLIGIBLE else (m, e)
    return (a + m * powers[d], f) if d <= NEGLIGIBLE else (a, f)


@fused
@no_type_check
def normal(m, e):
    """m 2^e with the mantissa in [1/2, 1)."""
    a, f = math.frexp(m)
    return a, e + f
