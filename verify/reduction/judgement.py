"""The verdict on a reduction: does ε* as predicted agree with ε* as measured?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theory import FastSlowSystem, Trust, trust
from verify.command_line import strict_json
from verify.statistics.provenance import provenance
from verify.statistics.verdict import Verdict

AGREEMENT = 0.2
_SLOPE = 0.15  # of the slope at the smallest ε, an eighth of ε*: what the next order is allowed to bend it


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """What was measured, and what it says.

    Examples:
        >>> import theory
        >>> from verify.reduction import measure
        >>> sorted(measure(theory.get_system("two_state"), 0.005).as_dict())[:2]
        ['grid', 'orders']
    """

    trust: Trust
    verdict: Verdict
    reason: str
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The keys of the JSON."""
        found = self.trust
        return {
            "system": found.system,
            "tolerance": found.tolerance,
            "span": found.span,
            "starts": found.starts,
            "grid": found.grid,
            "orders": [
                {
                    "order": one.order,
                    "predicted_eps": one.predicted,
                    "eps": one.eps,
                    "eps_interval": one.interval,
                    "cost_over_full": one.cost,
                    "pre_asymptotic": one.pre_asymptotic,
                    "next_over_leading": one.next_over_leading,
                    "predicted_over_measured": one.ratio,
                    "slope": one.slope,
                    "errors": one.errors,
                    "reason": one.reason,
                }
                for one in found.orders
            ],
            "verdict": str(self.verdict),
            "reason": self.reason,
            "provenance": self.provenance,
        }

    def to_json(self) -> str:
        """Strict JSON."""
        return strict_json(self.as_dict())


def measure(
    system: FastSlowSystem, tolerance: float = 0.01, *, eps: Sequence[float] | None = None, seed: int = 0
) -> Reduction:
    """`theory.trust` of `system`, judged.

    Examples:
        >>> import theory
        >>> from verify.reduction import measure
        >>> measure(theory.get_system("two_state"), 0.005).trust.system
        'two_state'
    """
    found = trust(system, tolerance, eps=eps, seed=seed)
    verdict, reason = judge(found)
    return Reduction(
        trust=found,
        verdict=verdict,
        reason=reason,
        provenance=provenance(seed=seed, device="cpu", tolerance=tolerance),
    )


def judge(found: Trust) -> tuple[Verdict, str]:
    """(verdict, in words)."""
    off, decided, undecided = [], 0, []
    for one in found.orders:
        for v in ("x", "y"):
            predicted, eps = one.predicted[v], one.eps[v]
            if predicted is None or eps is None:
                undecided.append(one.reason[v] or f"order {one.order} in {v} was not measured")
                continue
            if one.pre_asymptotic[v]:
                undecided.append(f"order {one.order} in {v} is pre-asymptotic at ε*")
                continue
            decided += 1
            ratio = one.ratio[v]
            if ratio is None or abs(ratio - 1.0) > AGREEMENT:
                off.append(f"order {one.order} in {v}: ε* as predicted is {ratio} of that measured, ε* = {eps:.3g}")
            slope = one.slope[v]
            if slope is None or abs(slope - one.order - 1) > _SLOPE * (one.order + 1):
                off.append(f"order {one.order} in {v}: slope {slope} where {one.order + 1} is predicted")
    if off:
        return Verdict.VIOLATED, "; ".join([*off, words(found)])
    if not decided:
        return Verdict.INCONCLUSIVE, "; ".join([*undecided, words(found)])
    return Verdict.HOLDS, words(found)


def words(found: Trust) -> str:
    """'order 0 is within 1 % for ε ≤ 0.016 (0.012 to 0.02 over starts); order 1 for ε ≤ 0.11 (…)'."""
    parts = []
    for one, eps, interval in zip(found.orders, found.eps, found.interval, strict=True):
        if eps is None or interval is None:
            parts.append(f"order {one.order} stays within {100 * found.tolerance:g} % at every ε tried, or at none")
        else:
            within = "is within" if not parts else "within"
            parts.append(
                f"order {one.order} {within} {100 * found.tolerance:g} % for ε ≤ {eps:.2g} "
                f"({interval[0]:.2g} to {interval[1]:.2g} over starts)"
            )
    return "; ".join(parts)
