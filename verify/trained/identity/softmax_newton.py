"""Softmax models that are linear in their unknowns, at the optimum of the cross-entropy.

Newton's method, its steps by conjugate gradients (Nocedal & Wright, *Numerical Optimization*, 2006, §7.1) that the
Hessian of the first step preconditions.

The loss is convex in logits that are linear in the unknowns θ[r, V]. Two such models are used, on the same features ψ:

    regression   logits(y)_i    = (ψ(y) θ)_i              φ(y), the law of x_0 or x_P given y
    kernel       logits(y)_i|j  = θ_B[j, i] + (ψ(y) θ_C)_i   a transition kernel K(y)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 1e-13  # of the mean loss: keeps the optimum finite where a symbol is never seen
KERNEL_RIDGE = 1e-8  # symbols that never follow would drift to −∞ for ever
CUTOFF = 1e-9  # directions of ψ below this, relative to the largest, would carry rounding


Inverse = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solved:
    """The unknowns, the 2-norm of the gradient (of the mean loss) there, the Newton steps taken, and about the inverse
    of the Hessian, for a fit nearby."""

    unknowns: Tensor
    gradient: float
    steps: int
    precondition: Inverse | None


def whitening(psi: Float[Tensor, "N F"], cutoff: float = CUTOFF) -> Float[Tensor, "F G"]:
    """T such that ψT has unit second moment over the rows, directions below the cutoff left out."""
    _, sizes, V = torch.linalg.svd(psi / len(psi) ** 0.5, full_matrices=False)
    kept = sizes > cutoff * sizes[0]
    return V[kept].T / sizes[kept]


@runtime_checkable
class _Linear(Protocol):
    """Logits linear in the unknowns θ[rows, V]: the map, its adjoint, and about the inverse of the Hessian of the loss
    at softmax q with masses w q."""

    def logits(self, theta: Tensor) -> Tensor: ...
    def adjoint(self, r: Tensor) -> Tensor: ...
    def inverse(self, mass: Tensor, q: Tensor) -> Inverse: ...


class _Regression:
    """ψθ, with whitened ψ: the Hessian is about I ⊗ (diag p̄ − p̄ p̄ᵀ), with the mean law p̄."""

    def __init__(self, psi: Tensor) -> None:
        self.psi = psi

    def logits(self, theta: Tensor) -> Tensor:
        return self.psi @ theta

    def adjoint(self, r: Tensor) -> Tensor:
        return self.psi.T @ r

    def inverse(self, mass: Tensor, q: Tensor) -> Inverse:
        frequency = mass.sum(0).clamp_min(1e-12)
        return lambda r: r / frequency


class _Kernel:
    """θ_B[j] + ψθ_C: few enough unknowns for Cholesky factors of the Hessian."""

    def __init__(self, psi: Tensor, states: int) -> None:
        self.psi, self.states = psi, states

    def logits(self, theta: Tensor) -> Tensor:
        return theta[: self.states] + (self.psi @ theta[self.states :])[:, None, :]

    def adjoint(self, r: Tensor) -> Tensor:
        return torch.cat([r.sum(0), self.psi.T @ r.sum(1)])

    def hessian(self, mass: Tensor, q: Tensor) -> Tensor:
        """[r, V, r, V], r = V + F."""
        n, psi = self.states, self.psi
        rows = n + psi.shape[1]
        H = mass.new_zeros(rows, n, rows, n)
        # w (diag q − q qᵀ), summed over points for each j, and over j for each point
        whole = torch.diag_embed(mass.sum(1)) - mass.mT @ q
        for j in range(n):
            H[j, :, j, :] = torch.diag(mass[:, j].sum(0)) - mass[:, j].T @ q[:, j]
            for f in range(psi.shape[1]):
                weighted = psi[:, f, None] * mass[:, j]
                cross = torch.diag(weighted.sum(0)) - weighted.T @ q[:, j]
                H[j, :, n + f, :] = cross
                H[n + f, :, j, :] = cross.T
        for f in range(psi.shape[1]):
            H[n + f, :, n:, :] = ((psi * psi[:, f, None]).T @ whole.flatten(1)).view(-1, n, n).permute(1, 0, 2)
        return H

    def inverse(self, mass: Tensor, q: Tensor) -> Inverse:
        H = self.hessian(mass, q)
        rows, n = H.shape[:2]
        flat = H.view(rows * n, rows * n)
        scale = float(flat.diagonal().mean())
        # The softmax does not see a common shift of the logits; whatever fills that direction does no harm.
        index = torch.arange(rows, device=H.device)
        H[index, :, index, :] += scale / n
        flat.diagonal().add_(1e-9 * scale)
        factor = torch.linalg.cholesky(flat)
        return lambda r: torch.cholesky_solve(r.reshape(-1, 1), factor).reshape(rows, n)


def fit_regression(
    psi: Float[Tensor, "N F"],
    x: Float[Tensor, "N V"],
    start: Tensor | None = None,
    tolerance: float = 1e-10,
    precondition: Inverse | None = None,
) -> Solved:
    """θ[F, V] that minimises −mean Σ_i x_i log softmax(ψθ)_i, for whitened ψ and frequencies x.

    precondition: that of a fit nearby.
    """
    if start is None:  # the constant function's frequencies
        ones = torch.linalg.lstsq(psi, torch.ones_like(psi[:, :1])).solution
        start = torch.mul(ones, (x.mean(0) + 1e-6).log())
    return _newton(_Regression(psi), x / len(x), start, tolerance, precondition)


def log_linear(psi: Float[Tensor, "N F"], x: Float[Tensor, "N V"]) -> Float[Tensor, "F V"]:
    """The least-squares θ of log x, the start of a fit to positive x without noise."""
    return torch.linalg.lstsq(psi, x.log()).solution


def fit_kernel(
    psi: Float[Tensor, "N F"],
    counts: Float[Tensor, "N V V"],
    start: Tensor | None = None,
    tolerance: float = 1e-9,
) -> Solved:
    """θ[V + F, V], rows θ_B[j] and then θ_C, for counts[k, j, i] of transitions j → i under ψ_k."""
    V = counts.shape[-1]
    if start is None:
        total = counts.sum(0) + 0.1
        base = (total / total.sum(-1, keepdim=True)).log()
        start = torch.cat([base, base.new_zeros(psi.shape[1], V)])
    return _newton(_Kernel(psi, V), counts / counts.sum(), start, tolerance, ridge=KERNEL_RIDGE)


def kernel_at(theta: Tensor, psi: Float[Tensor, "N F"]) -> Float[Tensor, "N V V"]:
    """K[k, i, j] of a fitted kernel at ψ_k: columns of sum one."""
    V = theta.shape[1]
    return (theta[:V] + (psi @ theta[V:])[:, None, :]).softmax(-1).mT


def _newton(
    model: _Linear,
    target: Tensor,
    start: Tensor,
    tolerance: float,
    precondition: Inverse | None = None,
    most: int = 40,
    inner: int = 60,
    ridge: float = RIDGE,
) -> Solved:
    """Minimise −Σ target log softmax(model.logits(θ))."""
    weight = target.sum(-1, keepdim=True)
    frequency = target.flatten(0, -2).sum(0).clamp_min(1e-12)

    def loss(theta: Tensor) -> Tensor:
        return -(target * model.logits(theta).log_softmax(-1)).sum() + 0.5 * ridge * (theta.square() * frequency).sum()

    theta, value, size = start, loss(start), torch.inf
    for step in range(most):
        q = model.logits(theta).softmax(-1)
        mass = weight * q
        gradient = model.adjoint(mass - target) + ridge * frequency * theta
        size = float(gradient.norm())
        if size <= tolerance:
            return Solved(theta, size, step, precondition)
        # Where the Hessian is cheap to invert it is inverted anew; elsewhere that of the start serves all the way.
        if precondition is None or isinstance(model, _Kernel):
            precondition = model.inverse(mass, q)

        def curvature(D: Tensor, q: Tensor = q, mass: Tensor = mass) -> Tensor:
            z = model.logits(D)
            return model.adjoint(mass * (z - (q * z).sum(-1, keepdim=True))) + ridge * frequency * D

        direction = _conjugate_gradients(curvature, -gradient, precondition, min(0.1, size), inner)
        slope, length = float((gradient * direction).sum()), 1.0
        while length > 1e-6:
            trial = theta + length * direction
            after = loss(trial)
            # Near the optimum the decrease drowns in the rounding of the loss; the full step is right there.
            if -slope < 1e-13 or float(after) <= float(value) + 1e-4 * length * slope:
                break
            length *= 0.5
        else:
            return Solved(theta, size, step, precondition)
        theta, value = trial, after
    return Solved(theta, size, most, precondition)


def _conjugate_gradients(
    curvature: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Inverse,
    relative: float,
    most: int,
) -> Tensor:
    solution, residual = torch.zeros_like(right), right
    z = precondition(residual)
    direction, product = z, float((residual * z).sum())
    stop = relative**2 * product
    for _ in range(most):
        image = curvature(direction)
        along = float((direction * image).sum())
        if along <= 0:  # rounding, in a direction that the loss does not see
            break
        step = product / along
        solution, residual = solution + step * direction, residual - step * image
        z = precondition(residual)
        product, before = float((residual * z).sum()), product
        if product <= stop:
            break
        direction = z + product / before * direction
    return solution
