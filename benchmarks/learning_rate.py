"""python benchmarks/learning_rate.py: the peak learning rate that serves every arm, chosen on the *dense* one.

Trains the dense arm with the default `TrainConfig` on Shakespeare bytes (500,000 tokens) at each rate of a grid and for
several seeds, and takes the rate whose mean validation loss is lowest over the seeds that all rates have finished. The
best must lie inside the grid, or the grid is too narrow and the exit code is 1. Cells already in
benchmarks/results/learning_rate.json are kept, so an interrupted sweep goes on; after a change to the model, drop them
with `--fresh`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "learning_rate.json"


def main() -> int:
    """Run the missing cells, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rates", type=float, nargs="+", default=[4e-3, 6e-3, 8e-3, 1.2e-2, 1.6e-2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--fresh", action="store_true", help="forget the cells of earlier sweeps")
    options = parser.parse_args()

    import torch

    from network.atomic import write_atomic
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.data import load_data
    from network.training import train
    from network.training_config import TrainConfig
    from verify.provenance import provenance

    torch.set_num_threads(options.threads)
    data = load_data(open_corpus("shakespeare"))
    model = FastSlowConfig(arm="dense")
    training = replace(TrainConfig(), evaluations=1, eval_tokens=131_072)
    fixed = {k: v for k, v in training.to_dict().items() if k not in ("learning_rate", "seed")}
    setting = {"corpus": "shakespeare", "model": model.to_dict(), "training": fixed}
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.fresh else {}
    cells = stored["cells"] if stored.get("setting") == setting else []

    def summary() -> list[dict[str, Any]]:
        finished = {rate: {c["seed"] for c in cells if c["learning_rate"] == rate} for rate in options.rates}
        shared = set.intersection(*finished.values()) or set.union(*finished.values())
        rows = []
        for rate in sorted(rate for rate in finished if finished[rate]):
            losses = [c["validation_loss"] for c in cells if c["learning_rate"] == rate and c["seed"] in shared]
            spread = statistics.stdev(losses) if len(losses) > 1 else None
            rows.append({"learning_rate": rate, "mean": statistics.mean(losses), "sd": spread, "seeds": len(losses)})
        return rows

    def save() -> None:
        RESULTS.parent.mkdir(exist_ok=True)
        best = min(summary(), key=lambda row: row["mean"])
        made_with = provenance(seed=options.seeds[0], device="cpu")
        record = {"setting": setting, "rows": summary(), "best": best, "cells": cells, "provenance": made_with}
        write_atomic(RESULTS, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())

    for seed in options.seeds:  # seeds outside, so that an early stop leaves whole grids
        for rate in options.rates:
            if any(cell["learning_rate"] == rate and cell["seed"] == seed for cell in cells):
                continue
            result = train(model, replace(training, learning_rate=rate, seed=seed), data=data)
            cells.append({"learning_rate": rate, "seed": seed, "validation_loss": result.validation_loss})
            print(f"rate {rate:g}  seed {seed}  validation loss {result.validation_loss:.4f}", file=sys.stderr)
            save()

    save()
    rows = summary()
    for row in rows:
        spread = f"{row['sd']:.4f}" if row["sd"] is not None else "  -   "
        print(f"{row['learning_rate']:8g}   {row['mean']:.4f} ± {spread}   ({row['seeds']} seeds)")
    best = min(rows, key=lambda row: row["mean"])
    interior = rows[0]["learning_rate"] < best["learning_rate"] < rows[-1]["learning_rate"]
    print(f"best: {best['learning_rate']:g}" + ("" if interior else "  (at the edge of the grid: widen it)"))
    return 0 if interior else 1


if __name__ == "__main__":
    sys.exit(main())
