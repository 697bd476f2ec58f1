"""The gate near zero: two variables, a saddle, and when it is left.

Behind a scalar gate the loss is L(α, θ) = L₀ + α s(θ) + ½ h α² + …, with s(θ) = E⟨∂L/∂x, c_θ⟩ the slope that c offers
at a shut gate and h the curvature along c, positive where c is mostly noise. Under gradient flow, with weight decay λ
on θ,

    α̇ = −s − h α,      ṡ = −κ² α − λ s,      κ = ‖∇_θ s‖ (held),

a linear system. Its origin (gate shut, c worthless) has determinant hλ − κ²: a saddle, left as e^{μt}, where κ² > hλ,
and *attracting* where κ² < hλ: the gate then closes on a signal that is not trained yet, and the signal, whose gradient
carries α, is never trained. With an objective of its own that keeps s at s_own ≠ 0 whatever α, the rest point is
α = −s_own/h: there is no saddle. An adaptive optimiser rescales both directions: the exponents are those of gradient
flow, the signs that decide are not its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GateModel:
    """κ, h and λ of the two-variable model, finite, κ and λ >= 0; `ValueError` otherwise."""

    kappa: float
    h: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kappa", "h", "decay"):
            value = getattr(self, name)
            if not math.isfinite(value) or (value < 0 and name != "h"):
                least = "" if name == "h" else " and >= 0"
                raise ValueError(f"{name} must be finite{least}, got {value!r}")

    @property
    def exponents(self) -> tuple[float, float]:
        """(μ₊, μ₋) = (−(h + λ) ± √((h − λ)² + 4κ²))/2."""
        root = math.hypot(self.h - self.decay, 2 * self.kappa)
        total = self.h + self.decay
        # The product of the two is hλ − κ²: no difference of nearly equal numbers.
        larger = -(total + math.copysign(root, total)) / 2
        other = (self.h * self.decay - self.kappa**2) / larger if larger else 0.0
        return max(larger, other), min(larger, other)

    @property
    def escapes(self) -> bool:
        """Whether a shut gate is left: κ² > hλ."""
        return self.exponents[0] > 0

    def path(self, t: Tensor, slope: float, alpha: float = 0.0) -> tuple[Tensor, Tensor]:
        """(α, s) at times t[k] from α(0) = `alpha` and s(0) = `slope`; float64, each [k].

        Examples:
            >>> alpha, s = GateModel(kappa=2.0).path(torch.tensor([0.0, 1.0]), slope=0.1)
            >>> [round(float(a), 4) for a in alpha]
            [0.0, -0.1813]
        """
        matrix = torch.tensor([[-self.h, -1.0], [-(self.kappa**2), -self.decay]], dtype=torch.float64)
        start = torch.tensor([alpha, slope], dtype=torch.float64)
        moved = torch.linalg.matrix_exp(matrix * t.double()[:, None, None]) @ start
        return moved[:, 0], moved[:, 1]

    def escape_time(self, slope: float, size: float) -> float:
        """When |α| reaches `size` on the way out from α = 0, s = `slope`, to leading order; inf where it never does."""
        up, down = self.exponents
        if up <= 0 or slope == 0:
            return math.inf
        return max(0.0, math.log(size * (up - down) / abs(slope)) / up)
