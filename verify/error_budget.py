"""The error budget of one learned φ_θ: how far it is from p_st, why, what theory says, and what is proven.

gap = TV(φ_θ, p_st) splits into a pooling part TV(x̄, p_st), which theory predicts and which is proportional to ε, and a
learning part TV(φ_θ, x̄), which is the optimiser's. Everything is a mean over fresh test points, never training points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theory import FastSlowSystem, certificate, stationary_distribution, total_variation
from theory.block_mean import block_mean, propagator
from verify.convergence import floor_limited
from verify.observe import Observation


@dataclass(frozen=True)
class Row:
    """One period of the headline. All distances are total variations, means over the test points.

    predicted_tv: ½‖leading term‖₁, nothing fitted. continuous_tv: ½‖ε φ₁‖₁, its limit as the step h → 0.
    certificate_tv: the proven upper bound on gap_tv. certified: whether the bound held at every single test point.
    sampling_tv: the expected TV of finite sampling, 0 for noise-free pairs. gap_error: standard error of gap_tv from
    that sampling.
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

    @property
    def usable(self) -> bool:
        """Whether the row enters the fit."""
        return not (self.floor_limited or self.pre_asymptotic)


def budget(
    theory: FastSlowSystem,
    phi: Callable[[Tensor], Tensor],
    test: Observation,
    period: int,
    floor: float,
    converged: bool,
) -> Row:
    """The row of φ at the test points; p_st, prediction and certificate are those of the system `theory`."""
    A = theory.A(test.y)
    p = stationary_distribution(A)
    with torch.no_grad():
        q = phi(test.y)
    gap = total_variation(q, p)
    bound = certificate(A, q)
    gap_tv = float(gap.mean())
    return Row(
        period=period,
        epsilon=1.0 / period,
        gap_tv=gap_tv,
        predicted_tv=float(0.5 * test.leading_term(theory).abs().sum(-1).mean()),
        pooling_tv=float(total_variation(test.x, p).mean()),
        learning_tv=float(total_variation(q, test.x).mean()),
        certificate_tv=float(bound.mean()),
        floor_limited=floor_limited(gap_tv, floor),
        pre_asymptotic=not test.settled,
        continuous_tv=float(0.5 * test.continuous_term(theory).abs().sum(-1).mean()),
        sampling_tv=test.sampling_tv,
        gap_error=0.0,
        certified=bool((gap <= bound).all()),
        converged=converged,
        why_not=test.why_not,
    )


def learning_floor(theory: FastSlowSystem, phi_of_exact_pairs: Callable[[Tensor], Tensor], y: Tensor) -> float:
    """TV(φ_θ, p_st) of a fit trained on exact pairs (y, p_st(y)), a mean over fresh points y[k, m]."""
    with torch.no_grad():
        return float(total_variation(phi_of_exact_pairs(y), stationary_distribution(theory.A(y))).mean())


def arithmetic_floor(theory: FastSlowSystem, y: Tensor, period: int, step: float, kernel: str) -> float:
    """What rounding alone makes of a gap: the unit round-off, plus the TV by which the mean of a block that starts at
    p_st(y), and should stay there, moves; a mean over y[k, m].
    """
    A = theory.A(y)
    p = stationary_distribution(A)
    mean, _ = block_mean(propagator(A, step, euler=kernel == "euler"), p, period)
    return float(total_variation(mean, p).mean()) + 0.5 * torch.finfo(y.dtype).eps
