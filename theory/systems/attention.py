"""Frozen softmax attention over eight tokens, read as a generator; y is the feedback added to every token.

Token i enters as z_i = e_i + y with e_i fixed and y in ℝ² the slow variable, as the gate of a coupled model adds it.
One head without values gives the row-stochastic map W_ij = softmax_j(z_iᵀ M z_j), and

    A(y) = Wᵀ − I

is a generator: A_ij = W_ji is the attention that j pays to i. One Euler step of h = 1 is one application of the
attention map. Full attention has every weight positive, so one recurrent class and p_st > 0.

*Tied* queries and keys (M symmetric): Z_i W_ij = e^{z_iᵀ M z_j} is symmetric, Z_i the partition function of row i,
hence detailed balance and p_st,i = Z_i / Σ_k Z_k exactly. Untied attention, the default, has neither.

*Causal* attention (j <= i) leaves token 0 no choice but itself: it absorbs, p_st = e_0 for every y (the attention
sink, exactly), A is upper triangular and its gap is 1 − max_{i>=1} W_ii. That p_st does not depend on y, so its O(ε)
gap vanishes.

The slow variable follows what is attended to, turned by a fixed angle: dy/dt = R Σ_i x_i e_i − y. All |e_i| <= 1, so
the box [−1, 1]² is forward invariant whatever x is, also under y <- y + h g for h <= 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem

_N = 8
_UNTIED = ((1.2, 1.5), (-0.9, 0.8))
_TIED = ((1.2, 0.3), (0.3, 0.8))
_TURN = 0.25 * math.pi


def embeddings(y: Tensor) -> Tensor:
    """e_i[8, 2], on a spiral from radius 1/3 to 1, in the dtype and on the device of y."""
    i = torch.arange(_N, dtype=y.dtype, device=y.device)
    radius, angle = (i + 4.0) / (_N + 3.0), 2.0 * math.pi * i / _N
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def scores(y: Tensor, *, tied: bool = False) -> Tensor:
    """z_iᵀ M z_j[..., 8, 8], z_i = e_i + y."""
    z = embeddings(y) + y[..., None, :]
    M = torch.tensor(_TIED if tied else _UNTIED, dtype=y.dtype, device=y.device)
    return z @ M @ z.transpose(-1, -2)


def attention_weights(y: Tensor, *, causal: bool = False, tied: bool = False) -> Tensor:
    """W(y)[..., 8, 8], row i the attention that token i pays; rows sum to 1."""
    s = scores(y, tied=tied)
    if causal:
        later = torch.ones(_N, _N, dtype=torch.bool, device=y.device).triu(1)
        s = s.masked_fill(later, -math.inf)
    return s.softmax(-1)


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 2] = R Σ_i x_i e_i − y, R the rotation by π/4."""
    attended = x @ embeddings(y)
    c, s = math.cos(_TURN), math.sin(_TURN)
    turned = torch.stack([c * attended[..., 0] - s * attended[..., 1], s * attended[..., 0] + c * attended[..., 1]], -1)
    return turned - y


def system(*, causal: bool = False, tied: bool = False) -> FastSlowSystem:
    """Attention on y in [−1, 1]²: full or causal, with untied or tied queries and keys."""

    def generator(y: Tensor) -> Tensor:
        W = attention_weights(y, causal=causal, tied=tied)
        # The diagonal is minus the sum of the other weights, not W_ii − 1: that would cancel where W_ii is close to 1.
        others = W - torch.diag_embed(W.diagonal(dim1=-2, dim2=-1))
        return others.transpose(-1, -2) - torch.diag_embed(others.sum(-1))

    def first_token(y: Tensor) -> Tensor:
        return torch.eye(_N, dtype=y.dtype, device=y.device)[0].expand(*y.shape[:-1], _N)

    def partition_functions(y: Tensor) -> Tensor:
        return scores(y, tied=True).logsumexp(-1).softmax(-1)

    def causal_gap(y: Tensor) -> Tensor:
        W = attention_weights(y, causal=True, tied=tied)
        others = W.tril(-1).sum(-1)
        return others[..., 1:].amin(-1)

    if causal:
        stationary, remarks = (
            first_token,
            (
                "token 0 absorbs: p_st = e_0 for every y, exactly, and the gap is 1 − max W_ii over the other tokens; "
                "Dp_st = 0, so there is no O(ε) gap to measure"
            ),
        )
    elif tied:
        stationary, remarks = partition_functions, "p_st,i ∝ Z_i, the partition function of row i (detailed balance)"
    else:
        stationary, remarks = None, "one recurrent class and p_st > 0, with no closed form"
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=_N,
        n_slow=2,
        low=-1.0,
        high=1.0,
        name="attention_causal" if causal else "attention",
        stationary=stationary,
        spectral_gap=causal_gap if causal else None,
        reversible=None if causal else tied,
        remarks=remarks + "; one Euler step of size 1 is one application of the attention map",
    )
