"""K(t) = e^{At} of a generator, by scaling and squaring in which nothing is ever subtracted.

With q the largest exit rate, e^{At} = e^{−qt} e^{(A+qI)t} and A + qI has no negative entry (uniformisation: Jensen
1953; Xue and Ye, *Math. Comp.* 82, 2013, 1577, for the entrywise accuracy). A Taylor polynomial of degree 19 at τ =
t/2^s, qτ <= 1, leaves out 4e-19; then K(2τ) = K(τ)². Columns are brought back to their exact sum of one after every
product. That is what keeps the error at some n η whatever t is: without it each squaring doubles the error in the
mass (`torch.linalg.matrix_exp` has lost 4e-11 of it at qt = 1e5, and 2e-9 at 1e7).
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
    exit_rate = -A.detach().diagonal(dim1=-2, dim2=-1).amin(-1)
    longest = float(plain(exit_rate * t).amax()) if exit_rate.numel() and t.numel() else 0.0
    if not math.isfinite(longest):
        largest = float(plain(exit_rate).amax())
        raise ValueError(f"t times the largest exit rate, {largest:.6g}, overflows: propagate to an earlier t")
    squarings = max(0, math.ceil(math.log2(longest))) if longest > 0 else 0
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    B = (A + exit_rate[..., None, None] * identity) * (t / 2.0**squarings)[..., None, None]
    B2 = B @ B
    powers = (identity, B, B2, B2 @ B)
    B4 = B2 @ B2
    K = _quartet(4, powers)
    for i in (3, 2, 1, 0):
        K = K @ B4 + _quartet(i, powers)
    K = K / K.sum(-2, keepdim=True)
    for _ in range(squarings):
        K = K @ K
        K = K / K.sum(-2, keepdim=True)
    return K


def _quartet(i: int, powers: tuple[Tensor, ...]) -> Tensor:
    total = _WEIGHTS[4 * i] * powers[0]
    for weight, power in zip(_WEIGHTS[4 * i + 1 : 4 * i + 4], powers[1:], strict=True):
        total = total + weight * power
    return total
