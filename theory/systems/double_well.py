"""A particle in a double well on 64 sites: metastable, with detailed balance; barrier and tilt are the slow variables.

On sites s_k, evenly spaced over [−2, 2], the energy (in units of kT) is V(s; y) = y₁ (s² − 1)² − y₂ s with barrier 2
<= y₁ <= 12 and tilt −2 <= y₂ <= 2. Jumps to a neighbour happen at Glauber's rate (J. Math. Phys. 4, 294, 1963), 10 /
(1 + e^{ΔV}) per unit of time, which is bounded and satisfies detailed balance, so p_k ∝ e^{−V(s_k)} exactly: down to
1e-50 at the edge of the box, where algorithms that subtract are lost. The spectral gap falls like e^{−barrier}; it is
computed to relative accuracy from the Green function of the edges (see `_nearest_neighbour`).

The tilt opposes the mean position and the barrier is drawn to 8, higher while the particle sits on the rim:

    dy₁/dt = 8 + ½ (⟨s²⟩ − 1) − y₁,     dy₂/dt = −½ y₂ − ½ ⟨s⟩,

which keeps the box forward invariant whatever x is (⟨s²⟩ <= 4, |⟨s⟩| <= 2), also under y <- y + h g for h <= 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem
from theory.systems._nearest_neighbour import relaxation_gap, tridiagonal

_N = 64
_RATE = 10.0


def _sites(y: Tensor) -> Tensor:
    return torch.linspace(-2.0, 2.0, _N, dtype=torch.float64).to(device=y.device, dtype=y.dtype)


def energy(y: Tensor) -> Tensor:
    """V(s_k; y)[..., 64] in units of kT."""
    s = _sites(y)
    return y[..., 0, None] * (s.square() - 1.0).square() - y[..., 1, None] * s


def _rates(y: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.linspace(-2.0, 2.0, _N, dtype=torch.float64)
    wall = (s.square() - 1.0).square().diff().to(device=y.device, dtype=y.dtype)
    spacing = s.diff().to(device=y.device, dtype=y.dtype)
    rise = y[..., 0, None] * wall - y[..., 1, None] * spacing
    return _RATE * torch.sigmoid(-rise), _RATE * torch.sigmoid(rise)


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 64, 64], tridiagonal, Glauber's rates per unit of time."""
    return tridiagonal(*_rates(y))


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 2] of (barrier, tilt)."""
    s = _sites(y)
    mean, square = (x * s).sum(-1), (x * s.square()).sum(-1)
    return torch.stack([8.0 + 0.5 * (square - 1.0) - y[..., 0], -0.5 * (y[..., 1] + mean)], -1)


def stationary(y: Tensor) -> Tensor:
    """p_st(y)[..., 64] ∝ e^{−V}."""
    return (-energy(y)).softmax(-1)


def spectral_gap(y: Tensor) -> Tensor:
    """The gap[...] to relative accuracy, at barriers too where eigenvalues of A are rounding noise."""
    return relaxation_gap(_rates(y)[0], stationary(y))


def system() -> FastSlowSystem:
    """The double well on barrier [2, 12] × tilt [−2, 2]."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=_N,
        n_slow=2,
        low=[2.0, -2.0],
        high=[12.0, 2.0],
        name="double_well",
        stationary=stationary,
        spectral_gap=spectral_gap,
        reversible=True,
        remarks=(
            "p_st and gap known to relative accuracy. At step 0.05 and period 65,536 a block relaxes (gap >= 2.4e-3) "
            "only where the barrier is below 4 (5 at full tilt); the slow flow settles at barrier 8, gap 9e-5, which "
            "needs a period of 2 million, and barrier 12 needs 60 million: a gap measured there is not the O(ε) one"
        ),
    )
