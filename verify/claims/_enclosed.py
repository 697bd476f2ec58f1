"""Every route to p_st held against its proven enclosure (`theory.enclosure`, extra `rigorous`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ELIMINATION = 4.0  # times n η, entry by entry: the stated error of the elimination
POINTS = 4  # of y, on each built-in system


def outside(A: Tensor, p: Tensor, routes: dict[str, Tensor], allowed: Tensor) -> dict[str, float]:
    """How far each route lies outside the enclosure, over its own stated error (at most 1: within).

    The elimination states 4 n η of each entry; the other routes state `allowed`[...] in TV, their rounding times the
    condition. `certificate` is held against the enclosure as a bound: TV(q, p) over it, for q by each route.
    """
    from theory import certificate, enclosure

    lower, upper = enclosure(A)
    found = {"enclosure: elimination": _entrywise(p, lower, upper)}
    for name, q in routes.items():
        away = ((lower - q).clamp_min(0.0) + (q - upper).clamp_min(0.0)).sum(-1) / 2
        found[f"enclosure: {name}"] = _largest(away / allowed)
        found["enclosure: certificate"] = max(
            found.get("enclosure: certificate", 0.0), _largest(away / certificate(A, q / q.sum(-1, keepdim=True)))
        )
    return found


def outside_on_systems(seed: int, elimination: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """The elimination and the certificate against the enclosure on every built-in system: the worst ratio of each."""
    from theory import certificate, enclosure, get_system, list_systems, stationary_distribution

    found = {"enclosure, systems: elimination": 0.0, "enclosure, systems: certificate": 0.0}
    for name in list_systems():
        system = get_system(name)
        A = system.A(system.uniform(POINTS, seed=seed))
        lower, upper = enclosure(A)
        p = elimination(stationary_distribution(A))
        q = 0.99 * p + 0.01 / A.shape[-1]
        away = ((lower - q).clamp_min(0.0) + (q - upper).clamp_min(0.0)).sum(-1) / 2
        ratios = {"elimination": _entrywise(p, lower, upper), "certificate": _largest(away / certificate(A, q))}
        for what, ratio in ratios.items():
            found[f"enclosure, systems: {what}"] = max(found[f"enclosure, systems: {what}"], ratio)
    return found


def _entrywise(p: Tensor, lower: Tensor, upper: Tensor) -> float:
    """max over entries of the distance to [lower, upper] over 4 n η upper; below the normal range, over one unit."""
    import torch

    limits = torch.finfo(p.dtype)
    away = (lower - p).clamp_min(0.0) + (p - upper).clamp_min(0.0)
    stated = ELIMINATION * p.shape[-1] * limits.eps / 2 * upper + limits.tiny
    return _largest(away / stated)


def _largest(ratios: Tensor) -> float:
    ratio = float(ratios.max())
    return ratio if ratio == ratio else float("inf")
