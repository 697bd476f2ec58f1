"""Random generators for the exact claims: many sizes; dense, sparse, and metastable with rates over many decades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
COUNT = 1000  # over all sizes
KINDS = ("dense", "sparse", "metastable")
BARRIER = (5.0, 20.0)


def random_generators(
    seed: int, *, sizes: tuple[int, ...] = SIZES, count: int = COUNT, kinds: tuple[str, ...] = KINDS
) -> Iterator[Tensor]:
    """Batches A[count / len(sizes), n, n], float64, irreducible, one of each size; the kinds in turn within each.

    Dense: ln rates ~ N(0, 4), a spread of about e^{±6}. Sparse: half of these rates are zero, but for a ring through
    all states that keeps one recurrent class. Metastable: the states fall into two groups, and each generator divides
    all rates between them by its own e^B, B uniform on `BARRIER`.
    """
    import torch

    from theory import from_rates

    rng = torch.Generator().manual_seed(seed)
    each = count // len(sizes)
    for n in sizes:
        rates = torch.randn(each, n, n, generator=rng, dtype=torch.float64).mul(2.0).exp()
        kind = [kinds[k % len(kinds)] for k in range(each)]
        sparse, metastable = (torch.tensor([one == name for one in kind])[:, None, None] for name in KINDS[1:])
        ring = torch.eye(n, dtype=torch.bool).roll(1, 0)
        cut = torch.rand(each, n, n, generator=rng) < 0.5
        rates = torch.where(sparse & cut & ~ring, 0.0, rates)
        low, high = BARRIER
        barrier = low + (high - low) * torch.rand(each, generator=rng, dtype=torch.float64)
        group = torch.arange(n) < n // 2
        between = group[:, None] != group[None, :]
        yield from_rates(torch.where(metastable & between, rates * torch.exp(-barrier)[:, None, None], rates))


def random_probabilities(A: Tensor, seed: int) -> Tensor:
    """x[..., n], uniform on the simplex, one for each A[..., n, n]."""
    import torch

    rng = torch.Generator().manual_seed(seed)
    e = -torch.rand(A.shape[:-1], generator=rng, dtype=A.dtype).clamp_min(1e-300).log()
    return e / e.sum(-1, keepdim=True)


def condition(A: Tensor) -> Tensor:
    """κ(A) = ‖A‖₁ ‖A^#‖₁ [...]: a relative error η in A moves p_st by up to κ η in the 1-norm (Meyer 1994)."""
    from theory import group_inverse

    norm = A.abs().sum(-2).amax(-1)
    return norm * group_inverse(A).abs().sum(-2).amax(-1)
