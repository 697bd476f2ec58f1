"""The distance in which every gap is reported: total variation."""

from __future__ import annotations

from torch import Tensor


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """TV(p, q) = ½ ‖p − q‖₁ [...] of p[..., n] and q[..., n]; for probability vectors between 0 and 1."""
    return 0.5 * (p - q).abs().sum(-1)
