"""p_st against its peers, interleaved in one run: time as ratios, and what each gets right on a hard chain.

    python benchmarks/stationary.py [--device cpu] [--rounds 15] [--threads 1] [--out FILE]

Ours is the public `theory.stationary_distribution`, checks included, on one batch. Peers: quantecon's `gth_solve` in a
loop (the same elimination, for one matrix), numpy's batched `solve` with the last row replaced by ones, SciPy's
`null_space` in a loop, and LAPACK's `dgetrf` alone, the cost of one LU factorisation. PyDTMC's `MarkovChain(P).pi` and
deeptime's `stationary_distribution(P)` get P = I + A/Λ, Λ the largest exit rate, which has the same p, made beforehand;
both take one matrix at a time. QuTiP's `steadystate` gets the Liouvillian of the jumps √A_ij |i⟩⟨j|, made beforehand,
whose steady state is diagonal and holds p: n² unknowns, so it is asked up to n = 16. PyDTMC is asked up to n = 64, its
constructor analyses the graph. Those three are timed on the first matrices of the batch, and the time is scaled to all.

Every round times each of them once, in an order that turns by one; a ratio is the median over rounds of the ratio
within a round, so that a machine that slows down for a while slows both sides. Times are CPU times with one thread on
the CPU, else of the clock. On `--device cuda` ours runs there, as does torch's batched `solve`.
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
from peers import found
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
SHARE = {"PyDTMC": 64, "deeptime": 256, "QuTiP": 4}  # matrices of a batch that they are timed on
SELDOM = {"null_space": 3, "PyDTMC": 5, "deeptime": 5, "QuTiP": 3}  # rounds: orders slower than the others


def generators(batch: int, n: int, seed: int) -> np.ndarray:
    """Dense random A[batch, n, n] with rates uniform in (0, 1)."""
    A = np.random.default_rng(seed).random((batch, n, n))
    diagonal = np.arange(n)
    A[:, diagonal, diagonal] = 0.0
    A[:, diagonal, diagonal] = -A.sum(1)
    return A


def by_quantecon(A: np.ndarray) -> np.ndarray:
    """p[batch, n] by the same elimination, one matrix at a time (row convention)."""
    from quantecon.markov.gth_solve import gth_solve

    return np.stack([gth_solve(a.T) for a in A])


def transition_matrices(A: np.ndarray) -> np.ndarray:
    """P[batch, n, n] = I + A/Λ by rows, with the p of A."""
    P = A / np.abs(A).max((-2, -1), keepdims=True)
    return np.ascontiguousarray(np.swapaxes(P + np.eye(A.shape[-1]), -1, -2))


def by_pydtmc(P: np.ndarray) -> np.ndarray:
    """p[batch, n], one chain at a time."""
    from pydtmc import MarkovChain

    return np.stack([MarkovChain(one).pi[0] for one in P])


def by_deeptime(P: np.ndarray) -> np.ndarray:
    """p[batch, n], one matrix at a time."""
    from deeptime.markov.tools.analysis import stationary_distribution as of_deeptime

    return np.stack([of_deeptime(one) for one in P])


def liouvillians(A: np.ndarray) -> list[Any]:
    """The superoperators whose jumps take |j⟩ to |i⟩ at the rate A_ij."""
    import qutip

    n = A.shape[-1]
    kets = [qutip.basis(n, i) for i in range(n)]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return [qutip.liouvillian(None, [a[i, j] ** 0.5 * kets[i] @ kets[j].dag() for i, j in pairs]) for a in A]


def by_qutip(superoperators: list[Any]) -> np.ndarray:
    """p[batch, n], the diagonals of their steady states."""
    import qutip

    return np.stack([qutip.steadystate(one).diag().real for one in superoperators])


def others(A: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """The peers that are timed on a share of the batch, as far as they are installed."""
    n = A.shape[-1]
    P = transition_matrices(A[: max(SHARE.values())])
    runs: dict[str, Callable[[], np.ndarray]] = {}
    if n <= 64 and found("pydtmc"):
        runs["PyDTMC"] = lambda: by_pydtmc(P[: SHARE["PyDTMC"]])
    if found("deeptime"):
        runs["deeptime"] = lambda: by_deeptime(P[: SHARE["deeptime"]])
    if n <= 16 and found("qutip"):
        superoperators = liouvillians(A[: SHARE["QuTiP"]])
        runs["QuTiP"] = lambda: by_qutip(superoperators)
    return runs


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
    quantecon: dict[str, Callable[[], Any]] = {"quantecon": lambda: by_quantecon(A)} if found("quantecon") else {}
    if device.type != "cpu":
        return {**on_device(A, device), **quantecon}
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: stationary_distribution(A),
        **quantecon,
        "numpy solve": lambda: by_solve(A),
        "null_space": lambda: by_null_space(A),
        **others(A),
    }
    if len(A) == 1:
        column_major = np.asfortranarray(A[0])
        runs["dgetrf"] = lambda: dgetrf(column_major)
    return runs


def measure(batch: int, n: int, device: torch.device, rounds: int) -> dict[str, Any]:
    """Median seconds of each contestant and its ratio to ours, with quartiles."""
    runs = contestants(generators(batch, n, seed=n), device)
    now = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter

    def clock(name: str) -> float:
        start = now()
        runs[name]()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (now() - start) * batch / min(batch, SHARE.get(name, batch))

    names = list(runs)
    for name in names:  # compiles, and imports what is imported late
        if name != "null_space":
            clock(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        print(f"{batch} x ({n} x {n}): round {i + 1} of {rounds}", file=sys.stderr)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if i < SELDOM.get(name, rounds):
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
        errors = {
            name: float(np.abs(np.asarray(run())[0] / p - 1).max())
            for name, run in contestants(A, torch.device("cpu")).items()
            if name != "dgetrf"
        }
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
