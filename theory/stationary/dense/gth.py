"""The elimination of Grassmann, Taksar and Heyman: p_st without a single subtraction, compiled for the CPU.

With the exit rates s_j = Σ_{i≠j} A_ij, the jump chain W_ij = A_ij / s_j has columns that sum to one, and its
stationary vector is π_j ∝ s_j p_j. State k = n−1, …, 1 is taken out by letting probability jump through it,

    S_k = Σ_{i<k} W_ik,    U_ik = W_ik / S_k,    W_ij ← W_ij + U_ik W_kj    (i, j < k, i ≠ j),

and put back by π_k = Σ_{j<k} W_kj π_j / S_k. Only sums, products and quotients of non-negative numbers occur, so every
entry of p is right to a few n unit round-offs, however small it is (Grassmann, Taksar and Heyman, *Oper. Res.* 33,
1985; O'Cinneide, *Numer. Math.* 65, 1993). The diagonal of A is checked and then never used.

State 0 must be reachable from all others: then it lies in the only recurrent class, S_k > 0 for every k, and a
transient state gets an exact zero. `_prepare` finds such a state and swaps it to the front, or finds that there is
none.

Each kernel reports where a number came near the end of the double range; such a matrix, and only such, is done again by
`theory.stationary.dense.extended`. From n = 192 on, blocks of states are taken out by matrix products of non-negative
factors.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

from theory.stationary.dense.extended import NEVER, solve_extended
from theory.stationary.dense.kernels import (
    NOT_UNIQUE,
    OUT_OF_RANGE,
    REFUSED,
    SOLVED,
    eliminate,
    prepare,
    solve_each,
    substitute,
    transpose_columns,
)
from theory.stationary.dense.lanes import solve_together

__all__ = ["NEVER", "NOT_UNIQUE", "REFUSED", "SOLVED", "exponents", "solve", "solve_unchecked"]

_SMALL = 40  # up to this n a batch is eliminated in step,
_LANES = 32  # so many matrices at a time
_LARGE = 192  # from this n on matrix products pay
_BLOCK = 64


def solve(A: np.ndarray, unit_round_off: float) -> tuple[np.ndarray, np.ndarray]:
    """p[B, n] of A[B, n, n] (float64, C order, left as it is), and how each matrix ended.

    status[B] is SOLVED, REFUSED (no generator within 8 n η Σ|A| per column, η = unit_round_off) or NOT_UNIQUE; p is
    NaN but for the solved. Entries below the smallest normal number are 0 or subnormal. A batch is shared among as
    many threads as torch has been given.
    """
    batch, n = A.shape[:2]
    tolerance = 8 * n * unit_round_off
    p, status = np.full((batch, n), np.nan), np.full(batch, REFUSED)
    if n >= _LARGE:
        for b in range(batch):
            status[b] = _solve_large(A[b], tolerance, p[b])
    else:
        threads = max(1, min(torch.get_num_threads(), batch, batch * n**3 >> 20))
        cuts = [batch * t // threads for t in range(threads + 1)]
        parts = [slice(*cut) for cut in pairwise(cuts)]
        if threads == 1:
            _solve_part(A, tolerance, p, status)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda part: _solve_part(A[part], tolerance, p[part], status[part]), parts))
    for b in np.flatnonzero(status == OUT_OF_RANGE):
        p[b], status[b] = solve_unchecked(A[b])
    p[status != SOLVED] = np.nan
    return p, status


def solve_unchecked(A: np.ndarray) -> tuple[np.ndarray, int]:
    """p[n] of one A[n, n] with rates of any size, and SOLVED or NOT_UNIQUE; that A is a generator is not checked."""
    p = np.empty(len(A))
    return p, SOLVED if solve_extended(A, p, np.empty(len(A), np.int64)) else NOT_UNIQUE


def exponents(A: np.ndarray) -> np.ndarray:
    """e[B, n] with p_j of the order 2^e_j, also where p_j is too small for a double; NEVER for transient states."""
    e = np.empty(A.shape[:-1], np.int64)
    for matrix, exponent in zip(A, e, strict=True):
        solve_extended(matrix, np.empty(len(matrix)), exponent)
    return e


def _solve_part(A: np.ndarray, tolerance: float, p: np.ndarray, status: np.ndarray) -> None:
    if A.shape[-1] <= _SMALL and len(A) >= 4:
        solve_together(A, tolerance, p, status, min(len(A), _LANES))
    solve_each(A, tolerance, p, status)


def _solve_large(A: np.ndarray, tolerance: float, p: np.ndarray) -> int:
    n = len(A)
    W, U, S, exit_rate, work = np.empty((n, n)), np.empty((_BLOCK, n)), np.ones(n), np.empty(n), np.empty((2, n))
    status, root, watch = prepare(A, tolerance, W, exit_rate, work)
    if status != SOLVED:
        return status
    rates, columns = torch.from_numpy(W), torch.from_numpy(U)
    for end in range(n, 0, -_BLOCK):
        begin = max(0, end - _BLOCK)
        transpose_columns(W, begin, end, U)
        if not eliminate(W, U, S, begin, end, watch):
            return OUT_OF_RANGE
        rates[:begin, :begin].addmm_(columns[: end - begin, :begin].T, rates[begin:end, :begin])
    return SOLVED if substitute(W, S, exit_rate, root, p, work) else OUT_OF_RANGE
