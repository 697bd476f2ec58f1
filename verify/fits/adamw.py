"""Mini-batch AdamW on the cross-entropy: the ordinary training loop of a network, and the floor that it leaves."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from network import PhiTheta
from verify.fits import Fit
from verify.fits.features import draw_features

WIDTH = 256
STEPS = 2000
BATCH = 256
PEAK_RATE = 3e-3
SETTLED = 0.05


def fit(y: Float[Tensor, "k m"], x: Float[Tensor, "k n"], *, seed: int, device: str = "cpu") -> Fit:
    """Fit every weight of φ_θ to pairs y[k, m], x[k, n] by AdamW with a cosine rate, on any device.

    `converged` is whether the mean loss of the last tenth of the steps lies within 5 % of that of the tenth before.
    """
    y, x = y.to(device), x.to(device)
    phi: PhiTheta = draw_features(y, x.shape[-1], width=WIDTH, spread=1.0, seed=seed)
    optimiser = torch.optim.AdamW(phi.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    order = torch.Generator("cpu").manual_seed(seed)
    losses = torch.zeros(STEPS, dtype=y.dtype, device=y.device)
    for step in range(STEPS):
        chosen = torch.randint(len(y), (BATCH,), generator=order).to(y.device)
        target = x[chosen]
        divergence = (torch.special.xlogy(target, target) - target * phi.log_prob(y[chosen])).sum(-1).mean()
        optimiser.zero_grad()
        divergence.backward()
        optimiser.step()
        schedule.step()
        losses[step] = divergence.detach()
    tenth = STEPS // 10
    before, last = float(losses[-2 * tenth : -tenth].mean()), float(losses[-tenth:].mean())
    converged = abs(last - before) <= SETTLED * before
    state = "loss settled" if converged else f"loss still falling ({before:.1e} to {last:.1e})"
    return Fit(phi, converged, f"AdamW, {STEPS} steps of {BATCH} pairs, width {WIDTH}, {state}")
