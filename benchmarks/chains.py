"""What sparse chains are asked beyond p_st, against SciPy on the same systems: CPU time as ratios, error in each entry.

    python benchmarks/chains.py [--rounds 5] [--side 200] [--gradient-side 300] [--out FILE]

On a driven lattice (see `benchmarks/sparse.py`): the expected times to a set of states and the hitting probabilities of
two corners against `scipy.sparse.linalg.spsolve` of the same equations, one sensitivity against `spsolve` with one row
replaced, and the gradient of a scalar of p_st in every stored rate against p_st itself (its error: of the entry that
weighs most, against a central difference). Errors of times and probabilities are against the package's elimination with
exponents, which shares no floating-point operation with the one that is timed; SciPy's beside them. Each round times
each contestant once, a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve
from sparse import lattice

import theory
from theory.generators.sparse import checked_rates
from theory.stationary.sparse.extended_fronts import eliminate_extended
from theory.stationary.sparse.extended_numbers import Numbers
from theory.stationary.sparse.stopped import stopped
from theory.stationary.sparse.substitution import extended_rewards
from verify.statistics.provenance import provenance


def raced(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Median of ours over theirs, and both medians, in seconds of CPU time."""
    ours(), theirs()
    spent = []
    for k in range(rounds):
        pair = []
        for contestant in (ours, theirs) if k % 2 else (theirs, ours):
            begin = time.process_time()
            contestant()
            pair.append(time.process_time() - begin)
        spent.append(pair if k % 2 else pair[::-1])
    mine, other = zip(*spent, strict=True)
    return statistics.median(a / b for a, b in spent), statistics.median(mine), statistics.median(other)


def by_exponents(A: Any, target: list[int], onto: np.ndarray | None) -> np.ndarray:
    """The expected reward until the set, by the elimination with exponents: times, or of the rates `onto`."""
    free = np.ones(A.shape[0], bool)
    free[target] = False
    chain, _ = stopped(checked_rates(A), free)
    factors = eliminate_extended(chain._columns, chain._rows, chain.plan.fronts(copies=2), keep=True)
    given = (np.ones(chain.n) if onto is None else onto[free]) / chain.exit_rate
    result = np.zeros(A.shape[0])
    found = extended_rewards(factors, Numbers.of(np.append(given, 0.0)[:, None])).rounded()
    result[free] = found[:-1, 0]
    return result


def relative(found: Any, reference: np.ndarray) -> float:
    """The largest relative error of an entry."""
    seen = reference > 0
    return float(np.abs(np.asarray(found)[seen] / reference[seen] - 1).max())


def main() -> None:
    """Run, print, write the JSON."""
    parser = argparse.ArgumentParser(description="sparse chains beyond p_st, against SciPy", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=200)
    parser.add_argument("--gradient-side", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "chains.json")
    options = parser.parse_args()
    A, _ = lattice(options.side, 20, driven=True)
    n = A.shape[0]
    corners = [0, n - 1]
    keep = np.setdiff1d(np.arange(n), corners)
    killed = sp.csc_array(-A.tocsr()[keep].tocsc()[:, keep].T)
    into = np.asarray(A.tocsr()[[n - 1]].toarray()).ravel()[keep]
    rng = np.random.default_rng(0)
    rates = A.tocoo()
    direction = theory.from_rates(
        sp.coo_array((rates.data * rng.normal(size=rates.nnz) ** 2, rates.coords), shape=A.shape).maximum(0)
    )
    moved = sp.csc_array(direction)
    rows: dict[str, Any] = {}

    def report(name: str, ratio: tuple[float, float, float], mine: float, other: float) -> None:
        rows[name] = {
            "ours_over_it": ratio[0],
            "cpu_seconds": ratio[1],
            "its_cpu_seconds": ratio[2],
            "error": mine,
            "its_error": other,
        }
        print(name, json.dumps(rows[name]), flush=True)

    times, reference = theory.mean_first_passage_times(A, corners), by_exponents(A, corners, None)
    theirs = spsolve(killed, np.ones(len(keep)))
    report(
        f"first passage to a set, {n} states",
        raced(
            lambda: theory.mean_first_passage_times(A, corners),
            lambda: spsolve(killed, np.ones(len(keep))),
            options.rounds,
        ),
        relative(times, reference),
        relative(theirs, reference[keep]),
    )
    h = theory.hitting_probabilities(A, corners)[1].numpy()
    full = np.zeros(n)
    full[keep] = into
    reference = by_exponents(A, corners, full)
    report(
        f"hitting probabilities, {n} states",
        raced(lambda: theory.hitting_probabilities(A, corners), lambda: spsolve(killed, into), options.rounds),
        relative(h[keep], reference[keep]),
        relative(spsolve(killed, into), reference[keep]),
    )
    p = theory.stationary_distribution(A)
    right = moved @ p
    likely = int(np.argmax(p))
    rest = np.setdiff1d(np.arange(n), likely)
    reduced = sp.csc_array(A.tocsr()[rest].tocsc()[:, rest])

    def replaced() -> np.ndarray:
        z = np.zeros(n)
        z[rest] = spsolve(reduced, -right[rest])
        return z - p * z.sum()

    mine, other = theory.sensitivity(A, moved).numpy(), replaced()
    scale = np.abs(mine).max()
    report(
        f"one sensitivity, {n} states (SciPy is given p_st)",
        raced(lambda: theory.sensitivity(A, moved), replaced, options.rounds),
        float(np.abs(mine - other).max() / scale),
        float(np.abs(mine - other).max() / scale),
    )
    B, _ = lattice(options.gradient_side, 20, driven=True)
    w = rng.normal(size=B.shape[0])
    ratio = raced(lambda: theory.rate_gradient(B, w), lambda: theory.stationary_distribution(B), options.rounds)
    gradient = theory.rate_gradient(B, w).tocoo()
    stored = sp.csr_array(B)[gradient.coords[0], gradient.coords[1]]
    k = int(np.argmax(np.abs(gradient.data * np.asarray(stored).ravel())))
    i, j = (c[k] for c in gradient.coords)
    step = 1e-4 * B[i, j]
    change = [sp.csc_array(([s * step, -s * step], ([i, j], [j, j])), shape=B.shape) for s in (1, -1)]
    slope = float(
        w @ (theory.stationary_distribution(B + change[0]) - theory.stationary_distribution(B + change[1])) / (2 * step)
    )
    report(f"gradient in every rate, {B.shape[0]} states, over p_st", ratio, abs(gradient.data[k] / slope - 1), 0.0)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"rows": rows, "provenance": provenance(seed=0, device="cpu", rounds=options.rounds)}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
