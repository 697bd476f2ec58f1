"""Kemeny's constant of a large sparse chain, exactly: the trace of an inverse from its factors alone.

With B the chain stopped at the root r and Z = B⁻¹ >= 0, −A^# = Z − p mᵀ on the vectors of sum zero (m = 1ᵀZ, the times
to the root), hence K = tr Z − m·p. The diagonal of Z needs no other entries of it than those between states of one
front (Takahashi, Fagan and Chin, *PICA Conf. Proc.*, 1973; Erisman and Tinney, *Comm. ACM* 18, 1975): from the last
front to the first, with U and L the factors of the jump chain and i behind k in k's front,

    Z_ki = Σ_j U_kj Z_ji / s_k,      Z_ik = Σ_j Z_ij L_jk,      Z_kk = 1/s_k + Σ_j Z_kj L_jk.

Products and sums of positive numbers; the one subtraction at the end loses no more than a factor 1/p_r, and the root is
the likeliest state.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from theory.compiled import fused
from theory.errors import NumericalError
from theory.generators.sparse import checked_rates, completed
from theory.stationary.sparse.distribution import sparse_stationary_distribution
from theory.stationary.sparse.response import Response


def sparse_kemeny_constant(A: Any) -> Tensor:
    """K [], float64, of the scipy.sparse generator A; see `theory.kemeny_constant`."""
    p = sparse_stationary_distribution(A).astype(np.float64)
    recurrent = p > 0
    if not recurrent.all():
        found = checked_rates(A)
        states = np.flatnonzero(recurrent)
        inside = found.rates[:, states].tocsr()[states].tocsc()
        A, p = completed(found._replace(rates=inside, exit_rate=np.asarray(inside.sum(axis=0)).ravel())), p[states]
    response = Response(A, p)
    if response.chain is None:
        return torch.tensor(0.0, dtype=torch.float64)
    chain = response.chain
    factors = chain.factors
    if factors.lost:
        raise NumericalError(
            "the times of this chain span more than float64 can carry in the selected inverse: its slowest modes are "
            "theory.relaxation_times(A, k), whose sum K is; or theory.lump(A, partition) what hardly communicates"
        )
    plan = factors.plan
    diagonal = np.zeros(len(plan.order))
    _diagonal(plan.first, plan.start, plan.states, plan.parent, factors.s, factors.U, factors.L, diagonal)
    visits = np.empty_like(diagonal)
    visits[plan.order] = diagonal
    times = chain.rewards(np.ones((chain.n, 1)))[:, 0]
    return torch.tensor(float((visits[:-1] / chain.exit_rate).sum() - times @ p[response.free]), dtype=torch.float64)


@fused
@no_type_check
def _diagonal(first, start, states, parent, s, U, L, diagonal):
    """Fills diagonal[k] = Z_kk in the order of the plan; what a front hands down lies in a stack until it is used."""
    n, fronts = len(s), len(parent)
    peak = 0
    for f in range(fronts):  # the sizes along any path from the root add up to at most the sum that is met below
        depth, g = 0, f
        while g != -1:
            depth += (start[g + 1] - start[g]) ** 2
            g = parent[g]
        peak = max(peak, depth)
    stack = np.empty(peak)
    at = np.zeros(fronts, np.int64)
    local = np.empty(n, np.int32)
    head, top, above = len(U), 0, -1
    for f in range(fronts - 1, -1, -1):
        while above != parent[f]:
            top = at[above]
            above = parent[above]
        front = states[start[f] : start[f + 1]]
        m, pivots = len(front), first[f + 1] - first[f]
        at[f] = top
        Z = stack[top : top + m * m].reshape((m, m))
        if above != -1:
            over = states[start[above] : start[above + 1]]
            size = len(over)
            Y = stack[at[above] : at[above] + size * size].reshape((size, size))
            for a in range(size):
                local[over[a]] = a
            for a in range(pivots, m):
                for b in range(pivots, m):
                    Z[a, b] = Y[local[front[a]], local[front[b]]]
        top += m * m
        above = f
        for a in range(pivots - 1, -1, -1):
            head -= m - a - 1
            k = front[a]
            if k == n - 1:
                Z[a, a] = 0.0
                continue
            into, out = U[head : head + m - a - 1], L[head : head + m - a - 1]
            for i in range(a + 1, m):
                Z[a, i] = 0.0
                Z[i, a] = 0.0
            for j in range(a + 1, m):
                rate = into[j - a - 1] / s[k]
                for i in range(a + 1, m):
                    Z[a, i] += rate * Z[j, i]
            for i in range(a + 1, m):
                total = 0.0
                for j in range(a + 1, m):
                    total += Z[i, j] * out[j - a - 1]
                Z[i, a] = total
            own = 1.0 / s[k]
            for j in range(a + 1, m):
                own += Z[a, j] * out[j - a - 1]
            Z[a, a] = own
            diagonal[k] = own
