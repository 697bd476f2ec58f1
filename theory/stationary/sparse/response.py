"""How p_st of a sparse chain responds to its rates: solves with A, and the adjoint, by one elimination.

With a root r and B the chain stopped there (`StoppedChain`), G = −B⁻¹, bordered by zeros in row and column r, is a
generalised inverse of A, and A^# v = G v − p 1ᵀG v for v of sum zero. B⁻¹ >= 0 is applied without a subtraction, to the
positive and the negative part of v by themselves. The root is the likeliest state: what is then subtracted is no larger
than the result warrants.

Adjoint: with f a function of p_st and f' its gradient, λᵀB = (f' − (f'·p) 1)ᵀ, λ_r = 0, gives for each rate

    ∂f/∂A_ij = (λ_i − λ_j) p_j      (the diagonal A_jj moving with it, so that columns keep their sum).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory.generators.sparse import SparseRates, checked_rates
from theory.stationary.sparse.distribution import sparse_stationary_distribution

if TYPE_CHECKING:
    from theory.stationary.sparse.stopped import StoppedChain


class Response:
    """p_st of the scipy.sparse generator A[n, n], its recurrent states, and the chain stopped at the likeliest one."""

    p: np.ndarray
    root: int
    free: np.ndarray

    def __init__(self, A: Any, p: np.ndarray | None = None) -> None:
        self.found: SparseRates = checked_rates(A)
        self.p = np.asarray(sparse_stationary_distribution(A) if p is None else p, np.float64)
        self.root = int(np.argmax(self.p * self.found.exit_rate)) if len(self.p) > 1 else 0
        free = np.ones(len(self.p), bool)
        free[self.root] = False
        self.chain: StoppedChain | None = None
        if len(self.p) > 1:
            from theory.stationary.sparse.stopped import stopped  # its kernels import numba

            self.chain, self.free = stopped(self.found, free)

    def solve(self, v: np.ndarray) -> np.ndarray:
        """A^# v [n] of v[n] of sum zero."""
        z = np.zeros_like(v)
        if self.chain is not None:
            both = self.chain.visits(np.stack([np.maximum(v, 0)[self.free], np.maximum(-v, 0)[self.free]], 1))
            z[self.free] = both[:, 1] - both[:, 0]
        return z - self.p * z.sum()

    def adjoint(self, gradient: np.ndarray) -> np.ndarray:
        """λ[n] with ∂f/∂A_ij = (λ_i − λ_j) p_j, of ∂f/∂p."""
        c = gradient - gradient @ self.p
        lam = np.zeros_like(c)
        if self.chain is not None:
            both = self.chain.rewards(np.stack([np.maximum(c, 0)[self.free], np.maximum(-c, 0)[self.free]], 1))
            lam[self.free] = both[:, 0] - both[:, 1]
        return lam
