"""A φ_θ trained on a variational objective and held against p_st at fresh y.

Tanh units are drawn for the box of y, and the last layer is found by SciPy's minimisers.

φ_θ(y) = softmax(C ϕ(y)) is the network's own `PhiTheta`; the objective is a mean over values of y of what is to be
minimised at each. Only the last layer C is trained, in the leading principal directions of the units, as in the fits of
the headline (verify/fits/features.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claims._minimised import PERIOD, RATIO_TOLERANCE, TOLERANCE
from verify.claims._systems import WIDEST, OnSystem

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from network import PhiTheta
    from theory import FastSlowSystem

    # (A[k, n, n], q[k, n]) -> values[k], gradients[k, n] in q
    Batched = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

PAIRS, WIDTH, SPREAD, DIRECTIONS = 160, 128, 0.7, 36
STEPS = 300
POOR = 1e-3  # a φ_θ that misses exact pairs by more cannot say what its objective is drawn to
BLOCKS, FRESH = 600, 200  # block means for the cross-entropy; points that φ_θ is held against


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


def judged(system: FastSlowSystem, label: str, phi: Any, moved: float = 0.0, *, seed: int) -> OnSystem:
    """1 − mean TV(φ_θ(y), p_st(y)) at fresh y. Its doubt is what the same network misses of exact pairs (y, p_st), and
    how far the optimiser was still moving."""
    import torch

    from theory import certificate, stationary_distribution, total_variation

    def exact(y: Tensor) -> Tensor:
        return stationary_distribution(system.A(y))

    y = system.uniform(FRESH, seed=seed + 5)
    A, p = system.A(y), exact(y)
    with torch.no_grad():
        q, reached = phi(y), learned_from_pairs(system, exact, seed)(y)
    tv, bound = total_variation(q, p), certificate(A, q)
    floor = float(total_variation(reached, p).mean())
    rows = [{"tv": float(tv.mean()), "certificate_tv": float(bound.mean()), "floor_tv": floor}]
    if bool((tv > bound).any()):
        return OnSystem(label, 1.0, 0.0, (0.0, 0.0), "the gap exceeds its certificate", TOLERANCE, rows)
    if floor > POOR:
        reason = f"this φ_θ misses exact pairs (y, p_st) by {floor:.1e} in TV: too much to see what it is drawn to"
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE, rows)
    measured, doubt = 1.0 - float(tv.mean()), 3.0 * (floor + moved) + TOLERANCE
    return OnSystem(label, 1.0, measured, (measured - doubt, measured + doubt), "", rows=rows)


def judged_cross_entropy(
    system: FastSlowSystem, label: str, seed: int, seen_as: Callable[[Any], Tensor] = lambda seen: seen.x
) -> OnSystem:
    """φ_θ of the least cross-entropy on the block means of the token clock: its departure from p_st along the
    predicted leading term, 1 if it learns E[x | y] = p_ε(y). seen_as: what a mutant trains on in the place of x̄.

    The figure is the projection ⟨φ_θ − p_st, leading⟩/‖leading‖², so that a departure of another sign or in other
    states does not pass; what is off at right angles widens the interval.
    """
    import torch

    from theory import stationary_distribution
    from verify.fits import get_fit
    from verify.observe.clock import default_step, observe

    step = default_step(system, "exp")
    seen, fresh = (
        observe(system, PERIOD, step=step, kernel="exp", count=count, seed=2 * seed + k)
        for k, count in enumerate((BLOCKS, FRESH))
    )
    leading = fresh.leading_term(system)
    size = leading.square().sum()
    if float(size.sqrt()) < 1e-12:
        return OnSystem(label, 1.0, None, None, "no O(ε) term: p_ε is p_st to rounding", RATIO_TOLERANCE)
    if not seen.settled:
        return OnSystem(label, 1.0, None, None, seen.why_not, RATIO_TOLERANCE)
    phi = get_fit("multinomial")(seen.y, seen_as(seen), seed=seed).phi_theta
    p = stationary_distribution(system.A(fresh.y))
    with torch.no_grad():
        away, learned = phi(fresh.y) - p, phi(fresh.y) - fresh.x
    ratio = float((away * leading).sum() / size)
    floor = float((learned.square().sum() / size).sqrt())  # what φ_θ misses of x̄ itself, in the 2-norm
    rows = [{"ratio": ratio, "learning": floor}]
    if seen_as(seen) is seen.x and floor > WIDEST / 2:
        reason = f"this φ_θ misses the block means by {floor:.1e} of the gap: too much to see what it is drawn to"
        return OnSystem(label, 1.0, None, None, reason, RATIO_TOLERANCE, rows)
    doubt = min(floor, 0.01)
    return OnSystem(label, 1.0, ratio, (ratio - doubt, ratio + doubt), "", RATIO_TOLERANCE, rows)


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
