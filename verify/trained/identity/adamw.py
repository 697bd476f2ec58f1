"""φ_θ as an optimiser leaves it: copies trained by AdamW side by side, for the floor that Newton's fit is free of."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from network import PhiTheta

STEPS, BATCH, RATE = 2000, 512, 1e-2


def by_adamw(phi_theta: PhiTheta, y: Tensor, targets: Tensor, at: Tensor) -> Tensor:
    """φ_θ(at) [k, M, n] of copies of φ_θ, each trained further by AdamW in float32, as networks are, on its own pairs
    (y, targets[k, N, n]); side by side, which changes nothing: AdamW goes entry by entry."""
    phi = _LogProb(copy.deepcopy(phi_theta).float())
    state = {name: p.detach().expand(len(targets), *p.shape).clone() for name, p in phi.named_parameters()}
    for parameter in state.values():
        parameter.requires_grad_(True)

    def log_prob(parameters: dict[str, Tensor], points: Tensor) -> Tensor:
        buffers = {name: buffer.to(points.dtype) for name, buffer in phi.named_buffers()}
        return vmap(lambda own: functional_call(phi, {**own, **buffers}, (points,)))(parameters)

    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(state.values(), lr=RATE, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    y, targets = y.float(), targets.float()
    for _ in range(STEPS):
        rows = torch.randint(len(y), (min(BATCH, len(y)),), generator=rng).to(y.device)
        loss = -(targets[:, rows] * log_prob(state, y[rows])).sum() / len(rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return log_prob({name: p.double() for name, p in state.items()}, at).exp()


class _LogProb(torch.nn.Module):
    """log φ_θ as a module's own output, for `functional_call`."""

    def __init__(self, phi: PhiTheta) -> None:
        super().__init__()
        self.phi = phi

    def forward(self, y: Tensor) -> Tensor:
        return self.phi.log_prob(y)
