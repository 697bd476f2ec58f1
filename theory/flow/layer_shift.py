"""How far the boundary layer displaces the slow variable, to first order in ε.

While x relaxes from x₀ to p = p_st(y₀), along p + e^{As}d with d = x₀ − p and s = t/ε, dy/dt differs from g(p, y₀),
so the outer solution starts from y₀ + ε S and not from y₀ (Tikhonov; O'Malley, *Singular Perturbation Methods for
Ordinary Differential Equations*, 1991, ch. 2):

    S = ∫₀^∞ [g(p + e^{As}d, y₀) − g(p, y₀)] ds,        S = −(∂g/∂x) A^# d  for g linear in x.

That A(y) moves during the layer needs no further term at this order. The integral is taken by Gauss-Legendre
quadrature on [0, τ], [τ, 2τ], [2τ, 4τ], … with the exponentials by repeated squaring, so its cost grows with the
logarithm of the ratio of fastest to slowest rate. The same quadrature applied to e^{As}d itself must return −A^# d;
where it does not, the integral is refused.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from theory.captured import Captured
from theory.chain.inverse import solve_sum_zero
from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem
from theory.stationary.distribution import stationary_distribution

_POINTS = 32
_DOUBLINGS = 100
_AGREEMENT = 1e-9
_NEGLIGIBLE = 1e-15  # rounding in 1ᵀd keeps e^{As}d from falling much further


def layer_shift(
    system: FastSlowSystem,
    x0: Float64[Tensor, "*b n"],
    y0: Float64[Tensor, "*b m"],
    code: Captured | None = None,
) -> Tensor:
    """S[..., m] for starts (x0, y0) with the same batch shape. Differentiable without `code`, the captured system,
    which tells where g is linear in x: then the closed form is taken.

    Raises `NumericalError` where the layer has not died out after 2^100 of the fastest time, or the quadrature fails
    its own check.
    """
    A = system.A(y0)
    p = stationary_distribution(A)
    at_rest = system.g(p, y0)
    d = x0 - p
    d = d - d.sum(-1, keepdim=True) * p  # what x0 misses of the sum 1 is rounding, and would never die out
    exact = -solve_sum_zero(A, d, p)
    if code is not None and code.linear_in_x:
        n, m = system.n_states, system.n_slow
        _, gx, _ = code.derivatives(p.reshape(-1, n), system.wrapped(y0).reshape(-1, m))
        return (torch.from_numpy(gx).reshape(*y0.shape, n) @ exact[..., None])[..., 0]
    scale = d.detach().abs().sum(-1).amax() + torch.finfo(A.dtype).tiny
    fastest = A.detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    tau = 0.5 / torch.where(fastest > 0, fastest, torch.ones_like(fastest))
    nodes, weights = (torch.as_tensor(v, dtype=A.dtype, device=A.device) for v in _unit_rule(_POINTS))
    ahead = tau[..., None, None, None] * nodes[:, None, None]
    E = torch.linalg.matrix_exp(A[..., None, :, :] * ahead)

    def integral(E: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = (E @ d[..., None, :, None])[..., 0]
        y = y0[..., None, :].expand(*z.shape[:-1], y0.shape[-1])
        excess = system.g(p[..., None, :] + z, y) - at_rest[..., None, :]
        weight = (length[..., None] * weights)[..., None]
        return (weight * excess).sum(-2), (weight * z).sum(-2), z

    shift, check, _ = integral(E, tau)
    E = E @ torch.linalg.matrix_exp(A * tau[..., None, None])[..., None, :, :]
    length = tau
    for _ in range(_DOUBLINGS):
        more_shift, more_check, z = integral(E, length)
        shift, check = shift + more_shift, check + more_check
        if float(z.detach().abs().sum(-1).amax()) <= _NEGLIGIBLE * float(scale):
            break
        E = E @ E
        E = E / E.sum(
            -2, keepdim=True
        )  # columns of e^{As} sum to 1; squaring would double the rounding in that each time
        length = 2 * length
    else:
        raise NumericalError(f"the boundary layer of system {system.name!r} does not die out: A(y0) is metastable")
    error = (check - exact).detach().abs().sum(-1)
    wrong = ~(error <= _AGREEMENT * (exact.detach().abs().sum(-1) + tau * scale))
    if bool(wrong.any()):
        y = y0[wrong][0].tolist()
        raise NumericalError(
            f"the layer integral of system {system.name!r} at y0 = {y} misses its check by {float(error[wrong][0]):.3g}"
        )
    return shift


@cache
def _unit_rule(points: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return 0.5 * (nodes + 1.0), 0.5 * weights
