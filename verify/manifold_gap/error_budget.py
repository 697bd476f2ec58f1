"""The error budget of one learned φ_θ: how far it is from p_st, why, what theory says, and what is proven.

gap = TV(φ_θ, p_st) splits into a pooling part TV(x̄, p_st), which theory predicts and which is proportional to ε, and a
learning part TV(φ_θ, x̄), which is the optimiser's (and, from sampled states, the sampling noise that φ_θ has kept).
Everything is a mean over fresh test points, never training points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theory import FastSlowSystem, certificate, stationary_distribution, total_variation
from verify.fits import Fit
from verify.observe import Observation
from verify.statistics.convergence import floor_limited

NEXT_FACTOR = 4.0  # how many times its estimate the next order may be
LAYER_FACTOR = 4.0  # and what is left of the layer: e^{-Phλ} knows of the slowest direction alone
ROUNDING_FACTOR = 16.0  # and rounding, whose estimate is a mean over points of one block


@dataclass(frozen=True)
class Row:
    """One period of the headline. All distances are total variations, means over the test points.

    predicted_tv: ½‖leading term‖₁, nothing fitted. continuous_tv: ½‖ε φ₁‖₁, its limit as the step h → 0.
    certificate_tv: the proven upper bound on gap_tv. certified: whether the bound held at every single test point.
    sampling_tv: the expected TV of finite sampling, 0 for noise-free pairs. gap_error: standard error of gap_tv from
    that sampling. residual: ‖x̄ − p_st − leading term‖₁ over ‖leading term‖₁, sums over the points, and residual_limit
    what the next order, the layer and rounding allow; None where theory predicts no gap, or does not know its next
    order. layer: what the start of the trajectory may still weigh. box_share: of the box that the points span.
    """

    period: int
    epsilon: float
    gap_tv: float
    predicted_tv: float
    pooling_tv: float
    learning_tv: float
    certificate_tv: float
    floor_limited: bool
    pre_asymptotic: bool
    continuous_tv: float
    sampling_tv: float
    gap_error: float
    certified: bool
    converged: bool
    why_not: str
    residual: float | None = None
    residual_limit: float | None = None
    layer: float = 0.0
    box_share: float | None = None

    @property
    def usable(self) -> bool:
        """Whether the row enters the fit."""
        return not (self.floor_limited or self.pre_asymptotic)


def budget(
    theory: FastSlowSystem, fit: Fit, test: Observation, period: int, floor: float, rounding: float = 0.0
) -> Row:
    """The row of a learned φ_θ at the test points; p_st, prediction and certificate are those of `theory`.

    rounding: the part of the floor that is arithmetic's.
    """
    A = theory.A(test.y).detach()
    p = stationary_distribution(A)
    with torch.no_grad():
        q = fit.phi_theta(test.y)
    pooled = (test.x if test.mean is None else test.mean).detach()
    gap = total_variation(q, p)
    bound = certificate(A, q)
    gap_tv = float(gap.mean())
    leading = test.leading_term(theory).detach()
    predicted = _mean_tv_of(leading)
    residual, limit = None, None
    if predicted > 0:
        residual = _mean_tv_of(pooled - p - leading) / predicted
        order = test.next_order(theory) if test.next_order is not None else None
        if order is not None:
            limit = NEXT_FACTOR * order + LAYER_FACTOR * test.layer + ROUNDING_FACTOR * rounding / predicted
    return Row(
        period=period,
        epsilon=1.0 / period,
        gap_tv=gap_tv,
        predicted_tv=predicted,
        pooling_tv=float(total_variation(pooled, p).mean()),
        learning_tv=float(total_variation(q, pooled).mean()),
        certificate_tv=float(bound.mean()),
        floor_limited=floor_limited(gap_tv, floor),
        pre_asymptotic=not test.settled,
        continuous_tv=_mean_tv_of(test.continuous_term(theory)),
        sampling_tv=test.sampling_tv,
        gap_error=fit.gap_error(test.y, p),
        certified=bool((gap <= bound).all()),
        converged=fit.converged,
        why_not=test.why_not,
        residual=residual,
        residual_limit=limit,
        layer=test.layer,
        box_share=box_share(theory, test.y),
    )


def box_share(system: FastSlowSystem, y: Tensor) -> float:
    """The share of the system's box that the smallest box around the points y[k, m] has; 0 for a single point."""
    span = (y.detach().amax(0) - y.detach().amin(0)) / (system.high - system.low).to(y)
    return float(span.clamp(max=1.0).prod())


def learning_floor(theory: FastSlowSystem, phi_of_exact_pairs: Callable[[Tensor], Tensor], y: Tensor) -> float:
    """TV(φ_θ, p_st) of a fit trained on exact pairs (y, p_st(y)), a mean over fresh points y[k, m]."""
    with torch.no_grad():
        return float(total_variation(phi_of_exact_pairs(y), stationary_distribution(theory.A(y))).mean())


def _mean_tv_of(difference: Tensor) -> float:
    return float(0.5 * difference.detach().abs().sum(-1).mean())
