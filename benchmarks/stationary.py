"""p_st against its peers, interleaved in one run: time as ratios, and what each gets right on a hard chain.

    python benchmarks/stationary.py [--device cpu] [--rounds 15] [--threads 1] [--out FILE]

Ours is the public `theory.stationary_distribution`, checks included, on one batch. Peers: quantecon's `gth_solve` in a
loop (the same elimination, for one matrix), numpy's batched `solve` with the last row replaced by ones, SciPy's
`null_space` in a loop, and LAPACK's `dgetrf` alone, the cost of one LU factorisation. Every round times each of them
once, in an order that turns by one; a ratio is the median over rounds of the ratio within a round, so that a machine
that slows down for a while slows both sides. On `--device cuda` ours runs there, as does torch's batched `solve`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quantecon.markov.gth_solve import gth_solve
from scipy.linalg import null_space
from scipy.linalg.lapack import dgetrf  # pyright: ignore[reportAttributeAccessIssue]
from threadpoolctl import threadpool_limits

from theory import stationary_distribution
from verify.statistics.provenance import provenance

CASES = ((65536, 4), (4096, 16), (1024, 64), (1, 1024))
TARGETS = {  # ours at least so many times faster
    (65536, 4): {"quantecon": 20.0},
    (4096, 16): {"quantecon": 3.0},
    (1024, 64): {"quantecon": 3.0},
    (1, 1024): {"quantecon": 8.0, "dgetrf": 0.5},
}


def generators(batch: int, n: int, seed: int) -> np.ndarray:
    """Dense random A[batch, n, n] with rates uniform in (0, 1)."""
    A = np.random.default_rng(seed).random((batch, n, n))
    diagonal = np.arange(n)
    A[:, diagonal, diagonal] = 0.0
    A[:, diagonal, diagonal] = -A.sum(1)
    return A


def by_quantecon(A: np.ndarray) -> np.ndarray:
    """p[batch, n] by the same elimination, one matrix at a time (row convention)."""
    return np.stack([gth_solve(a.T) for a in A])


def by_solve(A: np.ndarray) -> np.ndarray:
    """p[batch, n] by LU: the last equation is replaced by Σ p = 1."""
    M = A.copy()
    M[:, -1] = 1.0
    b = np.zeros((*A.shape[:-1], 1))
    b[:, -1] = 1.0
    return np.linalg.solve(M, b)[..., 0]


def by_null_space(A: np.ndarray) -> np.ndarray:
    """p[batch, n] by SVD, one matrix at a time."""
    v = np.stack([null_space(a)[:, 0] for a in A])
    return v / v.sum(-1, keepdims=True)


def on_device(A: np.ndarray, device: torch.device) -> dict[str, Callable[[], Any]]:
    """Ours and torch's batched solve, with A already on the device."""
    there = torch.from_numpy(A).to(device)

    def torch_solve() -> torch.Tensor:
        M = there.clone()
        M[:, -1] = 1.0
        b = torch.zeros_like(M[..., :1])
        b[:, -1] = 1.0
        return torch.linalg.solve(M, b)

    return {"ours": lambda: stationary_distribution(there), "torch solve": torch_solve}


def contestants(A: np.ndarray, device: torch.device) -> dict[str, Callable[[], Any]]:
    """Ours first, then the peers, each as a function without arguments."""
    if device.type != "cpu":
        return {**on_device(A, device), "quantecon": lambda: by_quantecon(A)}
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: stationary_distribution(A),
        "quantecon": lambda: by_quantecon(A),
        "numpy solve": lambda: by_solve(A),
        "null_space": lambda: by_null_space(A),
    }
    if len(A) == 1:
        column_major = np.asfortranarray(A[0])
        runs["dgetrf"] = lambda: dgetrf(column_major)
    return runs


def measure(batch: int, n: int, device: torch.device, rounds: int) -> dict[str, Any]:
    """Median seconds of each contestant and its ratio to ours, with quartiles."""
    runs = contestants(generators(batch, n, seed=n), device)

    def clock(name: str) -> float:
        start = time.perf_counter()
        runs[name]()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    names = list(runs)
    seldom = {"null_space": 3}  # two to four orders slower than the others
    for name in names:
        if name not in seldom:
            clock(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        print(f"{batch} x ({n} x {n}): round {i + 1} of {rounds}", file=sys.stderr)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if i < seldom.get(name, rounds):
                seconds[name].append(clock(name))
    ratios = []
    for name in names[1:]:
        paired = [a / b for a, b in zip(seconds[name], seconds["ours"], strict=False)]
        low, _, high = statistics.quantiles(paired, n=4)
        target = TARGETS[batch, n].get(name) if device.type == "cpu" else None
        ratios.append(
            {"peer": name, "times_ours": statistics.median(paired), "quartiles": [low, high], "target": target}
        )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"batch": batch, "n": n, "seconds": medians, "ratios": ratios}


def accuracy() -> list[dict[str, Any]]:
    """Largest relative error of an entry on double wells with a known product form, n = 64."""
    rows = []
    for depth in (20.0, 120.0, 345.0):
        s = np.linspace(-1.3, 1.3, 64)
        step = np.diff(depth * ((s**2 - 1) ** 2 + 0.1 * s))
        up, down = np.exp(np.minimum(-step, 0.0)), np.exp(np.minimum(step, 0.0))
        R = np.diag(up, -1) + np.diag(down, 1)
        A = (R - np.diag(R.sum(0)))[None]
        p = np.concatenate([[1.0], np.cumprod(up.astype(np.longdouble) / down.astype(np.longdouble))])
        p = p / p.sum()
        solvers = {
            "ours": stationary_distribution,
            "quantecon": by_quantecon,
            "numpy solve": by_solve,
            "null_space": by_null_space,
        }
        errors = {name: float(np.abs(solver(A)[0] / p - 1).max()) for name, solver in solvers.items()}
        rows.append({"smallest_p": float(p.min()), "largest_relative_error": errors})
    return rows


def main() -> int:
    """Measure, print the tables, write the JSON; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description="p_st against its peers")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="for torch and BLAS alike; default 1, the same for all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/stationary.json"))
    args = parser.parse_args()
    if args.rounds < 2 or args.threads < 1:
        parser.error("--rounds must be at least 2, --threads at least 1")
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    with threadpool_limits(args.threads):
        cases = [measure(batch, n, device, args.rounds) for batch, n in CASES]
        errors = accuracy()
    for case in cases:
        times = ", ".join(f"{name} {1e3 * value:.3g}" for name, value in case["seconds"].items())
        print(f"{case['batch']} x ({case['n']} x {case['n']}), median ms: {times}")
        for row in case["ratios"]:
            low, high = row["quartiles"]
            target = "" if row["target"] is None else f"   target >= {row['target']:g}"
            print(f"  {row['peer'] + ' / ours':24s} {row['times_ours']:8.2f} [{low:.2f}, {high:.2f}]{target}")
    print("double well, n = 64: largest relative error of an entry of p")
    for row in errors:
        listed = ", ".join(f"{name} {error:.1e}" for name, error in row["largest_relative_error"].items())
        print(f"  smallest p {row['smallest_p']:.0e}: {listed}")
    record = provenance(seed=0, device=args.device, threads=torch.get_num_threads(), rounds=args.rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"cases": cases, "accuracy": errors, "provenance": record}, indent=1) + "\n")
    rows = [row for case in cases for row in case["ratios"] if row["target"] is not None]
    met = all(row["times_ours"] >= row["target"] for row in rows)
    print("targets met" if met else "a target was missed")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
