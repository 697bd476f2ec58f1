"""What an ablation found: trained cells, and every arm held against the baseline and the controls over paired seeds.

Two yardsticks stand side by side for each difference d_s = loss(arm, s) − loss(other, s), in nats per token:

* unpaired, the paper's: |mean d| against the standard deviation of the other arm's loss over the seeds;
* paired: the t interval of mean d, and a test of equivalence to zero within a stated margin
(`verify.statistics.paired`).

`interval` stands alone at 95 %; `simultaneous` holds for all differences of the table together at 95 % (Bonferroni).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from verify.command_line import strict_json
from verify.corpus.answer import share
from verify.statistics.paired import LEVEL, paired_difference, t_interval
from verify.trained.result import TrainedCell
from verify.trained.step_time import Ratio

CONTROLS = ("local", "blind")  # what coupled is held against beside the baseline


@dataclass(frozen=True)
class Comparison:
    """`arm` against `other` at one P.

    loss, seed_sd, gate, feedback_ratio, closed_gate_cost (what shutting the gate costs): of the arm over its own
    `seeds`. pairs: seeds that both have finished; the rest is of the differences over these, None for the baseline
    itself, intervals and tests also below two. time: step time over the other's.
    """

    period: int
    arm: str
    other: str
    seeds: int
    pairs: int
    loss: float
    seed_sd: float | None
    difference: float | None
    interval: tuple[float, float] | None
    simultaneous: tuple[float, float] | None
    p_equivalence: float | None
    equivalent: bool | None
    effect_size: float | None
    within_seed_noise: bool | None
    gate: float | None
    feedback_ratio: float | None
    closed_gate_cost: float | None
    time: Ratio | None


@dataclass(frozen=True)
class Ablation:
    """Cells in the order asked for, the baseline first among the arms.

    margin: of the equivalence test. times: seconds of a training step per round, by (P, arm). answer: the exact losses
    of a corpus that has them (`verify.corpus.answer`). unfinished: labels of the cells still to come; failed: of those
    that failed, with the reason.

    Examples:
        >>> from verify.ablation import Ablation
        >>> Ablation(baseline="dense", cells=(), margin=0.01, settings={}, provenance={}, times={}).comparisons
        []
    """

    baseline: str
    cells: tuple[TrainedCell, ...]
    margin: float
    settings: dict[str, Any]
    provenance: dict[str, Any]
    times: dict[tuple[int, str], list[float]]
    answer: dict[str, float] | None = None
    unfinished: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """For each P a row for each arm against the baseline, then `coupled` against the controls."""
        pairs = self._pairs()
        count = sum(arm != other for _, arm, other in pairs)
        return [self._compare(*pair, count) for pair in pairs]

    @cached_property
    def paths(self) -> list[dict[str, Any]]:
        """Along training, per P and arm: the mean gate, and the difference to the baseline with its 95 % interval."""
        rows = []
        for period, arm, other in self._pairs():
            if other != self.baseline:
                continue
            own, base = self._by_seed(period, arm), self._by_seed(period, self.baseline)
            shared = sorted(own.keys() & base.keys())
            for number, first in enumerate(own[min(own)].path):
                points = [cell.path[number] for cell in own.values()]
                differences = [
                    own[s].path[number]["validation_loss"] - base[s].path[number]["validation_loss"]
                    for s in (shared if arm != self.baseline else ())
                ]
                rows.append(
                    {
                        "period": period,
                        "arm": arm,
                        "tokens": first["tokens"],
                        "seeds": len(points),
                        "loss": statistics.fmean(point["validation_loss"] for point in points),
                        "difference": statistics.fmean(differences) if differences else None,
                        "interval": t_interval(differences),
                        "gate": _mean([point["gate"] for point in points]),
                        "feedback_ratio": _mean([point["feedback_ratio"] for point in points]),
                        "closed_gate_cost": _mean(
                            [
                                None if p["closed_gate_loss"] is None else p["closed_gate_loss"] - p["validation_loss"]
                                for p in points
                            ]
                        ),
                    }
                )
        return rows

    @property
    def shares(self) -> list[dict[str, Any]]:
        """Where the exact losses are known, per P and arm: the share of order_1 − filter that it has found, and the
        share of what the baseline left, paired by seed, that it closes (mean and least over the seeds)."""
        if self.answer is None:
            return []
        order_1, best = self.answer["order_1"], self.answer["filter"]
        rows = []
        for period, arm in dict.fromkeys((cell.period, cell.arm) for cell in self.cells):
            own, base = self._by_seed(period, arm), self._by_seed(period, self.baseline)
            found = [share(cell.validation_loss, above=order_1, below=best) for cell in own.values()]
            closed = [
                share(cell.validation_loss, above=base[seed].validation_loss, below=best)
                for seed, cell in own.items()
                if arm != self.baseline and seed in base
            ]
            known = [value for value in closed if value is not None]
            rows.append(
                {
                    "period": period,
                    "arm": arm,
                    "found": _mean(found),
                    "closed": _mean(known),
                    "least_closed": min(known, default=None),
                }
            )
        return rows

    def to_json(self) -> str:
        """Strict JSON: baseline, comparisons, paths, cells, step_seconds, margin, exact_losses and shares (of a corpus
        with a known answer), settings, provenance, unfinished, failed."""
        content = {
            "baseline": self.baseline,
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "paths": self.paths,
            "cells": [asdict(cell) for cell in self.cells],
            "step_seconds": [
                {"period": period, "arm": arm, "seconds": seconds} for (period, arm), seconds in self.times.items()
            ],
            "margin": self.margin,
            "exact_losses": self.answer,
            "shares": self.shares,
            "settings": self.settings,
            "provenance": self.provenance,
            "unfinished": list(self.unfinished),
            "failed": list(self.failed),
        }
        return strict_json(content)

    @classmethod
    def from_json(cls, text: str) -> Ablation:
        """The ablation back from `to_json`; `ValueError` for anything else."""
        try:
            content = json.loads(text)
            return cls(
                baseline=content["baseline"],
                cells=tuple(TrainedCell(**cell | {"path": tuple(cell["path"])}) for cell in content["cells"]),
                margin=content["margin"],
                settings=content["settings"],
                provenance=content["provenance"],
                times={(row["period"], row["arm"]): row["seconds"] for row in content["step_seconds"]},
                answer=content.get("exact_losses"),
                unfinished=tuple(content["unfinished"]),
                failed=tuple(content["failed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the JSON of an ablation: {type(error).__name__}: {error}") from None

    def table(self) -> str:
        """A line per comparison, and what the intervals are under them."""
        head = f"{'P':>4} {'arm':8} {'against':8} {'seeds':>5} {'loss':>8} {'seed sd':>8} {'pairs':>5}"
        head += f" {'difference':>10}"
        lines = [f"{head} {'95 % interval':>20} {'equal?':>6} {'|α|':>8} time"]
        for c in self.comparisons:
            equal = {None: "", True: "yes", False: "not shown"}[c.equivalent]
            columns = [
                f"{c.period:4d} {c.arm:8} {c.other if c.arm != c.other else '':8} {c.seeds:5d} {c.loss:8.4f}",
                _number(c.seed_sd, 8, ".4f"),
                f"{c.pairs or '':>5}",
                _number(c.difference, 10, "+.5f"),
                f"[{c.interval[0]:+.5f}, {c.interval[1]:+.5f}]".rjust(20) if c.interval else " " * 20,
                f"{equal:>9}",
                _number(c.gate, 8, ".1e"),
                _number(None if c.time is None else c.time.median, 4, ".2f"),
            ]
            lines.append(" ".join(columns).rstrip())
        if lines[1:]:
            lines[0] = lines[0].replace("equal?", f"±{self.margin:g}?".rjust(9))
            lines.append(
                "difference: nats per token, paired by seed, intervals uncorrected (the JSON has simultaneous ones); "
                f"±{self.margin:g}?: equivalent to zero within that margin, two one-sided t tests at 5 %: the 90 % "
                "interval lies within it (the one shown is of 95 % and wider)"
            )
        return "\n".join(lines + self._answer_lines())

    def _answer_lines(self) -> list[str]:
        if self.answer is None:
            return []
        lines = ["exact losses: " + ", ".join(f"{name} {loss:.4f}" for name, loss in self.answer.items())]
        for row in self.shares:
            if row["found"] is None:
                continue
            line = f"{row['period']:4d} {row['arm']:8} finds {row['found']:6.1%} of order_1 − filter"
            if row["closed"] is not None:
                line += f", closes {row['closed']:.1%} of {self.baseline} − filter (least {row['least_closed']:.1%})"
            lines.append(line)
        return lines

    def _pairs(self) -> list[tuple[int, str, str]]:
        found = dict.fromkeys((cell.period, cell.arm) for cell in self.cells)
        pairs = [(period, arm, self.baseline) for period, arm in found]
        for period in dict.fromkeys(period for period, _ in found):
            arms = {arm for p, arm in found if p == period}
            at = max(number for number, (p, _, _) in enumerate(pairs) if p == period) + 1
            more = [(period, "coupled", control) for control in CONTROLS if {"coupled", control} <= arms]
            pairs[at:at] = [pair for pair in more if pair[2] != self.baseline]
        return pairs

    def _by_seed(self, period: int, arm: str) -> dict[int, TrainedCell]:
        return {cell.seed: cell for cell in self.cells if (cell.period, cell.arm) == (period, arm)}

    def _compare(self, period: int, arm: str, other: str, count: int) -> Comparison:
        own, base = self._by_seed(period, arm), self._by_seed(period, other)
        shared = sorted(own.keys() & base.keys()) if arm != other else []
        differences = [own[seed].validation_loss - base[seed].validation_loss for seed in shared]
        found = paired_difference(differences, margin=self.margin)
        noise = _sd([cell.validation_loss for cell in base.values()])
        return Comparison(
            period=period,
            arm=arm,
            other=other,
            seeds=len(own),
            pairs=len(shared),
            loss=statistics.fmean(cell.validation_loss for cell in own.values()),
            seed_sd=_sd([cell.validation_loss for cell in own.values()]),
            difference=None if found is None else found.mean,
            interval=None if found is None else found.interval,
            simultaneous=t_interval(differences, 1 - (1 - LEVEL) / max(count, 1)),
            p_equivalence=None if found is None else found.p_equivalence,
            equivalent=None if found is None else found.equivalent,
            effect_size=None if found is None else found.effect_size,
            within_seed_noise=None if found is None or noise is None else abs(found.mean) <= noise,
            gate=_mean([cell.gate for cell in own.values()]),
            feedback_ratio=_mean([cell.feedback_ratio for cell in own.values()]),
            closed_gate_cost=_mean(
                [None if c.closed_gate_loss is None else c.closed_gate_loss - c.validation_loss for c in own.values()]
            ),
            time=self._time(period, arm, other),
        )

    def _time(self, period: int, arm: str, other: str) -> Ratio | None:
        from verify.trained.step_time import ratio

        own, base = self.times.get((period, arm)), self.times.get((period, other))
        return ratio(own, base) if own and base and arm != other else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None, width: int, form: str) -> str:
    return f"{'' if value is None else format(value, form):>{width}}"
