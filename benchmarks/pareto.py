"""python benchmarks/pareto.py: validation loss over step time at equal tokens, dense against coupled and local.

Dense with 2, 3 and 4 layers, `3 + 1` and `2 + 2` coupled, and their local controls, at P = 4, 8, 16, for paired seeds:
Shakespeare bytes, d = 64, T = 1024, 2M tokens, batch 1 (2,000 steps). The learning rate is that of the dense baseline's
own sweep, benchmarks/results/learning_rate_1024.json, unless --learning-rate says otherwise: no coupled model is tuned.

Each model is a cell (`verify.trained.cell`), kept under --cells; step times are measured in turn in one process, when
the training is over. Writes the JSON, the figure and a table that says which architectures are at or below the dense
loss at <= 0.8 of its step time, and how much of the gain the local control has too (`verify.trained.pareto`).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from network.command_line import seed_numbers

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the missing cells, print the table, write JSON and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="how many, or a list: 3 or 0,1,2")
    parser.add_argument("--periods", type=int, nargs="+", default=[8, 4, 16])
    parser.add_argument("--block-size", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--attention-window", type=int, metavar="W", help="of every fast path; default all before it")
    parser.add_argument("--n-embd", type=int, default=64)
    parser.add_argument("--eval-tokens", type=int, default=32_768, help="of each evaluation along training")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--rounds", type=int, default=40, help="of the step times")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    parser.add_argument("--corpus", nargs="+", default=["shakespeare"], metavar="NAME", help="default shakespeare")
    parser.add_argument("--jobs", type=int, help="processes; default one a core")
    parser.add_argument("--cells", type=Path, default=RESULTS / "cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "pareto.json", help="the figure lies beside it")
    options = parser.parse_args()

    from network.atomic import write_atomic
    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.training_config import TrainConfig
    from verify.cells import run_cells
    from verify.command_line import check_device, strict_json
    from verify.plotting import save_figure
    from verify.statistics.provenance import provenance
    from verify.trained.pareto import pareto, table
    from verify.trained.pareto_figure import pareto_figure
    from verify.trained.step_time import ratio, seconds_of, step_time_cell
    from verify.trained.study import Study

    check_device(options.device)
    sweep = RESULTS / "learning_rate_1024.json"
    if options.learning_rate is None and not sweep.exists():
        parser.error(f"{sweep.name} is missing: tune the dense baseline by learning_rate.py, or pass --learning-rate")
    rate = options.learning_rate or json.loads(sweep.read_text())["best"]["learning_rate"]
    baseline = FastSlowConfig(
        arm="dense",
        n_layer=4,
        block_size=options.block_size,
        n_embd=options.n_embd,
        period=min(8, options.block_size),
        attention_window=options.attention_window,
    )
    models = [replace(baseline, n_layer=layers) for layers in (4, 3, 2)] + [
        replace(baseline, arm=arm, n_layer=fast, n_slow_layer=slow, period=period)
        for period in options.periods
        for fast, slow in ((3, 1), (2, 2))
        for arm in ("coupled", "local")
    ]
    training = TrainConfig(
        tokens=options.tokens,
        batch_size=options.batch_size,
        learning_rate=rate,
        evaluations=5,
        eval_tokens=options.eval_tokens,
    )
    texts = open_corpus(options.corpus)
    study = Study({model: model for model in models}, training, options.seeds, texts=texts, device=options.device)
    made_with = provenance(seed=0, device=options.device)
    how: dict[str, Any] = {"folder": options.cells, "scheduler": options.scheduler}
    study.run(jobs=options.jobs, progress=True, **how)
    timing = step_time_cell(
        models,
        batch=options.batch_size,
        device=options.device,
        rounds=options.rounds,
        processor=made_with["processor"],
        dtype=training.dtype,
        compile=training.compile,
    )
    timed = run_cells([timing], jobs=1, **how)[0]
    failed = [one for one in (*study.failed, timed) if one.failed]
    for one in failed:
        print(f"failed: {one.cell.label}: {one.error}", file=sys.stderr)
    if failed:
        return 1

    losses = {model: study.losses(model) for model in models}
    seconds = {model: seconds_of(timed.result, model) for model in models}
    times = {model: ratio(seconds[model] or [], seconds[baseline] or []) for model in models}
    parameters = {model: (study.result(model, 0) or {})["parameters"] for model in models}
    points = pareto(losses, parameters, times, baseline)
    record = {
        "points": [point.to_dict() for point in points],
        "losses": [{"name": p.name, "by_seed": list(losses[m].values())} for p, m in zip(points, models, strict=True)],
        "settings": {
            "corpus": list(texts.paths),
            "sha256": texts.sha256,
            "training": {k: v for k, v in training.to_dict().items() if k != "seed"},
            "baseline": baseline.to_dict(),
            "rounds": options.rounds,
        },
        "provenance": made_with,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, (strict_json(record) + "\n").encode())
    save_figure(pareto_figure(points), options.out.with_suffix(""))
    print(table(points))
    return 0


if __name__ == "__main__":
    sys.exit(main())
