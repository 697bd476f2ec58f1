"""Sampled tokens: the states of a token's Markov chain x <- K x inside one block, counted.

In block k of the token clock, with y_k held, the vector x of token t is the law of a state that jumps by the kernel K =
K(y_k), column-stochastic, once a token. Chains that start from the block's first law and make P steps visit the states
with mean frequencies x̄_k, the block mean: sampling puts noise on the pairs of the clock and no bias.

The tokens of one chain are correlated. With K̃ = K − p1ᵀ, Z = (I − K̃)⁻¹ and P tokens from stationarity, the covariance
of the frequencies is (Kemeny & Snell, *Finite Markov Chains*, 1960, sec. 4.6)

    (1/P²) [ P Γ₀ + S diag p + diag p Sᵀ ],    S = P K̃ Z − K̃ (I − K̃^P) Z²,    Γ₀ = diag p − p pᵀ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_integer
from theory.errors import NumericalError
from theory.generators.checks import as_real_tensor
from theory.jumps.process import in_parts, streams
from theory.kinds import Dense, Integer
from theory.lu import inv_ex
from theory.transforms import plain


def sample_tokens(K: Dense, x: Dense, period: Integer, *, chains: Integer = 1, seed: Integer) -> Tensor:
    """Counts[N, n] (int64) of the states seen by `chains` chains of `period` tokens for each of N kernels K[N, n, n].

    x[N, n]: the law before the first step, which itself is not counted. Runs on the host, on as many threads as torch
    is set to use; one seed gives one result. Raises `ValueError` where K or x is not stochastic within rounding.

    Examples:
        >>> import theory, torch
        >>> K = torch.tensor([[[0.9, 0.2], [0.1, 0.8]]], dtype=torch.float64)
        >>> counts = theory.sample_tokens(K, [[1.0, 0.0]], period=100, chains=10, seed=0)
        >>> counts.shape, int(counts.sum())
        (torch.Size([1, 2]), 1000)
    """
    period = check_integer(period, "period", least=1)
    chains = check_integer(chains, "chains", least=1)
    K, x = as_real_tensor(K, "K"), as_real_tensor(x, "x")
    if K.ndim != 3 or K.shape[-1] != K.shape[-2] or x.shape != K.shape[:-1]:
        raise ValueError(f"K must be [N, n, n] and x [N, n], got {list(K.shape)} and {list(x.shape)}")
    from theory.jumps import kernels as jump_kernels

    count, n = x.shape
    kernel, kernel_alias = _tables(K.mT, "K")
    begin, begin_alias = _tables(x[None], "x")
    counts = torch.zeros(count, n, dtype=torch.int64)
    seen, rng = counts.numpy(), streams(check_integer(seed, "seed"), count)

    def part(first: int, last: int) -> None:
        tables = (begin[0], begin_alias[0], kernel, kernel_alias)
        jump_kernels.count_tokens(first, last, chains, period, *tables, rng, seen)

    in_parts(part, count)
    return counts.to(K.device)


def token_frequency_covariance(K: Dense, p: Dense, period: Integer) -> Tensor:
    """The covariance [..., n, n] of the state frequencies among `period` tokens of one chain of K[..., n, n].

    p[..., n] = K p is the chain's stationary law, from which it is taken to start. Divide by the number of chains.

    Raises `ValueError` for shapes or dtypes that do not fit, a K or p that is not stochastic within rounding and a p
    that is not K's, `NumericalError` where K has more than one closed class.

    Examples:
        >>> import theory, torch
        >>> K = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
        >>> theory.token_frequency_covariance(K, [0.5, 0.5], period=100)  # independent tokens: p (1 - p) / P
        tensor([[ 0.0025, -0.0025],
                [-0.0025,  0.0025]], dtype=torch.float64)
    """
    P = check_integer(period, "period", least=1)
    K, p = as_real_tensor(K, "K"), as_real_tensor(p, "p")
    if K.ndim < 2 or K.shape[-1] != K.shape[-2] or p.shape[-1:] != K.shape[-1:] or p.dtype != K.dtype:
        raise ValueError(f"K must be [..., n, n] and p [..., n] of one dtype, got {list(K.shape)} and {list(p.shape)}")
    check_broadcast(K=K.shape[:-2], p=p.shape[:-1])
    _require_stationary(plain(K), plain(p))
    identity = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    step = K - p[..., :, None]
    B = identity - step
    Z, info = inv_ex(B)
    defect = (identity - plain(Z) @ plain(B)).abs().sum(-2)
    if bool((plain(info) != 0).any()) or not bool((defect <= torch.finfo(K.dtype).eps ** (2 / 3)).all()):
        raise NumericalError(
            "I − K + p1ᵀ is singular to working precision: K has more than one closed class, so its frequencies among "
            "many tokens depend on the start; restrict K to one class"
        )
    S = P * step @ Z - step @ (identity - torch.linalg.matrix_power(step, P)) @ Z @ Z
    half = S * p[..., None, :]
    return (torch.diag_embed(p) - p[..., :, None] * p[..., None, :]) / P + (half + half.mT) / P**2


def _require_stationary(K: Tensor, p: Tensor) -> None:
    rounding = 16 * K.shape[-1] * torch.finfo(K.dtype).eps
    if not bool((-rounding <= K).all() & torch.isfinite(K).all() & ((K.sum(-2) - 1).abs() <= rounding).all()):
        raise ValueError(
            f"K must be a kernel, entries >= 0 and columns that sum to 1; its columns sum to "
            f"{float(K.sum(-2).min()):.6g} … {float(K.sum(-2).max()):.6g}: of a generator A pass the kernel of one "
            "token, torch.linalg.matrix_exp(h * A)"
        )
    if not bool((p >= -rounding).all() & ((p.sum(-1) - 1).abs() <= rounding).all()):
        raise ValueError("p must be a probability vector: entries >= 0 that sum to 1 within rounding")
    off = float(((K @ p[..., None])[..., 0] - p).abs().sum(-1).max())
    if not off <= torch.finfo(K.dtype).eps ** 0.5:
        raise ValueError(
            f"p is not the stationary law of K, ‖K p − p‖₁ = {off:.3g}: pass "
            'theory.stationary_distribution(theory.from_transition_matrix(K, convention="column"))'
        )


def _tables(weights: Tensor, name: str) -> tuple[Any, Any]:
    """Alias tables for drawing from the last axis of weights[..., r, n], each row of which must sum to one."""
    import numpy as np

    from theory.jumps import kernels as jump_kernels

    rounding = 8 * weights.shape[-1] * torch.finfo(weights.dtype).eps
    if bool(((weights.sum(-1) - 1).abs() > rounding).any()) or not bool(torch.isfinite(weights).all()):
        raise ValueError(f"{name} must be stochastic: its columns must be finite and sum to 1")
    if bool((weights < -rounding).any()):
        raise ValueError(f"{name} must be stochastic: an entry is {float(weights.min()):.6g}")
    drawn = np.array(weights.detach().cpu().to(torch.float64).contiguous().numpy())
    drawn[drawn < 0] = 0.0  # a probability of zero that came out as a negative rounding error: never drawn
    if not (drawn.max(-1) > 0).all():
        raise NumericalError(f"{name} holds a column without any probability")
    accept, alias = np.empty(drawn.shape), np.empty(drawn.shape, np.uint64)
    jump_kernels.alias_tables(drawn, accept, alias)
    return accept, alias
