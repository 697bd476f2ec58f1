"""p_st by iteration, with a proven error of every entry: for graphs that no order of elimination keeps sparse.

x <- ½ (x + W x), W the jump chain, converges at the rate of mixing, and what has no small separators mostly mixes
fast. A small residual proves nothing by itself; this does. With x > 0, K_ij = W_ij x_j / x_i and δ = max |K 1 − 1|, the
ratios y = π/x to the true π obey y = K y. Let β = Σ_c min_i (Kᵐ)_ic over some states c. Each row of Kᵐ holds β in
common, so

    (max y − min y) β <= (2 m δ + O(δ²)) max y,    hence   |x_i/π_i − 1| <= 2 m δ / β  after normalisation

(Doeblin's minorisation; Seneta, *Non-negative Matrices and Markov Chains*, 2006, § 4.3). The columns (Kᵐ)_·c of the
likeliest states take m products with K each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PRODUCTS = 20_000
PROVEN = 1e-8  # a bound above it is none
_COLUMNS = 32


def iterate(jump_chain: Any) -> tuple[np.ndarray, float] | None:
    """(x[n], bound) of an irreducible jump chain (csr, columns sum to one), or None where the bound is above PROVEN.

    x sums to one, and each entry is within `bound` of its true value, relative.
    """
    n = jump_chain.shape[0]
    x = np.full(n, 1.0 / n)
    best, stalled = np.inf, 0
    for k in range(PRODUCTS):
        new = 0.5 * (x + jump_chain @ x)
        if k % 16 == 0:
            with np.errstate(all="ignore"):
                change = np.abs(new / x - 1).max()
            if not np.isfinite(change):
                return None
            stalled = 0 if change < 0.5 * best else stalled + 1
            best = min(best, change)
            if best < 1e-14 and stalled >= 4:
                break
            if stalled > 200:  # no halving in 3,200 products
                return None
        x = new / new.sum()
    else:
        return None
    bound = _bound(jump_chain, x)
    return (x, bound) if bound <= PROVEN else None


def _bound(jump_chain: Any, x: np.ndarray) -> float:
    from scipy.sparse import diags_array, identity

    n = len(x)
    K = (diags_array(0.5 / x) @ jump_chain @ diags_array(x)).tocsr() + 0.5 * identity(n, format="csr")
    sources = int(np.diff(jump_chain.indptr).max())
    rounding = (sources + 8) * np.finfo(np.float64).eps
    delta = float(np.abs(K @ np.ones(n) - 1).max()) + rounding
    likely = np.argsort(x)[::-1][:_COLUMNS]
    v = np.zeros((n, len(likely)))
    v[likely, np.arange(len(likely))] = 1.0
    best = np.inf
    for m in range(1, 2049):
        v = K @ v
        if m & (m - 1) == 0 or m % 128 == 0:
            beta = float(v.min(0).sum()) * (1 - m * rounding)
            if beta > 0:
                bound = 2 * m * delta * (1 + 2 * m * delta) / beta
                if bound > 0.9 * best:
                    return min(best, bound)
                best = bound
    return best
