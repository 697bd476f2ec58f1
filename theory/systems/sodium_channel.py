"""The sodium channel of the squid axon (Hodgkin and Huxley, J. Physiol. 117, 500, 1952): 8 states, y the voltage.

Three m gates and one h gate open and close independently; the state (k, l), index 2 k + l, has k open m gates and h
gate l = 0 inactivated or 1 available, and conducts in state (3, 1) alone. With V in mV (rest at −65 mV,
depolarisation positive), time in ms, at 6.3 °C (eqs 20, 21, 23, 24 of the paper, its V being −(V + 65) here):

    α_m = 0.1 (V + 40)/(1 − e^{−(V+40)/10}),   β_m = 4 e^{−(V+65)/18},
    α_h = 0.07 e^{−(V+65)/20},                 β_h = 1/(1 + e^{−(V+35)/10}).

α_m has a removable singularity at V = −40; there u/(1 − e^{−u}) is summed as its power series, so value and
derivatives of every order are smooth. Independent gates make p_st = Binomial(3, m∞) × Bernoulli(h∞) exactly, m∞ =
α_m/(α_m + β_m) and likewise h∞, and the eigenvalues are −(j (α_m + β_m) + l (α_h + β_h)), j = 0 … 3, l = 0, 1. A
birth–death chain times a two-state chain has detailed balance.

The membrane (C = 1 µF/cm²; leak and reversal potentials of the paper) sees the open fraction x_7:

    C dV/dt = −g_L (V − E_L) − g_Na x_7 (V − E_Na),   g_L = 0.3, g_Na = 12 mS/cm², E_L = −54.4, E_Na = 50 mV.

g_Na is a tenth of the axon's 120 mS/cm² so that a step of 0.05 ms stays below the membrane's shortest time constant
C/(g_L + g_Na) = 0.081 ms: then [−100, 50] mV is forward invariant whatever x is, in continuous time and on the token
clock.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem

_LEAK, _SODIUM = 0.3, 12.0
_E_LEAK, _E_SODIUM = -54.4, 50.0
# u/(1 − e^{−u}) = 1 + u/2 + Σ_k c_k u^{2k}, c_k = B_2k/(2k)! with Bernoulli numbers B; 5e-18 is left out at |u| = 1/2.
_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


def _linoid(u: Tensor) -> Tensor:
    # u/(1 − e^{−u}), smooth through u = 0. `where` evaluates both branches, so each gets an argument it is safe at:
    # a NaN in the branch not taken would still poison the derivative.
    near = u.abs() < 0.5
    far = torch.where(near, torch.ones_like(u), u)
    small = torch.where(near, u, torch.zeros_like(u))
    square = small.square()
    series = torch.zeros_like(u)
    for c in reversed(_SERIES):
        series = (series + c) * square
    return torch.where(near, 1.0 + 0.5 * small + series, far / -torch.expm1(-far))


def gate_rates(V: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(α_m, β_m, α_h, β_h)[...] in 1/ms at V[...] in mV."""
    alpha_m = _linoid((V + 40.0) / 10.0)
    beta_m = 4.0 * torch.exp(-(V + 65.0) / 18.0)
    alpha_h = 0.07 * torch.exp(-(V + 65.0) / 20.0)
    beta_h = torch.sigmoid((V + 35.0) / 10.0)
    return alpha_m, beta_m, alpha_h, beta_h


def _moves(y: Tensor) -> Tensor:
    # The generators of unit rate of the four moves (m opens, m closes, h opens, h closes): A(y) is linear in the rates.
    one, two = torch.eye(4, dtype=y.dtype, device=y.device), torch.eye(2, dtype=y.dtype, device=y.device)
    gates = torch.arange(1.0, 4.0, dtype=y.dtype, device=y.device)
    open_m, close_m = torch.diag(gates.flip(0), -1), torch.diag(gates, 1)
    open_h, close_h = torch.diag(two[0, :1], -1), torch.diag(two[0, :1], 1)
    jumps = [torch.kron(open_m, two), torch.kron(close_m, two), torch.kron(one, open_h), torch.kron(one, close_h)]
    return torch.stack([jump - torch.diag(jump.sum(0)) for jump in jumps])


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 8, 8] in 1/ms."""
    rates = torch.stack(gate_rates(y[..., 0]), -1)
    return (rates[..., None, None] * _moves(y)).sum(-3)


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dV/dt[..., 1] in mV/ms, the membrane equation."""
    return -_LEAK * (y - _E_LEAK) - _SODIUM * x[..., 7:8] * (y - _E_SODIUM)


def stationary(y: Tensor) -> Tensor:
    """p_st(y)[..., 8] = Binomial(3, m∞) × Bernoulli(h∞)."""
    alpha_m, beta_m, alpha_h, beta_h = gate_rates(y[..., 0])
    m, shut = alpha_m / (alpha_m + beta_m), beta_m / (alpha_m + beta_m)
    h, inactive = alpha_h / (alpha_h + beta_h), beta_h / (alpha_h + beta_h)
    activation = torch.stack([shut**3, 3.0 * m * shut**2, 3.0 * m**2 * shut, m**3], -1)
    return (activation[..., :, None] * torch.stack([inactive, h], -1)[..., None, :]).flatten(-2)


def spectral_gap(y: Tensor) -> Tensor:
    """min(α_m + β_m, α_h + β_h)[...] in 1/ms."""
    alpha_m, beta_m, alpha_h, beta_h = gate_rates(y[..., 0])
    return torch.minimum(alpha_m + beta_m, alpha_h + beta_h)


def system() -> FastSlowSystem:
    """The sodium channel on V in [−100, 50] mV."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=8,
        n_slow=1,
        low=-100.0,
        high=50.0,
        name="sodium_channel",
        stationary=stationary,
        spectral_gap=spectral_gap,
        reversible=True,
        remarks=(
            "p_st and the whole spectrum in closed form; V in mV, time in ms; the slowest gate is h with a gap down to "
            "0.11 per ms, so at step 0.05 ms a block needs a period of about 1,500 to relax"
        ),
    )
