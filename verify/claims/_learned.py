"""A φ_θ trained on a variational objective: tanh units drawn for the box of y, last layer by SciPy's minimisers.

φ_θ(y) = softmax(C ϕ(y)) is the network's own `PhiTheta`; the objective is a mean over values of y of what is to be
minimised at each. Only the last layer C is trained, in the leading principal directions of the units, as in the fits of
the headline (verify/fits/features.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from network import PhiTheta
    from theory import FastSlowSystem

    # (A[k, n, n], q[k, n]) -> values[k], gradients[k, n] in q
    Batched = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

PAIRS, WIDTH, SPREAD, DIRECTIONS = 160, 128, 0.7, 36
STEPS = 300


def learned_by_residual(system: FastSlowSystem, weights: Callable[[Tensor], Tensor], seed: int) -> PhiTheta:
    """φ_θ of least ½‖W(y) φ_θ(y)‖², mean over y, W[k, n, n] = weights(A), by Levenberg–Marquardt on the last layer."""
    import numpy as np
    from scipy import optimize

    problem = _LastLayer(system, seed)
    W = weights(problem.A)
    W = (W / W.abs().amax((-2, -1), keepdim=True)).numpy()

    def residual(C: np.ndarray) -> np.ndarray:
        return np.einsum("kij,kj->ki", W, problem.q(C)).ravel()

    def jacobian(C: np.ndarray) -> np.ndarray:
        q = problem.q(C)
        by_logit = W * q[:, None, :] - np.einsum("kij,kj,kl->kil", W, q, q)
        return np.einsum("kil,kr,la->kira", by_logit, problem.used, problem.basis).reshape(q.size, -1)

    found = optimize.least_squares(
        residual,
        np.zeros(problem.unknowns),
        jac=jacobian,  # type: ignore[arg-type]
        method="lm",
        max_nfev=100,
    )
    return problem.phi(found.x)


def learned_by_objective(system: FastSlowSystem, objective: Batched, seed: int) -> tuple[PhiTheta, float]:
    """φ_θ of the least mean of `objective` over y, by L-BFGS on the last layer, rates in units of the largest; and how
    far it still went over the second half of the steps, mean TV: the optimiser's own doubt."""
    import numpy as np
    from scipy import optimize

    problem = _LastLayer(system, seed)
    A = (problem.A / problem.A.abs().amax((-2, -1), keepdim=True)).numpy()

    def value(C: np.ndarray) -> tuple[float, np.ndarray]:
        q = problem.q(C)
        values, slopes = objective(A, q)
        logits = q * (slopes - (q * slopes).sum(-1, keepdims=True)) / len(q)
        return float(values.mean()), np.einsum("kl,kr,la->ra", logits, problem.used, problem.basis).ravel()

    options = {"maxiter": STEPS // 2, "maxfun": STEPS, "ftol": 0.0, "gtol": 1e-12, "maxcor": 40}
    ends = [np.zeros(problem.unknowns)]
    for _ in range(2):
        ends.append(optimize.minimize(value, ends[-1], jac=True, method="L-BFGS-B", options=options).x)
    moved = float(np.abs(problem.q(ends[2]) - problem.q(ends[1])).sum(-1).mean()) / 2
    return problem.phi(ends[2]), moved


def learned_from_pairs(system: FastSlowSystem, target: Callable[[Tensor], Tensor], seed: int) -> PhiTheta:
    """φ_θ fitted to target(y)[k, n] itself, by least squares on log-probabilities: what the network can represent."""
    import torch

    problem = _LastLayer(system, seed)
    log = target(problem.y).clamp_min(1e-300).log()
    log = (log - log.mean(-1, keepdim=True)) @ problem.contrasts
    return problem.phi(torch.linalg.lstsq(torch.from_numpy(problem.used), log, driver="gelsd").solution.numpy())


def donsker_varadhan(A: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I(q) = Σ q_i |A_ii| − min_v Σ_{i≠j} q_i A_ji e^{v_j − v_i} of each A[k, n, n], q[k, n], and ∂I/∂q.

    The inner problems are convex; Newton's method with step halving, all of them in step, in the gauge Σ v = 0.
    """
    import numpy as np

    k, n = q.shape
    own = np.arange(n)
    weights = q[:, :, None] * A.transpose(0, 2, 1)
    weights[:, own, own] = 0.0

    def flows(v: np.ndarray) -> np.ndarray:
        return weights * np.exp(np.clip(v[:, None, :] - v[:, :, None], -700.0, 700.0))

    v = 0.5 * np.log(np.maximum(q, 1e-300))
    M = flows(v)
    for _ in range(50):
        slope = M.sum(1) - M.sum(2)
        curvature = -M - M.transpose(0, 2, 1) + M.sum((1, 2))[:, None, None] / n**2
        curvature[:, own, own] += M.sum(1) + M.sum(2)
        step = np.linalg.solve(curvature, -slope[..., None])[..., 0]
        length = np.ones(k)
        for _ in range(30):
            worse = flows(v + length[:, None] * step).sum((1, 2)) > M.sum((1, 2)) * (1.0 + 1e-15)
            if not worse.any():
                break
            length[worse] *= 0.5
        v = v + length[:, None] * step
        M = flows(v)
        if np.abs(step).max() < 1e-11:
            break
    gradient = -A[:, own, own] - M.sum(2) / np.maximum(q, 1e-300)
    return (q * gradient).sum(-1), gradient


class _LastLayer:
    """The points y, A there, the directions of the hidden layer, and φ_θ as a function of its last layer C."""

    def __init__(self, system: FastSlowSystem, seed: int) -> None:
        import torch

        from verify.fits.features import design_matrix, draw_features

        y = system.uniform(PAIRS, seed=2 * seed + 11)
        self.y, self.A = y, system.A(y)
        self.network = draw_features(y, system.n_states, width=WIDTH, spread=SPREAD, seed=seed)
        design = design_matrix(self.network, y)
        _, sizes, V = torch.linalg.svd(design, full_matrices=False)
        count = min(DIRECTIONS, int((sizes > 1e-9 * sizes[0]).sum()))
        self.directions = V[:count].T * (len(y) ** 0.5 / sizes[:count])
        self.used: Any = (design @ self.directions).numpy()
        n = system.n_states
        ones = torch.cat([torch.ones(n, 1, dtype=y.dtype), torch.eye(n, dtype=y.dtype)[:, : n - 1]], -1)
        self.contrasts = torch.linalg.qr(ones).Q[:, 1:]
        self.basis: Any = self.contrasts.numpy()
        self.unknowns = count * (n - 1)

    def q(self, C: np.ndarray) -> np.ndarray:
        """φ_θ [k, n] at the points."""
        import numpy as np

        logits = self.used @ C.reshape(self.used.shape[1], -1) @ self.basis.T
        q = np.exp(logits - logits.max(-1, keepdims=True))
        return q / q.sum(-1, keepdims=True)

    def phi(self, C: np.ndarray) -> PhiTheta:
        """The network with that last layer."""
        import torch

        from verify.fits.features import set_last_layer

        last = torch.from_numpy(C.reshape(self.used.shape[1], -1))
        set_last_layer(self.network, self.directions @ last @ self.contrasts.T)
        return self.network
