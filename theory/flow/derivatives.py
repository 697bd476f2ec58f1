"""The pieces of the Jacobian of F(x, y) = (A(y) x / ε, g(x, y)), by forward-mode differentiation of A and g.

    J = [[A/ε, ∂_y(A x)/ε], [∂_x g, ∂_y g]],    ∂_{y_k}(A x) = (∂_{y_k} A) x.

One pass per direction, all directions and points as one batch: m for A, n + m for g.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.autograd import forward_ad

from theory.errors import FastSlowSystemError
from theory.fast_slow import FastSlowSystem


class Derivatives(NamedTuple):
    """∂_{y_k} A [B, m, n, n], ∂_x g [B, m, n] and ∂_y g [B, m, m]."""

    dA: Any
    gx: Any
    gy: Any


def derivatives(system: FastSlowSystem, x: Float64[Tensor, "b n"], y: Float64[Tensor, "b m"]) -> Derivatives:
    """The derivatives of A and g at the points (x, y); `FastSlowSystemError` if they have none."""
    b, n = x.shape
    m = y.shape[1]
    eye = torch.eye(n + m, dtype=y.dtype, device=y.device)
    try:
        with torch.no_grad(), forward_ad.dual_level():
            directions = eye[n:, None, n:].expand(m, b, m)
            A = system.A(forward_ad.make_dual(y.expand(m, b, m).contiguous(), directions.contiguous()))
            dA = forward_ad.unpack_dual(A).tangent
            x_dual = forward_ad.make_dual(
                x.expand(n + m, b, n).contiguous(), eye[:, None, :n].expand(n + m, b, n).contiguous()
            )
            y_dual = forward_ad.make_dual(
                y.expand(n + m, b, m).contiguous(), eye[:, None, n:].expand(n + m, b, m).contiguous()
            )
            dg = forward_ad.unpack_dual(system.g(x_dual, y_dual)).tangent
    except NotImplementedError as error:
        raise FastSlowSystemError(
            f"generator or slow of system {system.name!r} uses an operation without forward-mode derivative: {error}"
        ) from error
    dA = torch.zeros(m, b, n, n, dtype=y.dtype, device=y.device) if dA is None else dA
    dg = torch.zeros(n + m, b, m, dtype=y.dtype, device=y.device) if dg is None else dg
    dg = dg.permute(1, 2, 0)
    return Derivatives(dA.transpose(0, 1).contiguous(), dg[..., :n].contiguous(), dg[..., n:].contiguous())


def right_hand_side(system: FastSlowSystem, x: Tensor, y: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """(A(y) x / ε, g(x, y)) for x[..., n], y[..., m], eps[...], less the rounding in 1ᵀA x, which 1/ε would magnify.

    Detached: trajectories are not differentiated, and parameters of A and g would make a graph of every step.
    """
    return fast_slope(system.A(y), x, eps).detach(), system.g(x, y).detach()


def fast_slope(A: Tensor, x: Tensor, eps: Tensor) -> Tensor:
    """A x / ε, less the rounding in 1ᵀA x."""
    product = (A @ x[..., None])[..., 0]
    return (product - product.mean(-1, keepdim=True)) / eps[..., None]


def jacobian(A: Tensor, x: Tensor, eps: Tensor, d: Derivatives) -> Tensor:
    """J[B, n + m, n + m] from A[B, n, n], x[B, n], eps[B] and the derivatives at the same points."""
    Bx = torch.einsum("bkij,bj->bik", d.dA, x)
    top = torch.cat([A, Bx], -1) / eps[:, None, None]
    return torch.cat([top, torch.cat([d.gx, d.gy], -1)], -2)
