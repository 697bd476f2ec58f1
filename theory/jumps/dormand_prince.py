"""One explicit Runge-Kutta step of order 5 for a batch, with its error estimate and its values in between.

The pair 5(4) of Dormand & Prince (*J. Comput. Appl. Math.* 6 (1980) 19) with the interpolant of order 4 of Shampine
(*Math. Comp.* 46 (1986) 135), for callers that choose and check their own step sizes, one per element of the batch. Not
for stiff equations: the step must resolve their fastest rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
# Row k holds the coefficients of θ, θ², θ³, θ⁴ with which stage k enters z(θ), 0 <= θ <= 1.
_BETWEEN = (
    (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
    (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
)


@dataclass(frozen=True, eq=False)
class Step:
    """A step of size h[B] from start[B, d]: its end, the estimated error [B] (largest entry), and all between."""

    start: Tensor
    end: Tensor
    error: Tensor
    h: Tensor
    stages: Tensor

    def at(self, theta: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """z at the fraction theta[...] of the step, 0 to 1, for the chosen rows of the batch."""
        powers = torch.stack([theta, theta**2, theta**3, theta**4], -1)
        weights = powers @ torch.tensor(_BETWEEN, dtype=theta.dtype, device=theta.device).T
        return self.start[rows] + self.h[rows, None] * (weights[..., None] * self.stages[rows]).sum(-2)


def dormand_prince_step(f: Callable[[Tensor], Tensor], z: Tensor, h: Tensor) -> Step:
    """Advance dz/dt = f(z), z[B, d], by h[B]: seven evaluations of f."""
    stages: list[Tensor] = []
    here, wide = z, h[:, None]
    for row in _STAGES:
        here = z + wide * _combined(row, stages) if stages else z
        stages.append(f(here))
    error = (wide * _combined(_ERROR, stages)).abs().amax(-1)
    return Step(start=z, end=here, error=error, h=h, stages=torch.stack(stages, -2))


def _combined(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    terms = [weight * stage for weight, stage in zip(weights, stages, strict=True) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
