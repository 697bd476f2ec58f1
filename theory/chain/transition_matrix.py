"""K(t) = e^{At} of a generator, by scaling and squaring in which nothing is ever subtracted.

With q the largest exit rate, e^{At} = e^{−qt} e^{(A+qI)t} and A + qI has no negative entry (uniformisation: Jensen
1953; Xue and Ye, *Math. Comp.* 82, 2013, 1577, for the entrywise accuracy). A Taylor polynomial of degree 19 at τ =
t/2^s, qτ <= 1, leaves out 4e-19; then K(2τ) = K(τ)². Columns are brought back to their exact sum of one after every
product. That is what keeps the error at some n η whatever t is: without it each squaring doubles the error in the
mass (`torch.linalg.matrix_exp` has lost 4e-11 of it at qt = 1e5, and 2e-9 at 1e7).

The mean over time v(t) = (1/t) ∫₀ᵗ e^{As} x ds goes the same way: v(2τ) = (v(τ) + K(τ) v(τ))/2, from

    v(τ) ∝ Σ_k h_k ((A + qI)τ)^k x,    h_k = Σ_{i>=0} (qτ)^i / (k + 1 + i)!    (the weights ∫ e^{−qs} (qs)^k/k! ds).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from theory.transforms import plain

_WEIGHTS = tuple(1.0 / math.factorial(k) for k in range(20))


def transition_matrix(A: Float[Tensor, "*batch n n"], t: Float[Tensor, "*times"]) -> Tensor:
    """K[..., n, n] = e^{At}, t >= 0 broadcast against the batch shape of A: K_ij >= 0, columns sum to 1.

    Differentiable. Entries that take more than 19·2^s jumps to reach are exactly 0, though positive in truth. Raises
    `ValueError` where q t overflows.
    """
    K, squarings, _ = _short(A, t)
    for _ in range(squarings):
        K = _doubled(K)
    return K


def mean_over_time(A: Float[Tensor, "*batch n n"], x: Float[Tensor, "*starts n"], t: float) -> Tensor:
    """v[..., n] = (1/t) ∫₀ᵗ e^{As} x ds of x[..., n], t > 0: without a subtraction, so right to some n η whatever t is.

    Differentiable. Raises `ValueError` where q t overflows.
    """
    K, squarings, (C, reach) = _short(A, torch.tensor(t, dtype=A.dtype, device=A.device))
    h = [torch.full_like(reach, _WEIGHTS[-1])]  # from the last on: h_k = 1/(k + 1)! + qτ h_{k+1}
    for weight in _WEIGHTS[-2:0:-1]:
        h.append(weight + reach * h[-1])
    v, total = torch.zeros_like(x), torch.zeros_like(reach)
    for weight in h:
        v, total = weight[..., None] * x + (C @ v[..., None])[..., 0], weight + reach * total
    v = v / total[..., None]
    for _ in range(squarings):
        v = 0.5 * (v + (K @ v[..., None])[..., 0])
        K = _doubled(K)
    return v


def _short(A: Tensor, t: Tensor) -> tuple[Tensor, int, tuple[Tensor, Tensor]]:
    """e^{Aτ}, τ = t/2^s with qτ <= 1; s; and (A + qI)τ with qτ [...]."""
    exit_rate = -A.detach().diagonal(dim1=-2, dim2=-1).amin(-1)
    longest = float(plain(exit_rate * t).amax()) if exit_rate.numel() and t.numel() else 0.0
    if not math.isfinite(longest):
        largest = float(plain(exit_rate).amax())
        raise ValueError(f"t times the largest exit rate, {largest:.6g}, overflows: propagate to an earlier t")
    squarings = max(0, math.ceil(math.log2(longest))) if longest > 0 else 0
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    tau = t * 2.0**-squarings
    B = (A + exit_rate[..., None, None] * identity) * tau[..., None, None]
    B2 = B @ B
    powers = torch.stack((identity.expand_as(B), B, B2, B2 @ B), -3)
    B4 = B2 @ B2
    # the five polynomials of degree 3 in one pass: at n = 82 their terms cost as much as the products
    weights = torch.tensor(_WEIGHTS, dtype=A.dtype, device=A.device).reshape(5, 4)
    quartets = (weights @ powers.flatten(-2)).unflatten(-1, B.shape[-2:])
    K = quartets[..., 4, :, :]
    for i in (3, 2, 1, 0):
        K = K @ B4 + quartets[..., i, :, :]
    return K / K.sum(-2, keepdim=True), squarings, (B, exit_rate * tau)


def _doubled(K: Tensor) -> Tensor:
    """K² with its columns brought back to their sum."""
    K = K @ K
    return K / K.sum(-2, keepdim=True)
