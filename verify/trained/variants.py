"""A study over variants: models × seeds as cells, then every variant held against others of its group by paired seeds.

A group is what shares a source and a baseline, `text, w = 16` or `s = 0.7`, say. A variant names the variants of its
group that it is compared with. Finished cells are kept and never trained again; a study that was interrupted, or runs
with fewer seeds than another, gives the rows that it can.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.statistics.paired import paired_difference
from verify.trained.study import Study

MARGIN = 0.01


@dataclass(frozen=True)
class Variant:
    """One model and training on one corpus, called `name` in `group`; `against`: names of what it is compared with."""

    group: str
    name: str
    model: FastSlowConfig
    training: TrainConfig
    corpus: str = "shakespeare"
    against: tuple[str, ...] = ()


def run_study(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    *,
    folder: Path,
    margin: float = MARGIN,
    device: str = "cpu",
    train: bool = True,
    finished: Callable[[list[dict[str, Any]]], None] | None = None,
    **how: Any,
) -> list[dict[str, Any]]:
    """A row for each variant that has a finished seed, in the order given; `how` goes to `verify.cells.run_cells`.

    train: whether cells that are not there are trained, or left out.
    finished: called with the rows so far after each cell. A cell that fails is left out of its row and named there.
    """
    from verify.corpus import open_corpus

    texts = {name: open_corpus([name]) for name in {variant.corpus for variant in variants}}
    study = Study(
        {variant: variant.model for variant in variants},
        {variant: variant.training for variant in variants},
        seeds,
        texts={variant: texts[variant.corpus] for variant in variants},
        device=device,
    )
    told = None if finished is None else lambda: finished(rows(study, margin))
    study.run(folder=folder, train=train, finished=told, **how)
    return rows(study, margin)


def rows(study: Study[Variant], margin: float = MARGIN) -> list[dict[str, Any]]:
    """The rows of `run_study` from the cells that have ended."""
    variants = list(study.models)
    results: dict[Variant, dict[int, dict[str, Any]]] = {
        variant: {seed: one for seed in study.seeds if (one := study.result(variant, seed)) is not None}
        for variant in variants
    }
    broken = {one.cell.key: f"{one.cell.label}: {one.error}" for one in study.failed}
    failed = {
        variant: [broken[key] for seed in study.seeds if (key := study.cells[variant, seed].key) in broken]
        for variant in variants
    }
    by_name = {(variant.group, variant.name): variant for variant in variants}
    best = {variant.corpus: _filter_loss(variant) for variant in variants if results[variant]}
    found = []
    for variant in variants:
        own = results[variant]
        if not own and not failed[variant]:
            continue
        losses = {seed: result["validation_loss"] for seed, result in own.items()}
        costs = {s: r["closed_gate_loss"] - losses[s] for s, r in own.items() if r["closed_gate_loss"] is not None}
        row: dict[str, Any] = {
            "group": variant.group,
            "name": variant.name,
            "seeds": sorted(losses),
            "losses": [losses[seed] for seed in sorted(losses)],
            "mean": statistics.fmean(losses.values()) if losses else None,
            "sd": statistics.stdev(losses.values()) if len(losses) > 1 else None,
            "gates": [own[seed]["gate"] for seed in sorted(own)],
            "gate_paths": [[point["gate"] for point in own[seed]["path"]] for seed in sorted(own)],
            "closed_gate_costs": [costs[seed] for seed in sorted(costs)],
            "filter": best.get(variant.corpus),
            "failed": failed[variant],
            "against": {},
        }
        for other in variant.against:
            base = results[by_name[variant.group, other]]
            shared = sorted(losses.keys() & base.keys())
            pairs = [(losses[seed], base[seed]["validation_loss"]) for seed in shared]
            paired = paired_difference([a - b for a, b in pairs], margin=margin)
            if paired is None:
                continue
            floor = best.get(variant.corpus)
            shares = [(b - a) / (b - floor) for a, b in pairs] if floor is not None else None
            row["against"][other] = {
                **asdict(paired),
                "differences": [a - b for a, b in pairs],
                "shares_closed": shares,
            }
        found.append(row)
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """A line per row and comparison."""
    lines = []
    for row in found:
        gates = [gate for gate in row["gates"] if gate is not None]
        gate = f"  |α| {min(gates):.2g} … {max(gates):.2g}" if gates else ""
        spread = f" ± {row['sd']:.4f}" if row["sd"] is not None else ""
        mean = "failed" if row["mean"] is None else f"{row['mean']:.4f}{spread}"
        lines.append(f"{row['group']:22} {row['name']:26} {mean} ({len(row['seeds'])} seeds){gate}")
        for other, one in row["against"].items():
            between = "" if one["interval"] is None else " [{:+.4f}, {:+.4f}]".format(*one["interval"])
            shares = one["shares_closed"]
            closed = f", {min(shares):.0%} … {max(shares):.0%} of the gap to the filter" if shares else ""
            lines.append(f"{'':22}   − {other:22} {one['mean']:+.4f}{between}{closed}")
    return "\n".join(lines)


def _filter_loss(variant: Variant) -> float | None:
    from verify.corpus import Regimes, parse
    from verify.corpus.answer import exact_losses

    source = parse(variant.corpus)
    if not isinstance(source, Regimes) or source.s == 0:
        return None
    return exact_losses(source, block_size=variant.model.block_size)["filter"]
