"""The Donsker–Varadhan rate I(q) = sup_{u > 0} −Σ q_i (Aᵀu)_i/u_i of a generator A, and its gradient in q.

With u = e^v it is Σ q_i |A_ii| − min_v Σ_{i≠j} q_i A_ji e^{v_j − v_i}, and ∂I/∂q_i = −(Aᵀu*)_i/u*_i. It is zero at
p_st alone (Donsker & Varadhan, Comm. Pure Appl. Math. 28 (1975) 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def donsker_varadhan_at(A: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray]:
    """I(q) and ∂I/∂q [n] of a single A[n, n] at q[n]."""
    value, gradient = donsker_varadhan(A[None], q[None])
    return float(value[0]), gradient[0]


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
        step = _newton_step(curvature, slope)
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


def _newton_step(curvature: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """−curvature⁻¹ slope [k, n]; of least norm where rates that underflow leave a curvature[k, n, n] singular."""
    import numpy as np

    try:
        return np.linalg.solve(curvature, -slope[..., None])[..., 0]
    except np.linalg.LinAlgError:
        pairs = zip(curvature, slope, strict=True)
        return np.stack([np.linalg.lstsq(one, -right, rcond=None)[0] for one, right in pairs])
