"""Softmax models that are linear in their unknowns, at the optimum of the cross-entropy.

The loss is convex in logits that are linear in the unknowns θ[r, V]. Two such models are used, on the same features ψ:

    regression   logits(y)_i    = (ψ(y) θ)_i              φ(y), the law of x_0 or x_P given y
    kernel       logits(y)_i|j  = θ_B[j, i] + (ψ(y) θ_C)_i   a transition kernel K(y)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from verify.trained.identity.newton import Inverse, Solved, conjugate_gradients, newton

DENSE = 2000  # unknowns up to which the Hessian of a regression is formed and factored
CHUNK = 2**24  # entries of the weighted features of one chunk of points, 128 MB
KERNEL_RIDGE = 1e-8  # symbols that never follow would drift to −∞ for ever
UNSEEN = 1e-12  # share at which a symbol that is never seen starts
CUTOFF = 1e-9  # directions of ψ below this, relative to the largest, would carry rounding


def whitening(psi: Float[Tensor, "N F"], cutoff: float = CUTOFF) -> Float[Tensor, "F G"]:
    """T such that ψT has unit second moment over the rows, directions below the cutoff left out."""
    _, sizes, V = torch.linalg.svd(psi / len(psi) ** 0.5, full_matrices=False)
    kept = sizes > cutoff * sizes[0]
    return V[kept].T / sizes[kept]


class _Regression:
    """ψθ, with whitened ψ: the Hessian is Σ_k w_k ψ_k ψ_kᵀ ⊗ (diag q_k − q_k q_kᵀ), about I ⊗ diag p̄."""

    patience = 30  # a step of conjugate gradients is far cheaper than the Hessian

    def __init__(self, psi: Tensor) -> None:
        self.psi = psi

    def logits(self, theta: Tensor) -> Tensor:
        return self.psi @ theta

    def adjoint(self, r: Tensor) -> Tensor:
        return self.psi.T @ r

    def hessian(self, mass: Tensor, q: Tensor) -> Tensor:
        """[r, V, r, V]."""
        rows, n = self.psi.shape[1], q.shape[1]
        H = mass.new_zeros(rows, n, rows, n)
        count = max(1, CHUNK // (rows * n))
        for psi, m, c in zip(self.psi.split(count), mass.split(count), q.split(count), strict=True):
            for f in range(rows):
                products = psi * psi[:, f, None]
                weighted = (products[:, :, None] * m[:, None, :]).flatten(1)
                block = torch.diag_embed(products.T @ m) - (weighted.T @ c).view(rows, n, n)
                H[f] += block.permute(1, 0, 2)
        return H

    def inverse(self, mass: Tensor, q: Tensor, ridge: Tensor) -> Inverse:
        if self.psi.shape[1] * q.shape[1] <= DENSE:
            return _factored(self.hessian(mass, q), ridge)
        frequency = mass.sum(0).clamp_min(1e-12)
        return lambda r: r / frequency


class _Kernel:
    """θ_B[j] + ψθ_C: few enough unknowns for Cholesky factors of the Hessian."""

    patience = 2  # the Hessian costs about as much as a few steps of conjugate gradients

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
        basis = torch.cat([torch.ones_like(psi[:, :1]), psi], 1)
        for j in range(n):
            weighted = (basis[:, :, None] * mass[:, j, None, :]).flatten(1)
            block = torch.diag_embed(basis.T @ mass[:, j]) - (weighted.T @ q[:, j]).view(-1, n, n)
            H[j, :, j, :] = block[0]
            H[j, :, n:, :] = block[1:].permute(1, 0, 2)
            H[n:, :, j, :] = block[1:].permute(0, 2, 1)
        for f in range(psi.shape[1]):
            H[n + f, :, n:, :] = ((psi * psi[:, f, None]).T @ whole.flatten(1)).view(-1, n, n).permute(1, 0, 2)
        return H

    def inverse(self, mass: Tensor, q: Tensor, ridge: Tensor) -> Inverse:
        return _factored(self.hessian(mass, q), ridge)


def _factored(H: Tensor, ridge: Tensor) -> Inverse:
    """Solves by the Cholesky factor of a Hessian[r, V, r, V] with ridge[V] on its diagonal."""
    rows, n = H.shape[:2]
    flat = H.view(rows * n, rows * n)
    scale = float(flat.diagonal().mean())
    # The softmax does not see a common shift of the logits; whatever fills that direction does no harm.
    index = torch.arange(rows, device=H.device)
    H[index, :, index, :] += scale / n
    flat.diagonal().add_(ridge.repeat(rows) + 1e-12 * scale)
    factor = torch.linalg.cholesky(flat)
    return lambda r: torch.cholesky_solve(r.reshape(-1, 1), factor).reshape(rows, n)


def fit_regression(
    psi: Float[Tensor, "N F"],
    x: Float[Tensor, "N V"],
    start: Tensor | None = None,
    tolerance: float = 1e-10,
    precondition: Inverse | None = None,
    weight: Tensor | None = None,
) -> Solved:
    """θ[F, V] that minimises −Σ_k w_k Σ_i x_ki log softmax(ψ_k θ)_i, for whitened ψ and frequencies x.

    weight: w[N], of sum one (None: all the same). precondition: that of a fit nearby.
    """
    target = x / len(x) if weight is None else weight[:, None] * x
    if start is None:  # the constant function's frequencies
        ones = torch.linalg.lstsq(psi, torch.ones_like(psi[:, :1])).solution
        start = torch.mul(ones, (target.sum(0) + UNSEEN).log())
    return newton(_Regression(psi), target, start, tolerance, precondition)


def response(
    psi: Float[Tensor, "N F"], theta: Float[Tensor, "F V"], v: Float[Tensor, "N V"], weight: Float[Tensor, " N"]
) -> Float[Tensor, "F V"]:
    """How θ of `fit_regression` moves with its target, x → x + v: H⁻¹ Σ_k w_k ψ_k ⊗ v_k, the H of the optimum.

    v: of row sums zero. With it softmax(ψθ) moves by q ⊙ (z − q·z), z = ψ dθ.
    """
    model = _Regression(psi)
    q = model.logits(theta).softmax(-1)
    mass = weight[:, None] * q
    right = model.adjoint(weight[:, None] * v)

    def curvature(D: Tensor) -> Tensor:
        z = model.logits(D)
        return model.adjoint(mass * (z - (q * z).sum(-1, keepdim=True)))

    return conjugate_gradients(curvature, right, model.inverse(mass, q, torch.zeros_like(q[0])), 1e-12, 60)[0]


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
        # What is never seen starts about where the ridge holds it: each Newton step would bring it nearer by e alone.
        total = counts.sum(0) + 20 * KERNEL_RIDGE * counts.sum((0, 1)).clamp_min(1e-12)
        base = (total / total.sum(-1, keepdim=True)).log()
        start = torch.cat([base, base.new_zeros(psi.shape[1], V)])
    return newton(_Kernel(psi, V), counts / counts.sum(), start, tolerance, ridge=KERNEL_RIDGE)


def kernel_at(theta: Tensor, psi: Float[Tensor, "N F"]) -> Float[Tensor, "N V V"]:
    """K[k, i, j] of a fitted kernel at ψ_k: columns of sum one."""
    V = theta.shape[1]
    return (theta[:V] + (psi @ theta[V:])[:, None, :]).softmax(-1).mT
