"""A gene that represses itself: promoter free or blocked × 0 … 40 mRNA, 82 states; y the repressor protein.

In physical units: mRNA lives 2 min and is made at 7.5 per min while the promoter is free; the repressor blocks it at
4 (y/K)² per min and leaves it at 2 per min; the protein is diluted by growth in 60 min and made in proportion to the
mRNA. Fast unit 2 min, slow unit 60 min, y in units of K: ε = 2/60 = 0.033.
"""

import torch

import theory

COPIES = 41
FREED, BLOCKED, MADE = 4.0, 8.0, 15.0  # per 2 min


def generator(y: torch.Tensor) -> torch.Tensor:
    """A(y)[..., 82, 82] per 2 min: state 41 s + c, promoter s = 0 free or 1 blocked, c mRNA."""
    copies = torch.arange(COPIES, dtype=y.dtype)
    decay = torch.diag_embed(copies[1:], offset=1)
    birth = torch.diag_embed(torch.full_like(copies[1:], MADE), offset=-1)
    same = torch.eye(COPIES, dtype=y.dtype)
    block, free = torch.zeros(2, 2, dtype=y.dtype), torch.zeros(2, 2, dtype=y.dtype)
    block[1, 0], free[0, 1] = BLOCKED, FREED
    fixed = torch.block_diag(birth + decay, decay) + torch.kron(free, same)
    blocking = y[..., 0, None, None].square() * torch.kron(block, same)
    return theory.from_rates(fixed + blocking)


def slow(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """dy/dt per 60 min: translation of the mean mRNA, dilution."""
    copies = torch.arange(COPIES, dtype=x.dtype).repeat(2)
    return 0.1 * (x * copies).sum(-1, keepdim=True) - y


def system() -> theory.FastSlowSystem:
    """On y in [0, 4], which it cannot leave: at most 40 mRNA make at most 4."""
    return theory.FastSlowSystem(
        generator=generator, slow=slow, n_states=2 * COPIES, n_slow=1, low=0.0, high=4.0, name="repressed gene"
    )
