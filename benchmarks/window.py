"""python benchmarks/window.py: what a window of fast attention saves: CPU time of a training step over full attention.

Dense models of the default size (d = 64, 4 layers, float32, one thread, batch 1) take training steps in turn within one
process (`verify.trained.step_time.training_step`), full attention and each window, at T = 4096; the windows alone at
T = 8192 too, whose time over that at T = 4096 says whether time is linear in T. Times are CPU seconds of the thread, so
that other work on the machine does not count; a ratio is the median over rounds with the interval of the median.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

LENGTHS = (4096, 8192)
WINDOWS = (32, 256)


def cpu_seconds(steps: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each step in each round, after one more, in an order that turns by one a round."""
    names = list(steps)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.thread_time()
            steps[name]()
            if turn:
                found[name].append(time.thread_time() - start)
    return found


def main() -> int:
    """Measure, print a table, write the JSON."""
    p = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    p.add_argument("--rounds", type=int, default=7, help="at least 6, fewer give no interval (default 7)")
    p.add_argument("--lengths", type=int, nargs=2, default=LENGTHS, metavar="T")
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "window.json")
    options = p.parse_args()

    import torch

    from network.config import FastSlowConfig
    from verify.command_line import strict_json, write_whole
    from verify.statistics.provenance import provenance
    from verify.trained.cell import one_thread
    from verify.trained.step_time import ratio, training_step

    short, long = options.lengths
    with one_thread():
        steps = {}
        for length in (short, long):
            for window in (None, *WINDOWS):
                if length == long and window is None:
                    continue
                model = FastSlowConfig(arm="dense", block_size=length, attention_window=window)
                steps[f"T = {length}, {'full' if window is None else f'w = {window}'}"] = training_step(
                    model, batch=1, device=torch.device("cpu")
                )
        seconds = cpu_seconds(steps, options.rounds)
    rows = []
    for window in WINDOWS:
        own = seconds[f"T = {short}, w = {window}"]
        over_full = ratio(own, seconds[f"T = {short}, full"])
        in_length = ratio(seconds[f"T = {long}, w = {window}"], own)
        rows.append(
            {
                "window": window,
                "over_full": over_full.median,
                "over_full_interval": [over_full.low, over_full.high],
                "twice_the_length": in_length.median,
                "twice_the_length_interval": [in_length.low, in_length.high],
            }
        )
        print(
            f"w = {window}: {over_full.median:.3f} [{over_full.low:.3f}, {over_full.high:.3f}] of full attention at ",
            end="",
        )
        print(f"T = {short}; T = {long} takes {in_length.median:.2f} [{in_length.low:.2f}, {in_length.high:.2f}] times")
    record = {
        "rows": rows,
        "cpu_seconds": seconds,
        "settings": {"lengths": [short, long], "rounds": options.rounds, "batch": 1, "dtype": "float32", "threads": 1},
        "provenance": provenance(seed=0, device="cpu"),
    }
    write_whole(options.out, strict_json(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
