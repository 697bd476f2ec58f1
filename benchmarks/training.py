"""What training costs: tokens per second, step time over dense, memory and, on a GPU, model FLOP utilisation.

    python benchmarks/training.py [--device cuda] [--seconds 400] [--out benchmarks/results/training_cpu.json]

For T = 256 … 8192 the arms, `L − 1 fast + 1 slow` and `½ fast + ½ slow` take training steps (forward, backward, AdamW)
in turn within one process (`verify.trained.step_time`); a ratio is the median over rounds with the interval of the
median. On a CPU: d = 64, 4 layers, float32, one thread; on a GPU: d = 512, 8 layers, bfloat16, unless told otherwise.
Lengths run from the shortest on; the time allowed is shared out between them, and a length that cannot have `LEAST`
rounds is named as left out. Utilisation is the formula's operations (`network.model_flops`) over the data sheet's peak,
null for a device that is not listed. Peak memory is that of one model's step, measured on a GPU alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
LEAST, MOST = 6, 40  # rounds: fewer give no interval of the median
GPU = {"n_embd": 512, "n_head": 8, "n_layer": 8}
SIZES = {"n_embd": 64, "n_head": 4, "n_layer": 4}


def models(T: int, sizes: dict[str, int], period: int) -> dict[str, Any]:
    """The configurations by name."""
    from network.config import FastSlowConfig

    L = sizes["n_layer"]
    coupled = FastSlowConfig(block_size=T, period=period, **sizes)
    return {
        "dense": replace(coupled, arm="dense"),
        "frozen": replace(coupled, arm="frozen"),
        "frozen, slow path computed": replace(coupled, arm="frozen", compute_frozen=True),
        "coupled, L fast + 1 slow": coupled,
        "blind, L fast + 1 slow": replace(coupled, arm="blind"),
        "local, L fast": replace(coupled, arm="local"),
        "coupled, L-1 fast + 1 slow": replace(coupled, n_layer=L - 1),
        "local, L-1 fast": replace(coupled, arm="local", n_layer=L - 1),
        "coupled, L/2 fast + L/2 slow": replace(coupled, n_layer=L // 2, n_slow_layer=L // 2),
        "local, L/2 fast": replace(coupled, arm="local", n_layer=L // 2),
    }


def measure(T: int, options: Any, device: Any, budget: float) -> dict[str, Any] | None:
    """One length: a row per model; None where `budget` seconds do not allow `LEAST` rounds."""
    import statistics

    import torch

    from network.model_flops import peak_flops, training_flops
    from verify.trained.step_time import interleaved, ratio, training_step

    configs = models(T, options.sizes, options.period)
    batch = max(2, options.tokens_per_step // T)
    how = {"batch": batch, "device": device, "dtype": options.dtype, "compile": options.compile}
    cuda = device.type == "cuda"
    steps, memory = {}, {}
    begin = time.perf_counter()
    for name, config in configs.items():
        if cuda:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) if cuda else 0
        steps[name] = training_step(config, **how)
        steps[name]()
        memory[name] = torch.cuda.max_memory_allocated(device) - before if cuda else None
    once = time.perf_counter()
    interleaved(steps, rounds=1, device=device, warm_up=0)
    took = time.perf_counter() - once
    rounds = min(MOST, int((budget - (time.perf_counter() - begin)) / took) - 1)
    if rounds < LEAST:
        return None
    seconds = interleaved(steps, rounds=rounds, device=device, warm_up=1)
    peak = peak_flops(torch.cuda.get_device_name(device)) if cuda and options.dtype == "bfloat16" else None
    rows = []
    for name, config in configs.items():
        typical = statistics.median(seconds[name])
        over = ratio(seconds[name], seconds["dense"])
        flops = batch * training_flops(config)
        rows.append(
            {
                "model": name,
                "seconds_per_step": typical,
                "tokens_per_second": batch * T / typical,
                "over_dense": over.median,
                "interval": [over.low, over.high],
                "flops_over_dense": training_flops(config) / training_flops(configs["dense"]),
                "flops_per_second": flops / typical,
                "utilisation": None if peak is None else flops / typical / peak,
                "peak_memory_bytes": memory[name],
            }
        )
    return {"block_size": T, "batch": batch, "rounds": rounds, "rows": rows}


def main() -> int:
    """Measure every length, print a table of each, write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=400.0, help="time allowed in all (default 400)")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--period", type=int, default=8)
    parser.add_argument("--n-embd", type=int)
    parser.add_argument("--n-head", type=int)
    parser.add_argument("--n-layer", type=int)
    parser.add_argument("--tokens-per-step", type=int, help="default 2048 on a CPU, 65,536 on a GPU")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/training_DEVICE.json")
    options = parser.parse_args()

    import torch

    from network.atomic import write_atomic
    from network.distributed import checked_device
    from verify.command_line import strict_json
    from verify.statistics.provenance import provenance

    try:
        device = checked_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    cuda = device.type == "cuda"
    torch.set_num_threads(options.threads)
    given = {name: getattr(options, name) for name in SIZES if getattr(options, name) is not None}
    options.sizes = {**(GPU if cuda else SIZES), **given}
    options.dtype = options.dtype or ("bfloat16" if cuda else "float32")
    options.tokens_per_step = options.tokens_per_step or (65_536 if cuda else 2048)
    out = options.out or Path(__file__).parent / "results" / f"training_{device.type}.json"
    settings = {name: getattr(options, name) for name in ("period", "sizes", "dtype", "compile", "threads")}
    made_with = provenance(seed=0, device=options.device)
    end = time.perf_counter() + options.seconds
    cases: list[dict[str, Any]] = []
    left_out: list[int] = []
    for number, T in enumerate(options.lengths):
        # Work per token grows with T: a length may take its share of what is left, weighted so that the last are fed.
        share = (number + 1) / sum(range(number + 1, len(options.lengths) + 1))
        case = measure(T, options, device, (end - time.perf_counter()) * share)
        if case is None:
            left_out.append(T)
            print(f"T = {T}: left out, {LEAST} rounds do not fit the time allowed", file=sys.stderr)
            continue
        cases.append(case)
        print(f"T = {T}, batch {case['batch']}, {options.sizes}, {options.dtype}, {case['rounds']} rounds")
        for row in case["rows"]:
            low, high = row["interval"]
            used = "" if row["utilisation"] is None else f"  {row['utilisation']:6.1%} of peak"
            memory = "" if row["peak_memory_bytes"] is None else f"  {row['peak_memory_bytes'] / 2**30:6.2f} GiB"
            speed = f"{row['tokens_per_second']:12,.0f} tokens/s"
            print(f"  {row['model']:30} {speed}  {row['over_dense']:.3f} [{low:.3f}, {high:.3f}]{used}{memory}")
        result = {"cases": cases, "left_out": left_out, "settings": settings, "provenance": made_with}
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, (strict_json(result) + "\n").encode())
    return 0 if cases else 1


if __name__ == "__main__":
    sys.exit(main())
