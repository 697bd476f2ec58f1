"""What sparse chains are asked beyond p_st, against SciPy on the same systems: CPU time as ratios, error in each entry.

    python benchmarks/chains.py [--rounds 5] [--side 200] [--gradient-side 300] [--out FILE]

On a driven lattice (see `benchmarks/sparse.py`): the expected times to a set of states and the hitting probabilities of
two corners against `scipy.sparse.linalg.spsolve` of the same equations; errors are the largest relative ones of an
entry against the package's elimination with exponents, which shares no floating-point operation with the one that is
timed. On a lattice with p ∝ e^{−θV} and rates √(p_i/p_j), dp/dθ = p (⟨V⟩ − V) is known: one sensitivity against
`spsolve` with one row replaced, and the gradient of a scalar w·p in every stored rate, in the time of p_st itself,
which with dA/dθ must give w·dp/dθ. Their errors are relative, entry by entry, to p_i (⟨V⟩ + V_i), the terms whose
difference it is. Each round times each contestant once, in CPU time on one thread; a ratio is the median over rounds.
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


def tilted(side: int, decades: float) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A, dA/dθ, dp/dθ and p (⟨V⟩ + V) of side × side states with p ∝ e^{−θV} over `decades` powers of ten."""
    x = (np.linspace(-1.0, 1.0, side) - 0.2) ** 2 / 1.44
    V = (x[:, None] + x[None, :]).ravel()
    theta = np.log(10) * decades / 2
    p = np.exp(-theta * V)
    p /= p.sum()
    state = np.arange(side * side).reshape(side, side)
    lower = np.concatenate([state[:-1].ravel(), state[:, :-1].ravel()])
    upper = np.concatenate([state[1:].ravel(), state[:, 1:].ravel()])
    i, j = np.concatenate([upper, lower]), np.concatenate([lower, upper])
    rate = np.exp(-theta * (V[i] - V[j]) / 2)

    def completed(values: np.ndarray) -> Any:
        off = sp.csc_array((values, (i, j)), shape=(side * side, side * side))
        return sp.csc_array(off - sp.diags_array(off.sum(axis=0)))

    return completed(rate), completed(-0.5 * (V[i] - V[j]) * rate), p * (p @ V - V), p * (p @ V + V)


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
    A, direction, exact, terms = tilted(options.side, 20)
    p = theory.stationary_distribution(A)
    right = direction @ p
    likely = int(np.argmax(p))
    rest = np.setdiff1d(np.arange(n), likely)
    reduced = sp.csc_array(A.tocsr()[rest].tocsc()[:, rest])

    def replaced() -> np.ndarray:
        z = np.zeros(n)
        z[rest] = spsolve(reduced, -right[rest])
        return z - p * z.sum()

    report(
        f"one sensitivity, {n} states (SciPy is given p_st)",
        raced(lambda: theory.sensitivity(A, direction), replaced, options.rounds),
        float((np.abs(theory.sensitivity(A, direction).numpy() - exact) / terms).max()),
        float((np.abs(replaced() - exact) / terms).max()),
    )
    B, direction, exact, terms = tilted(options.gradient_side, 20)
    w = np.random.default_rng(0).normal(size=B.shape[0])
    ratio = raced(lambda: theory.rate_gradient(B, w), lambda: theory.stationary_distribution(B), options.rounds)
    slope = float(theory.rate_gradient(B, w).multiply(direction).sum())
    report(
        f"gradient in every rate, {B.shape[0]} states, over p_st",
        ratio,
        float(abs(slope - w @ exact) / (np.abs(w) @ terms)),
        0.0,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"rows": rows, "provenance": provenance(seed=0, device="cpu", rounds=options.rounds)}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
