"""Loss against step time at equal tokens: does a coupled model reach the dense loss for less, and is it the coupling?

For each architecture (arm, fast layers, slow layers, P) the validation losses over seeds, paired with those of the
dense baseline of full depth; its step time over the baseline's, measured in turn within one process; and, for a coupled
architecture, its `local` control: the same fast layers and P with φ_θ on the block means and no slow attention. Of the
coupled model's gain over dense layers alone, the part that the control reaches too is the content of the pool, the rest
is the slow dynamics:

    gain       = loss(dense, as many fast layers) − loss(coupled)
    explained  = loss(dense, as many fast layers) − loss(local)      the local control's part of it
    remainder  = loss(local) − loss(coupled)                         what is left for the slow dynamics

All three are means over paired seeds with t intervals (`verify.statistics.paired`), in nats per token.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from network.config import FastSlowConfig
from verify.statistics.paired import PairedDifference, paired_difference
from verify.trained.step_time import Ratio

TARGET = 0.8  # of the dense step time, at or below the dense loss


@dataclass(frozen=True)
class ParetoPoint:
    """One architecture: losses over `seeds` in nats per token, and its step time over the baseline's.

    difference: to the baseline's loss. explained, remainder: as above, for coupled architectures alone.
    """

    name: str
    arm: str
    fast: int
    slow: int
    period: int | None
    parameters: int
    seeds: int
    loss: float
    time: Ratio
    difference: PairedDifference | None
    gain: PairedDifference | None
    explained: PairedDifference | None
    remainder: PairedDifference | None

    @property
    def meets(self) -> bool:
        """Whether its loss is shown to be at or below the baseline's, at no more than `TARGET` of its step time."""
        if self.difference is None or self.difference.interval is None:
            return False
        return self.difference.interval[1] <= 0 and (self.time.high or self.time.median) <= TARGET

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "meets": self.meets}


def architecture(model: FastSlowConfig) -> str:
    """What an architecture is called: `dense 4`, `coupled 3 + 1, P = 8`, `local 3, P = 8`."""
    if model.arm == "dense":
        return f"dense {model.n_layer}"
    slow = "" if model.arm == "local" else f" + {model.n_slow_layer}"
    return f"{model.arm} {model.n_layer}{slow}, P = {model.period}"


def pareto(
    losses: Mapping[FastSlowConfig, Mapping[int, float]],
    parameters: Mapping[FastSlowConfig, int],
    times: Mapping[FastSlowConfig, Ratio],
    baseline: FastSlowConfig,
) -> list[ParetoPoint]:
    """A point for each architecture of `losses` (seed -> loss) with its `times` over the baseline's."""
    by_shape = {(m.arm, m.n_layer, m.period if m.arm != "dense" else None): m for m in losses}

    def paired(one: FastSlowConfig | None, other: FastSlowConfig | None) -> PairedDifference | None:
        if one is None or other is None or one == other:
            return None
        shared = sorted(losses[one].keys() & losses[other].keys())
        return paired_difference([losses[one][seed] - losses[other][seed] for seed in shared])

    points = []
    for model, own in losses.items():
        if not own:
            continue
        shallow = by_shape.get(("dense", model.n_layer, None)) if model.arm == "coupled" else None
        control = by_shape.get(("local", model.n_layer, model.period)) if model.arm == "coupled" else None
        points.append(
            ParetoPoint(
                name=architecture(model),
                arm=model.arm,
                fast=model.n_layer,
                slow=model.n_slow_layer if model.arm == "coupled" else 0,
                period=None if model.arm == "dense" else model.period,
                parameters=parameters[model],
                seeds=len(own),
                loss=statistics.fmean(own.values()),
                time=times[model],
                difference=paired(model, baseline),
                gain=paired(shallow, model),
                explained=paired(shallow, control),
                remainder=paired(control, model) if control is not None else None,
            )
        )
    return points


def table(points: Sequence[ParetoPoint]) -> str:
    """A line per architecture, cheapest first; differences of losses as in the figure: below zero is better."""
    head = f"{'architecture':26} {'seeds':>5} {'time':>6} {'loss':>7} {'− dense':>8} {'95 % interval':>18}"
    lines = [f"{head}  at as many fast layers"]
    for point in sorted(points, key=lambda p: p.time.median):
        line = f"{point.name:26} {point.seeds:5d} {point.time.median:6.3f} {point.loss:7.4f}"
        if point.difference is not None:
            line += f" {point.difference.mean:+8.4f} {_interval(point.difference):>18}"
        if point.explained is not None and point.remainder is not None:
            slow = _reversed(point.remainder)
            line += f"  local − dense {-point.explained.mean:+.4f}, coupled − local {slow.mean:+.4f} {_interval(slow)}"
        lines.append(line + ("  meets" if point.meets else ""))
    return "\n".join(lines)


def _reversed(found: PairedDifference) -> PairedDifference:
    """b − a for a − b."""
    ends = None if found.interval is None else (-found.interval[1], -found.interval[0])
    return replace(found, mean=-found.mean, interval=ends)


def _interval(found: PairedDifference) -> str:
    return "" if found.interval is None else f"[{found.interval[0]:+.4f}, {found.interval[1]:+.4f}]"
