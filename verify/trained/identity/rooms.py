"""What a room ends with: rows, a slope with its interval, a verdict of its own vocabulary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from verify.statistics.verdict import ExactVerdict, GapVerdict, Verdict

Row = dict[str, Any]


@dataclass(frozen=True)
class Room:
    """One room. name: exact, own_world or text. rows: at least period, gap_tv, predicted_tv and residual.

    slope: d ln gap / d ln ε; slope_interval: 95 %, by bootstrap over stretches of text; constant_ratio: median of
    measured over predicted. facts: what belongs to no row.
    """

    name: str
    verdict: ExactVerdict | Verdict | GapVerdict
    reason: str
    slope: float | None
    slope_interval: tuple[float, float] | None
    constant_ratio: float | None
    rows: list[Row]
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self) | {"verdict": str(self.verdict)}


def slope_of(rows: Sequence[Row], key: str = "gap_tv") -> float | None:
    """The least-squares slope of ln gap over ln ε = −ln P; None with fewer than three rows, or a gap of zero."""
    if len(rows) < 3 or not all(row[key] > 0 for row in rows):
        return None
    x = [-math.log(row["period"]) for row in rows]
    y = [math.log(row[key]) for row in rows]
    middle, height = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def bootstrap_slope(periods: Sequence[int], gaps: Tensor, weights: Tensor) -> tuple[float, float] | None:
    """The central 95 % of the slope of the weighted mean gap: gaps[period, point], weights[replicate, point]."""
    if len(periods) < 3:
        return None
    means = torch.log((gaps @ weights.T) / weights.sum(-1))
    x = -torch.log(torch.tensor(periods, dtype=gaps.dtype, device=gaps.device))
    x = x - x.mean()
    slopes = (x @ means) / x.square().sum()
    low, high = slopes.quantile(torch.tensor([0.025, 0.975], dtype=gaps.dtype, device=gaps.device)).tolist()
    return low, high


def tv(difference: Tensor) -> Tensor:
    """½‖·‖₁ over the last axis."""
    return 0.5 * difference.abs().sum(-1)
