"""p_st of large sparse generators against SciPy and deeptime: time as ratios, error in every entry, memory.

    python benchmarks/sparse.py [--rounds 9] [--side 300] [--large-side 1000] [--skip-large] [--out FILE]

Ours is the public `theory.stationary_distribution`, checks included. SuperLU (`scipy.sparse.linalg.splu`) solves
A p = 0 with one entry of p fixed: once as one writes it, in its default column order with the last state fixed; and
once at its best, in the order MMD_AT_PLUS_A with the most likely state fixed, which it is told. ARPACK (`eigs`) looks
for the eigenvalue next to zero by shift and inversion, once. deeptime's `stationary_distribution` gets the sparse
P = I + A/Λ, Λ the largest exit rate, on the lattices of 20 decades, once: with 124 it is off by any factor, and on four
wells it did not return. quantecon's `gth_solve` is dense: it gets the random graph alone, once. Not here: PyDTMC takes
dense matrices of some hundred states, QuTiP's `steadystate` has n² unknowns (both are in `benchmarks/stationary.py`).
Every round times each contestant once, in an order that turns by one; times are CPU times on one thread, a ratio is the
median over rounds of the ratio within a round.

With `--before FOLDER`, a checkout of an earlier commit (`git worktree add FOLDER COMMIT`), its elimination is timed in
alternation with this one on the driven lattice, each in a process of its own; nothing else is run then, and the outcome
goes into the JSON beside what it holds.

An error is the largest relative error of any entry of p. The references are the chains' own p: the birth-death chain's
by 30-digit arithmetic, the lattices' by construction (product form; the driven ones carry a circulation of 40 % of the
weakest flow on each face, which breaks detailed balance and leaves p as it is). The random graph has no known p: there
the dense elimination is the reference. The large lattice runs in a process of its own for each, for its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import scipy.sparse as sp
from peers import found as installed
from scipy.sparse.linalg import ArpackError, eigs, splu
from threadpoolctl import threadpool_limits

import theory
from verify.statistics.provenance import provenance

TARGET_ERROR, TARGET_RATIO, TARGET_MEMORY_GB = 1e-12, 1.3, 4.0
Solver = Callable[[Any, int], np.ndarray]


def generator(rates: Any) -> Any:
    """The generator with the given off-diagonal rates, by columns."""
    return sp.csc_array(rates - sp.diags_array(rates.sum(axis=0)))


def birth_death(n: int) -> tuple[Any, np.ndarray]:
    """A chain of n states with random rates and two valleys; p by 30-digit arithmetic."""
    rng = np.random.default_rng(0)
    up = np.exp(rng.normal(0.0, 1.0, n - 1))
    slope = 800 * np.pi / n * np.cos(4 * np.pi * np.arange(n - 1) / n)
    down = up * np.exp(rng.normal(0.0, 0.1, n - 1) + slope)
    with mpmath.workdps(30):
        p = [mpmath.mpf(1)]
        for birth, death in zip(up.tolist(), down.tolist(), strict=True):
            p.append(p[-1] * birth / death)
        total = mpmath.fsum(p)
        reference = np.array([float(v / total) for v in p])
    return generator(sp.diags_array([up, down], offsets=[-1, 1])), reference


def lattice(side: int, decades: float, *, driven: bool, wells: int = 1) -> tuple[Any, np.ndarray]:
    """Two species of up to side − 1 copies: p of product form over `decades` powers of ten, with wells² modes."""
    x = np.linspace(-1.0, 1.0, side)
    valley = (x - 0.2) ** 2 / 1.44 if wells == 1 else (2 * x**2 - 1) ** 2 - 0.01 * x
    log_p = -np.log(10) * decades / 2 * valley
    p = np.exp(log_p[:, None] + log_p[None, :]).ravel()
    state = np.arange(side * side).reshape(side, side)
    lower = np.concatenate([state[:-1].ravel(), state[:, :-1].ravel()])
    upper = np.concatenate([state[1:].ravel(), state[:, 1:].ravel()])
    flow = np.sqrt(p[lower]) * np.sqrt(p[upper])
    forward, backward = flow.copy(), flow.copy()
    if driven:
        face = np.arange((side - 1) ** 2).reshape(side - 1, side - 1)
        row, column = (f.ravel() for f in np.indices(face.shape))
        along = row * side + column  # the edge (row, column) -> (row + 1, column) is number row·side + column
        across = side * (side - 1) + row * (side - 1) + column
        edges = [(along, 1), (across + side - 1, 1), (along + 1, -1), (across, -1)]  # once around the face
        strength = 0.4 * np.min([flow[edge] for edge, _ in edges], axis=0)
        strength *= np.random.default_rng(1).choice([-1.0, 1.0], face.size)
        for edge, direction in edges:  # more along the edge, less against it: the net flow out of each state stays zero
            forward[edge] += direction * strength
            backward[edge] -= direction * strength
    rates = sp.csc_array(
        (
            np.concatenate([forward / p[lower], backward / p[upper]]),
            (np.concatenate([upper, lower]), np.concatenate([lower, upper])),
        ),
        shape=(side * side, side * side),
    )
    return generator(rates), p / p.sum()


def random_graph(n: int) -> tuple[Any, np.ndarray]:
    """Three random jumps out of each state at rates over four decades: an expander, with no small separator."""
    rng = np.random.default_rng(2)
    j = np.tile(np.arange(n), 3)
    i = np.concatenate([rng.permutation(n) for _ in range(2)] + [(np.arange(n) + 1) % n])
    rates = sp.csc_array((10.0 ** rng.uniform(-2, 2, len(i))[i != j], (i[i != j], j[i != j])), shape=(n, n))
    A = generator(rates)
    return A, theory.stationary_distribution(A.toarray())


def ours(A: Any, likely: int) -> np.ndarray:
    """The toolkit's own answer; it is not told which state is likely."""
    return theory.stationary_distribution(A)


def superlu(order: str, *, told: bool) -> Solver:
    """p by one sparse LU factorisation of A without the row and the column of the state whose p is fixed."""

    def solve(A: Any, likely: int) -> np.ndarray:
        fixed = likely if told else A.shape[0] - 1
        rest = np.delete(np.arange(A.shape[0]), fixed)
        reduced = A[:, rest].tocsr()[rest].tocsc()
        p = np.ones(A.shape[0])
        p[rest] = splu(reduced, permc_spec=order).solve(-A[:, [fixed]].toarray().ravel()[rest])
        return p / p.sum()

    return solve


def arpack(A: Any, likely: int) -> np.ndarray:
    """The eigenvector of the eigenvalue next to zero."""
    _, vectors = eigs(A, k=1, sigma=1e-10 * float(abs(A.diagonal()).max()))
    p = vectors[:, 0].real
    return p / p.sum()


def by_deeptime(A: Any, likely: int) -> np.ndarray:
    """p of P = I + A/Λ by rows, sparse."""
    from deeptime.markov.tools.analysis import stationary_distribution as of_deeptime

    P = (sp.eye_array(A.shape[0]) + A / float(abs(A.diagonal()).max())).T
    return of_deeptime(sp.csr_matrix(P))


def by_quantecon(A: Any, likely: int) -> np.ndarray:
    """p by the dense elimination, compiled."""
    from quantecon.markov.gth_solve import gth_solve

    return gth_solve(A.T.toarray())


SOLVERS: dict[str, Solver] = {
    "ours": ours,
    "SuperLU": superlu("COLAMD", told=False),
    "SuperLU at its best": superlu("MMD_AT_PLUS_A", told=True),
}


def quality(p: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """The largest relative error of an entry (null where p is not finite), and how many entries are negative."""
    error = float(np.max(np.abs(p / reference - 1)))
    return {"error": error if np.isfinite(error) else None, "negative": int(np.count_nonzero(p < 0))}


def once(solve: Solver, A: Any, reference: np.ndarray) -> dict[str, Any]:
    """Error and seconds of one run, or why it gave nothing."""
    started = time.process_time()
    try:
        row = quality(solve(A, int(np.argmax(reference))), reference)
    except (ArpackError, RuntimeError, ValueError) as error:
        row = {"error": None, "reason": str(error)[:300]}
    return {**row, "seconds": time.process_time() - started}


def race(A: Any, reference: np.ndarray, rounds: int, *, lattice: bool) -> dict[str, Any]:
    """Error and median seconds of each, and the ratios of ours to them within rounds."""
    moderate = reference.min() > 1e-30
    likely = int(np.argmax(reference))
    found: dict[str, Any] = {}
    for name, solve in SOLVERS.items():  # compiles ours; not timed
        found[name] = quality(solve(A, likely), reference)
    names = list(SOLVERS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            started = time.process_time()
            SOLVERS[name](A, likely)
            seconds[name].append(time.process_time() - started)
    for name in names:
        found[name]["seconds"] = statistics.median(seconds[name])
        found[name]["ours_over_it"] = statistics.median(
            a / b for a, b in zip(seconds["ours"], seconds[name], strict=True)
        )
    if lattice:
        found["ARPACK"] = once(arpack, A, reference)
    if lattice and moderate and installed("deeptime"):
        found["deeptime"] = once(by_deeptime, A, reference)
    if not lattice and A.shape[0] <= 5_000 and installed("quantecon"):
        by_quantecon(A[:3, :3] - sp.diags_array(A[:3, :3].sum(axis=0)), 0)  # compiles
        found["quantecon"] = once(by_quantecon, A, reference)
    for row in found.values():
        row.setdefault("ours_over_it", found["ours"]["seconds"] / row["seconds"])
    return {"states": A.shape[0], "smallest_p": float(reference.min()), "results": found}


def large(side: int) -> dict[str, Any]:
    """Each contestant on side × side states in a fresh process: seconds, error, peak memory."""
    found = {}
    for name in SOLVERS:
        command = [sys.executable, __file__, "--one", name, "--large-side", str(side)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        found[name] = json.loads(run.stdout) if run.returncode == 0 else {"error": None, "reason": run.stderr[-300:]}
    return {"states": side * side, "results": found}


def one(name: str, side: int) -> dict[str, Any]:
    """What `large` measures, in this process."""
    if name == "ours":
        ours(lattice(20, 20, driven=True)[0], 0)  # compiles
    A, reference = lattice(side, 124, driven=True)
    started = time.process_time()
    p = SOLVERS[name](A, int(np.argmax(reference)))
    seconds = time.process_time() - started
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return {**quality(p, reference), "seconds": seconds, "peak_memory_gb": peak}


BESIDE = """
import sys, time
from scipy.sparse import csc_array, load_npz
from theory import stationary_distribution
A = csc_array(load_npz(sys.argv[1]))
stationary_distribution(A)
for _ in sys.stdin:
    begin = time.process_time()
    stationary_distribution(A)
    print(time.process_time() - begin, flush=True)
"""


def beside(before: Path, side: int, rounds: int) -> dict[str, Any]:
    """CPU time of this checkout's elimination over an earlier one's, in alternation, a process for each."""
    here = Path(__file__).parent.parent
    workers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lattice.npz"
        sp.save_npz(file, lattice(side, 20, driven=True)[0])
        for name, checkout in (("now", here), ("before", before.resolve())):
            workers[name] = subprocess.Popen(
                [sys.executable, "-c", BESIDE, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=checkout,
                env={**os.environ, "PYTHONPATH": str(checkout)},
            )
        return _alternating(workers, before, side, rounds)


def _alternating(workers: dict[str, Any], before: Path, side: int, rounds: int) -> dict[str, Any]:
    def clock(name: str) -> float:
        worker = workers[name]
        worker.stdin.write("\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())

    names = list(workers)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names[k % 2 :] + names[: k % 2]:
            spent[name].append(clock(name))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    commit = subprocess.run(
        ["git", "-C", str(before), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    )
    ratios = [a / b for a, b in zip(spent["now"], spent["before"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "before": commit.stdout.strip(),
        "states": side * side,
        "rounds": rounds,
        "now_over_before": {"median": middle, "quartiles": [low, high]},
        "best_now_over_best_before": min(spent["now"]) / min(spent["before"]),
        "cpu_seconds": {name: statistics.median(values) for name, values in spent.items()},
        "provenance": provenance(seed=0, device="cpu", rounds=rounds),
    }


def show(name: str, case: dict[str, Any]) -> None:
    """One line for each contestant."""
    print(f"{name} ({case['states']} states)")
    for who, row in case["results"].items():
        error = "not finite" if row.get("error") is None else f"{row['error']:.1e}"
        line = f"  {who:<24} error {error:>10}   {row.get('negative', 0):>6} negative"
        line += f"   {row['seconds']:8.3f} s" if "seconds" in row else f"   {row.get('reason', '')}"
        line += f"   ours / it {row['ours_over_it']:.2f}" if "ours_over_it" in row else ""
        line += f"   peak {row['peak_memory_gb']:.2f} GB" if "peak_memory_gb" in row else ""
        print(line, flush=True)


def main() -> int:
    """Run, print, write the JSON; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="sparse stationary distributions against SciPy", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--side", type=int, default=300, help="of the raced lattices (default 300)")
    parser.add_argument("--large-side", type=int, default=1000, help="of the lattice that is run for its memory")
    parser.add_argument("--skip-large", action="store_true", help="leave that lattice out (about a minute)")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases alone, beside what the JSON holds")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="an earlier checkout, timed beside this one")
    parser.add_argument("--one", choices=list(SOLVERS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sparse.json")
    options = parser.parse_args()
    if min(options.rounds, options.side - 1, options.large_side - 1) < 1:
        parser.error("--rounds must be at least 1, --side and --large-side at least 2")
    warnings.simplefilter("ignore", RuntimeWarning)  # a peer's p may hold NaN, which the table then shows
    if options.one:
        print(json.dumps(one(options.one, options.large_side)))
        return 0
    held = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.before:
        held["beside_an_earlier_commit"] = beside(options.before, options.side, options.rounds)
        print(json.dumps(held["beside_an_earlier_commit"]))
        options.out.write_text(json.dumps(held, indent=2, allow_nan=False) + "\n")
        return 0
    chains = {
        "birth-death chain": lambda: birth_death(100_000),
        "lattice, 20 decades": lambda: lattice(options.side, 20, driven=False),
        "driven lattice, 20 decades": lambda: lattice(options.side, 20, driven=True),
        "lattice, 124 decades": lambda: lattice(options.side, 124, driven=False),
        "driven lattice, 124 decades": lambda: lattice(options.side, 124, driven=True),
        "driven lattice, 124 decades, four wells": lambda: lattice(options.side, 124, driven=True, wells=2),
        "random graph": lambda: random_graph(2000),
    }
    cases: dict[str, Any] = held.get("cases", {}) if options.only else {}
    for name in options.only or chains:
        if name not in chains:
            parser.error(f"--only: {name!r} is none of {', '.join(chains)}")
        A, reference = chains[name]()
        with threadpool_limits(1):
            cases[name] = race(A, reference, options.rounds, lattice="lattice" in name)
        cases[name]["provenance"] = provenance(seed=0, device="cpu", rounds=options.rounds)
        show(name, cases[name])
    if not (options.skip_large or options.only):
        cases["large driven lattice, 124 decades"] = large(options.large_side)
        show("large driven lattice, 124 decades", cases["large driven lattice, 124 decades"])
    result = {
        **held,
        "cases": cases,
        "targets": {"error": TARGET_ERROR, "ratio": TARGET_RATIO, "peak_memory_gb": TARGET_MEMORY_GB},
        "provenance": held.get("provenance")
        if options.only
        else provenance(seed=0, device="cpu", rounds=options.rounds),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    mine = {name: case["results"]["ours"] for name, case in cases.items()}
    met = (
        all(row["error"] is not None and row["error"] <= TARGET_ERROR for row in mine.values())
        and all(
            row.get("ours_over_it", 0.0) <= TARGET_RATIO
            for name, case in cases.items()
            if "lattice, 20 decades" in name
            for row in case["results"].values()
        )
        and all(row.get("peak_memory_gb", 0.0) <= TARGET_MEMORY_GB for row in mine.values())
    )
    print("targets met" if met else "a target was missed")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
