"""The minimisers of three objectives at single values of y, over free softmax logits from two starts, against p_st.

The residual ½‖A q‖² and the Donsker–Varadhan rate have p_st as their only minimiser; the cross-entropy on the states of
a block has p_ε, whose distance to p_st is the predicted pooling gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from verify.claims._systems import OnSystem

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from theory import FastSlowSystem

    Objective = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]

POINTS, PERIOD = 2, 256
LARGEST = 32  # states: the Donsker–Varadhan rate is an inner minimisation over all of them at every step
TOLERANCE = 1e-4  # in TV: what the optimiser may leave
RATIO_TOLERANCE = 0.02
STEPS = 400
ATTEMPTS = 3


def minimise(system: FastSlowSystem, name: str, argmin: Callable[[Tensor, int], Tensor], seed: int) -> OnSystem:
    """1 − TV(argmin, p_st) at the worst of POINTS values of y; the spread over two starts is its interval."""
    import torch

    from theory import certificate, stationary_distribution, total_variation

    label = f"{system.name}, {name}"
    y = system.uniform(POINTS, seed=seed + 1)
    A = system.A(y)
    p = stationary_distribution(A)
    if not bool((p > 0).all()):
        reason = "p_st lies on the boundary of the simplex, which a softmax reaches at infinity only"
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE)
    ends = [torch.stack([argmin(a, seed + start) for a in A]) for start in (0, 1)]
    tv = torch.stack([total_variation(q, p) for q in ends])
    bound = torch.stack([certificate(A, q) for q in ends])
    spread = float(total_variation(*ends).max())
    rows = [{"tv": float(t), "certificate_tv": float(b)} for t, b in zip(tv.flatten(), bound.flatten(), strict=True)]
    if bool((tv > bound).any()):
        return OnSystem(label, 1.0, 0.0, (0.0, 0.0), "the gap exceeds its certificate", TOLERANCE, rows)
    if spread > 100 * TOLERANCE:
        reason = (
            f"flat: two starts end {spread:.1e} apart in TV (the wells of a metastable chain hardly see each other)"
        )
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE, rows)
    worst = float(tv.max())
    doubt = spread + TOLERANCE
    return OnSystem(label, 1.0, 1.0 - worst, (1.0 - worst - doubt, 1.0 - worst + doubt), "", rows=rows)


def minimise_rate(system: FastSlowSystem, seed: int) -> OnSystem:
    """`minimise` for the Donsker–Varadhan rate, on systems of up to LARGEST states."""
    if system.n_states <= LARGEST:
        return minimise(system, "Donsker–Varadhan", rate_argmin, seed)
    reason = f"not tried: {system.n_states} states, {LARGEST} is the most that its nested minimisation is made for"
    return OnSystem(f"{system.name}, Donsker–Varadhan", 1.0, None, None, reason, TOLERANCE)


def minimise_cross_entropy(system: FastSlowSystem, seed: int) -> OnSystem:
    """The minimiser of E[−ln φ(x)] is E[x | y] = p_ε(y): its TV to p_st over the predicted pooling gap."""
    import numpy as np
    import torch

    from theory import stationary_distribution, total_variation
    from verify.observe.clock import default_step, observe, relaxation_rate

    label = f"{system.name}, cross-entropy"
    step = default_step(system, "exp")
    seen = observe(system, PERIOD, step=step, kernel="exp", count=POINTS, seed=seed)
    p = stationary_distribution(system.A(seen.y))
    predicted = 0.5 * seen.leading_term(system).abs().sum(-1).mean()
    if float(predicted) < 1e-12:
        return OnSystem(label, 1.0, None, None, "no O(ε) term: p_ε is p_st to rounding", RATIO_TOLERANCE)
    if not seen.settled:
        return OnSystem(label, 1.0, None, None, seen.why_not, RATIO_TOLERANCE)

    def entropy_of(mean: np.ndarray) -> Objective:
        return lambda _, q: (float(-mean @ np.log(np.maximum(q, 1e-300))), -mean / np.maximum(q, 1e-300))

    A = system.A(seen.y)
    ends = [
        torch.stack([_argmin(a, entropy_of(x.numpy()), seed + s) for a, x in zip(A, seen.x, strict=True)])
        for s in (0, 1)
    ]
    spread = float(total_variation(*ends).max() / predicted)
    ratio = float(total_variation(ends[0], p).mean() / predicted)
    # A minimum known to rounding η fixes its place to √η; and the start of the block is not forgotten altogether.
    left = math.sqrt(torch.finfo(p.dtype).eps) / float(predicted)
    doubt = spread + left + math.exp(-PERIOD * step * float(relaxation_rate(system, seen.y).min()))
    rows = [{"tv": float(t)} for t in total_variation(ends[0], p)]
    return OnSystem(label, 1.0, ratio, (ratio - doubt, ratio + doubt), "", RATIO_TOLERANCE, rows)


def residual_argmin(A: Tensor, seed: int) -> Tensor:
    """Of ½‖A q‖²."""
    return _least_squares(A, _scaled(A), seed)


def transposed_argmin(A: Tensor, seed: int) -> Tensor:
    """Of ½‖Aᵀ q‖²: the mutant."""
    return _least_squares(A, _scaled(A).T, seed)


def rate_argmin(A: Tensor, seed: int) -> Tensor:
    """Of the Donsker–Varadhan rate."""
    from verify.claims._donsker_varadhan import donsker_varadhan_at

    return _argmin(A, donsker_varadhan_at, seed)


def _argmin(A: Tensor, objective: Objective, seed: int) -> Tensor:
    """The minimiser over softmax logits by BFGS; rates in units of the largest."""
    from scipy import optimize

    scaled = _scaled(A)

    def of_logits(logits: np.ndarray) -> tuple[float, np.ndarray]:
        q = _softmax(logits)
        value, gradient = objective(scaled, q)
        return value, q * (gradient - q @ gradient)

    def end(start: np.ndarray) -> tuple[float, np.ndarray]:
        options = {"gtol": 1e-14, "maxiter": STEPS}
        found = optimize.minimize(of_logits, start, jac=True, method="BFGS", options=options)
        return float(found.fun), found.x

    return _best(end, len(A), seed)


def _least_squares(A: Tensor, weights: np.ndarray, seed: int) -> Tensor:
    """The minimiser of ½‖W q‖² over softmax logits, W[n, n] = `weights`, by Levenberg–Marquardt: it sees W, not WᵀW."""
    import numpy as np
    from scipy import optimize

    def jacobian(logits: np.ndarray) -> np.ndarray:
        q = _softmax(logits)
        return weights * q[None, :] - np.outer(weights @ q, q)

    def end(start: np.ndarray) -> tuple[float, np.ndarray]:
        found = optimize.least_squares(
            lambda logits: weights @ _softmax(logits),
            start,
            jac=jacobian,  # type: ignore[arg-type]
            method="lm",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=10 * STEPS,
        )
        return float(found.cost), found.x

    return _best(end, len(A), seed)


def _best(end: Callable[[np.ndarray], tuple[float, np.ndarray]], n: int, seed: int) -> Tensor:
    """softmax of the best end from ATTEMPTS random logits: one alone may stop at a vertex, where a softmax is flat."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    _, logits = min((end(rng.normal(size=n)) for _ in range(ATTEMPTS)), key=lambda found: found[0])
    return torch.from_numpy(logits).softmax(-1)


def _scaled(A: Tensor) -> np.ndarray:
    return A.numpy() / float(A.abs().max())


def _softmax(logits: np.ndarray) -> np.ndarray:
    import numpy as np

    q = np.exp(logits - logits.max())
    return q / q.sum()
