"""A gene that switches on and off (n = 32): promoter state × number of proteins, one slow variable: the inducer.

State (s, c) has index 16 s + c, promoter s = 0 off or 1 on, c = 0 … 15 proteins. Per unit of time the promoter turns
on at k_on(y) = 8 y²/(1 + y²) + 0.5 and off at k_off = 4; proteins are made at 24 while on and at 1.6 while off (none
at c = 15, the truncation) and decay at 4 each (the telegraph model: Peccoud and Ycart, Theor. Popul. Biol. 48, 222,
1995). The promoter does not see the protein, so its marginal is exact: P(on) = k_on/(k_on + k_off). Production
depends on the promoter, hence a current around each square of states: no detailed balance, and no closed form of the
truncated p_st.

The proteins consume the inducer that is fed at a constant rate:

    dy/dt = 1.2 − 0.2 y − 0.4 ⟨c⟩ y/(1 + y),

with y in [0, 6]: g > 0 at y = 0 and g <= 0 at y = 6 whatever x is, so the box is forward invariant, also under
y <- y + h g for h <= 0.16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.fast_slow import FastSlowSystem
from theory.generators.doors import from_rates

_COPIES = 16
_OFF = 4.0
_MADE = (1.6, 24.0)
_DECAY = 4.0


def switch_on(y: Tensor) -> Tensor:
    """k_on(y)[...], the rate at which the promoter turns on."""
    square = y[..., 0].square()
    return 8.0 * square / (1.0 + square) + 0.5


def _protein_rates(y: Tensor) -> Tensor:
    # Off-diagonal rates of the proteins' own jumps, the same for every y: [32, 32].
    copies = torch.arange(_COPIES, dtype=y.dtype, device=y.device)
    decay = torch.diag_embed(_DECAY * copies[1:], offset=1)
    birth = torch.diag_embed(torch.ones_like(copies[1:]), offset=-1)
    return torch.block_diag(_MADE[0] * birth + decay, _MADE[1] * birth + decay)


def generator(y: Tensor) -> Tensor:
    """A(y)[..., 32, 32]."""
    same = torch.eye(_COPIES, dtype=y.dtype, device=y.device)
    on, off = torch.zeros(2, 2, dtype=y.dtype, device=y.device), torch.zeros(2, 2, dtype=y.dtype, device=y.device)
    on[1, 0], off[0, 1] = 1.0, _OFF
    fixed = _protein_rates(y) + torch.kron(off, same)
    return from_rates(fixed + switch_on(y)[..., None, None] * torch.kron(on, same))


def slow(x: Tensor, y: Tensor) -> Tensor:
    """dy/dt[..., 1]: feed, dilution, consumption in proportion to the mean number of proteins."""
    copies = torch.arange(_COPIES, dtype=y.dtype, device=y.device).repeat(2)
    proteins = (x * copies).sum(-1, keepdim=True)
    return 1.2 - 0.2 * y - 0.4 * proteins * y / (1.0 + y)


def on_probability(y: Tensor) -> Tensor:
    """P(on)[...] = k_on/(k_on + k_off) under p_st, exactly."""
    return switch_on(y) / (switch_on(y) + _OFF)


def system() -> FastSlowSystem:
    """The gene switch on y in [0, 6]."""
    return FastSlowSystem(
        generator=generator,
        slow=slow,
        n_states=2 * _COPIES,
        n_slow=1,
        low=0.0,
        high=6.0,
        name="gene_switch",
        reversible=False,
        remarks=(
            "p_st has no closed form; its promoter marginal k_on/(k_on + k_off) is exact (`on_probability`); the "
            "spectral gap is 4 within 0.2 % (protein decay, shifted by the truncation), for every y in the box"
        ),
    )
