"""The distance in which every gap is reported: total variation."""

from __future__ import annotations

from torch import Tensor

from theory.arguments import check_broadcast
from theory.generators.checks import as_real_tensor
from theory.kinds import Dense


def total_variation(p: Dense, q: Dense) -> Tensor:
    """TV(p, q) = ½ ‖p − q‖₁ [...] of p[..., n] and q[..., n]; for probability vectors between 0 and 1.

    Raises `ValueError` where one holds no real vectors, or their shapes do not belong together.

    Examples:
        >>> import theory
        >>> theory.total_variation([0.5, 0.5], [0.75, 0.25])
        tensor(0.2500, dtype=torch.float64)
    """
    p, q = as_real_tensor(p, "p"), as_real_tensor(q, "q")
    if p.ndim == 0 or q.ndim == 0 or p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p and q must be [..., n] with the same n, got {list(p.shape)} and {list(q.shape)}")
    check_broadcast(p=p.shape[:-1], q=q.shape[:-1])
    return 0.5 * (p - q).abs().sum(-1)
