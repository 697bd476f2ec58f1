"""The stationary distribution p_st: A p = 0, 1ᵀp = 1, p >= 0 (first version, being replaced)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from theory.generator import as_real_tensor, check_generator


def stationary_distribution(A: Any) -> Any:
    """p_st of A[..., n, n] (first version: plain torch elimination)."""
    M = as_real_tensor(A)
    check_generator(M)
    p = _gth(M)
    return p if isinstance(A, Tensor) else p.numpy()


def _gth(M: Tensor) -> Tensor:
    n = M.shape[-1]
    A = list(M.unbind(-1))  # columns
    W = M
    scales: list[Tensor] = []
    cols: list[Tensor] = []
    for k in range(n - 1, 0, -1):
        s = W[..., :k, k].sum(-1)
        col = W[..., :k, k] / s[..., None]
        scales.append(s)
        cols.append(W[..., k, :k])
        W = W[..., :k, :k] + col[..., :, None] * W[..., k, None, :k]
    p = torch.ones_like(A[0][..., :1])
    for s, row in zip(reversed(scales), reversed(cols), strict=True):
        p = torch.cat([p, ((row * p).sum(-1) / s)[..., None]], -1)
    return p / p.sum(-1, keepdim=True)
