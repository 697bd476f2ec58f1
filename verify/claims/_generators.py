"""Random generators for the exact claims: many sizes, rates over orders of magnitude, sparse ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
COUNT = 1000  # over all sizes


def random_generators(seed: int, *, sizes: tuple[int, ...] = SIZES, count: int = COUNT) -> Iterator[Tensor]:
    """Batches A[count / len(sizes), n, n], float64, irreducible, one of each size.

    ln rates ~ N(0, 4): a spread of about e^{±6}. In every second generator half of the rates are zero, but for a ring
    through all states that keeps one recurrent class.
    """
    import torch

    from theory import from_rates

    rng = torch.Generator().manual_seed(seed)
    each = count // len(sizes)
    for n in sizes:
        rates = torch.randn(each, n, n, generator=rng, dtype=torch.float64).mul(2.0).exp()
        kept = torch.rand(each, n, n, generator=rng) < 0.5
        kept[::2] = True
        ring = torch.eye(n, dtype=torch.bool).roll(1, 0)
        yield from_rates(torch.where(kept | ring, rates, 0.0))


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
