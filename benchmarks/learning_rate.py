"""python benchmarks/learning_rate.py: the peak learning rate that serves every arm, chosen on the *dense* one.

Trains the dense arm on Shakespeare bytes at each rate of a grid and for several seeds, and takes the rate whose mean
validation loss is lowest over the seeds that all rates have finished. The best must lie inside the grid, or the grid is
too narrow and the exit code is 1. Each run is a cell of the studies (`verify.trained.cell`): finished ones are kept
under --cells, an interrupted sweep goes on, and a change to the network asks for new ones.

    python benchmarks/learning_rate.py

trains 500k tokens at T = 256, and for benchmarks/pareto.py

    python benchmarks/learning_rate.py --tokens 2000000 --block-size 1024 --batch-size 1 --seeds 1 \\
        --rates 3e-3 4.5e-3 6e-3 9e-3 1.2e-2 1.6e-2 --out benchmarks/results/learning_rate_1024.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from network.command_line import seed_numbers

RESULTS = Path(__file__).parent / "results"


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread of the loss at each rate, over the seeds that all rates have finished (else over its own)."""
    finished: dict[float, dict[int, float]] = {}
    for row in rows:
        finished.setdefault(row["learning_rate"], {})[row["seed"]] = row["validation_loss"]
    shared = set.intersection(*(set(seeds) for seeds in finished.values()))
    found = []
    for rate, seeds in sorted(finished.items()):
        losses = [loss for seed, loss in seeds.items() if seed in shared or not shared]
        spread = statistics.stdev(losses) if len(losses) > 1 else None
        found.append({"learning_rate": rate, "mean": statistics.mean(losses), "sd": spread, "seeds": len(losses)})
    return found


def main() -> int:
    """Run the missing cells, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[4e-3, 6e-3, 8e-3, 1.2e-2, 1.6e-2])
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="how many, or a list: 3 or 0,1,2")
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--block-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, help="processes; default one a core")
    parser.add_argument("--fresh", action="store_true", help="train again what is finished")
    parser.add_argument("--cells", type=Path, default=RESULTS / "cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "learning_rate.json")
    options = parser.parse_args()

    from network.atomic import write_atomic
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.training_config import TrainConfig
    from verify.command_line import strict_json
    from verify.statistics.provenance import provenance
    from verify.trained.study import Study

    texts = open_corpus(["shakespeare"])
    model = FastSlowConfig(arm="dense", block_size=options.block_size, n_layer=options.n_layer)
    shape: dict[str, Any] = {"tokens": options.tokens, "batch_size": options.batch_size}
    shape |= {"evaluations": 5, "eval_tokens": 32_768}
    trainings = {rate: TrainConfig(learning_rate=rate, **shape) for rate in options.rates}
    study = Study(dict.fromkeys(options.rates, model), trainings, options.seeds, texts=texts, device=options.device)
    fixed = {k: v for k, v in TrainConfig(**shape).to_dict().items() if k not in ("learning_rate", "seed")}
    setting = {"corpus": list(texts.paths), "model": model.to_dict(), "training": fixed}
    made_with = provenance(seed=options.seeds[0], device=options.device)
    rows: list[dict[str, Any]] = []

    def keep() -> None:
        found = [(seed, rate, study.losses(rate).get(seed)) for seed in options.seeds for rate in options.rates]
        rows[:] = [
            {"learning_rate": rate, "seed": seed, "validation_loss": loss}
            for seed, rate, loss in found
            if loss is not None
        ]
        if rows:
            best = min(summary(rows), key=lambda row: row["mean"])
            record = {"setting": setting, "rows": summary(rows), "best": best, "cells": rows, "provenance": made_with}
            write_atomic(options.out, (strict_json(record) + "\n").encode())

    options.out.parent.mkdir(parents=True, exist_ok=True)
    study.run(folder=options.cells, jobs=options.jobs, fresh=options.fresh, progress=True, finished=keep)
    for one in study.failed:
        print(f"failed: {one.cell.label}: {one.error}", file=sys.stderr)
    if not rows:
        return 1
    for row in summary(rows):
        spread = f"{row['sd']:.4f}" if row["sd"] is not None else "  -   "
        print(f"{row['learning_rate']:8g}   {row['mean']:.4f} ± {spread}   ({row['seeds']} seeds)")
    grid = [row["learning_rate"] for row in summary(rows)]
    best = min(summary(rows), key=lambda row: row["mean"])["learning_rate"]
    interior = grid[0] < best < grid[-1]
    print(f"best: {best:g}" + ("" if interior else "  (at the edge of the grid: widen it)"))
    return 0 if interior else 1


if __name__ == "__main__":
    sys.exit(main())
