"""How often the intervals of this toolkit cover: occupations of jump processes, and paired differences over seeds.

    python benchmarks/interval_coverage.py [--paths 2000] [--samples 20000]

Each row states 95 %, simulates, and counts: `covered` with its Monte-Carlo standard error `error`, for the single state
that is covered least, and for all of them. Chains: a random one of five states, one with transient states, one whose
wells the path leaves 0.2 to 1000 times, one with a rare state; paths of many lengths, all started in one state. Paired
differences: normal, and with the heavier tails of a t law of five degrees of freedom. Equivalence: how often the test
calls a difference exactly at the margin equivalent, which must be at most 5 %. Results go to
benchmarks/results/interval_coverage.json.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "interval_coverage.json"
LEVEL = 0.95


def chains() -> list[tuple[str, Any, int, list[float]]]:
    """(name, A, state at time 0, times)."""
    import torch

    from theory import from_rates, spectral_gap

    rng = torch.Generator().manual_seed(0)
    random = from_rates(torch.rand(5, 5, generator=rng, dtype=torch.float64))
    transient = torch.zeros(5, 5, dtype=torch.float64)
    transient[1, 0], transient[2, 1], transient[3, 1] = 0.3, 0.5, 0.2  # 0 and 1 drain into the class of 2, 3 and 4
    transient[3, 2], transient[4, 3], transient[2, 4], transient[2, 3] = 1.0, 2.0, 1.5, 0.4
    transient = from_rates(transient)
    wells = torch.ones(4, 4, dtype=torch.float64)
    wells[:2, 2:], wells[2:, :2] = 3e-4, 1e-4
    wells = from_rates(wells)
    rare = torch.ones(3, 3, dtype=torch.float64)
    rare[2, :2] = 1e-3
    rare = from_rates(rare)
    lifetime = from_rates(torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    gap = {name: float(spectral_gap(A)) for name, A in (("random", random), ("wells", wells))}
    return [
        ("random, five states", random, 0, [k / gap["random"] for k in (1, 5, 20, 200, 1000)]),
        ("one transient state", lifetime, 1, [1.0, 10.0, 100.0]),
        ("two transient states", transient, 0, [5.0, 50.0, 500.0, 5000.0]),
        ("metastable, two wells", wells, 0, [k / gap["wells"] for k in (0.2, 1, 5, 20, 200)]),
        ("a rare state", rare, 0, [100.0, 3e3, 3e5]),
    ]


def occupations(paths: int) -> list[dict[str, Any]]:
    """A row per chain and time."""
    import torch

    from theory import sample_jumps, spectral_gap, stationary_distribution

    rows = []
    for name, A, start, times in chains():
        p = stationary_distribution(A)
        for number, t in enumerate(times):
            path = sample_jumps(A, torch.full((paths,), start), t, seed=1000 + number, record=False)
            low, high = path.interval.unbind(-1)
            covered = ((low <= p) & (p <= high)).double().mean(0)
            least = float(covered.min())
            rows.append(
                {
                    "chain": name,
                    "t times gap": float(spectral_gap(A)) * t,
                    "paths": paths,
                    "least covered": least,
                    "error": math.sqrt(max(least * (1 - least), 1 / paths) / paths),
                    "covered": covered.tolist(),
                    "mean width": float((high - low).mean()),
                }
            )
    return rows


def differences(samples: int) -> list[dict[str, Any]]:
    """A row per law and number of seeds."""
    import numpy as np
    from scipy import stats

    from verify.statistics.paired import MARGIN, paired_difference, power_of_equivalence

    rows = []
    for law in ("normal", "t with 5 degrees of freedom"):
        for seeds in (2, 3, 5, 10, 20):
            rng = np.random.default_rng(seeds)
            drawn = rng.standard_normal((samples, seeds)) if law == "normal" else rng.standard_t(5, (samples, seeds))
            deviation = 0.007 * drawn / (1.0 if law == "normal" else math.sqrt(5 / 3))
            mean, spread = deviation.mean(1), deviation.std(1, ddof=1) / math.sqrt(seeds)
            half = stats.t.ppf(0.5 + LEVEL / 2, seeds - 1) * spread
            covered = float((np.abs(mean) <= half).mean())
            one_sided = stats.t.ppf(LEVEL, seeds - 1) * spread
            at_margin = float((np.abs(mean + MARGIN) + one_sided < MARGIN).mean())
            at_zero = float((np.abs(mean) + one_sided < MARGIN).mean())
            first = paired_difference(deviation[0].tolist())
            if first is None or first.interval is None or abs(first.interval[1] - mean[0] - half[0]) > 1e-12:
                raise RuntimeError("these intervals are not those of verify.statistics.paired")
            rows.append(
                {
                    "law": law,
                    "seeds": seeds,
                    "samples": samples,
                    "covered": covered,
                    "error": math.sqrt(covered * (1 - covered) / samples),
                    "called equivalent at the margin": at_margin,
                    "called equivalent at zero, sd 0.007": at_zero,
                    "its predicted power": power_of_equivalence(seeds, 0.007) if law == "normal" else None,
                }
            )
    return rows


def main() -> int:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--paths", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON that is written")
    options = parser.parse_args()

    from verify.command_line import strict_json, write_whole
    from verify.statistics.provenance import provenance

    content = {
        "level": LEVEL,
        "occupation": occupations(options.paths),
        "paired": differences(options.samples),
        "provenance": provenance(seed=1000, device="cpu"),
    }
    options.results.parent.mkdir(exist_ok=True)
    write_whole(options.results, strict_json(content) + "\n")
    for row in content["occupation"]:
        print(f"{row['chain']:24} t·gap {row['t times gap']:8.3g}  least covered {row['least covered']:.4f}")
    for row in content["paired"]:
        print(f"{row['law']:28} {row['seeds']:3d} seeds  covered {row['covered']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
