"""Chains on a line that jump to neighbours only: generator, product form and spectral gap, all without subtraction.

birth[k] is the rate k -> k + 1 and death[k] the rate k + 1 -> k, k = 0 … n − 2. Such a chain has detailed balance, so
p_st is a product of ratios (Karlin and McGregor, Trans. AMS 85, 1957). Its relaxation rates are the eigenvalues of
the chain of *edges*, whose inverse

    K_kl = F_min(k,l) (1 − F_max(k,l)) / √(w_k w_l),    F_k = p_0 + … + p_k,  w_k = p_k birth_k,

has positive entries: with the tail 1 − F summed from its own side each is right to a few roundings, and so is its
largest eigenvalue 1/gap. This holds for gaps of 1e-20 too, where eigenvalues of A are rounding noise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def tridiagonal(birth: Float[Tensor, "*batch edges"], death: Float[Tensor, "*batch edges"]) -> Tensor:
    """The generator A[..., n, n] of the chain."""
    up = torch.diag_embed(birth, offset=-1)
    down = torch.diag_embed(death, offset=1)
    none = torch.zeros_like(birth[..., :1])
    exits = torch.cat([birth, none], -1) + torch.cat([none, death], -1)
    return up + down - torch.diag_embed(exits)


def product_form(log_ratio: Float[Tensor, "*batch edges"]) -> Tensor:
    """p_st[..., n] from log_ratio_k = ln(birth_k / death_k): p_k ∝ exp(Σ_{l<k} log_ratio_l)."""
    start = torch.zeros_like(log_ratio[..., :1])
    return torch.cat([start, log_ratio.cumsum(-1)], -1).softmax(-1)


def relaxation_gap(birth: Float[Tensor, "*batch edges"], p: Float[Tensor, "*batch states"]) -> Tensor:
    """The spectral gap[...] of the chain with these birth rates and stationary distribution p, to relative accuracy."""
    below = p.cumsum(-1)[..., :-1]
    above = p.flip(-1).cumsum(-1)[..., :-1].flip(-1)
    root = (p[..., :-1] * birth).sqrt()
    green = (below / root)[..., :, None] * (above / root)[..., None, :]
    green = green.triu() + green.triu(1).transpose(-1, -2)
    return 1.0 / torch.linalg.eigvalsh(green)[..., -1]
