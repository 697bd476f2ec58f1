"""Jumps per second against a plain direct method, and the coverage of the occupation's joint interval.

    python benchmarks/jumps.py [--rounds 15] [--jumps 2000000] [--seeds 1000] [--out benchmarks/results/jumps.json]

Ours is the public `theory.sample_jumps` on one path, checks and tables included. The peer is the textbook direct method
in numba: −log(u)/rate for the waiting time, a linear search through the rates for the destination, numba's own random
numbers. Both sum the occupation; in the second comparison both also keep the path. Every round times each of them once,
in an order that turns by one; a ratio is the median over rounds of the ratio within a round, so that a machine that
slows down for a while slows both sides. One thread, CPU times.

rebop's `Gillespie` is a peer where a chain is a reaction network. The same 16 states are 240 reactions of one molecule,
which is not what rebop is for; births at the rate 50 and deaths at k from k copies are two, which is, and there ours
gets the sparse chain of 1,000 states. Where it keeps no path its number of jumps is the expected one, right within a
few thousandths.

Coverage: for each of `--seeds` seeds one path from state 0 over T = 200/(spectral gap), and how often the joint χ²
region holds p_st; 95 ± 2 % is the target. A batch is run on one thread and on two, and must be the same to the bit.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numba import njit
from peers import found
from scipy.stats import chi2

import theory
from verify.statistics.provenance import provenance

STATES = 16
TARGET_RATIO = 1.3
TARGET_COVERAGE = (0.93, 0.97)


@njit
def direct_method(rates, exit_rates, state, horizon, seed, occupation, times, states):
    """Number of jumps until `horizon`; the path goes to times and states as far as these have room."""
    np.random.seed(seed)  # noqa: NPY002  (numba's own generator, not NumPy's)
    n = len(exit_rates)
    clock, jumps = 0.0, 0
    while True:
        waiting = -math.log(1.0 - np.random.random()) / exit_rates[state]  # noqa: NPY002
        if clock + waiting >= horizon:
            occupation[state] += horizon - clock
            return jumps
        clock += waiting
        occupation[state] += waiting
        level = np.random.random() * exit_rates[state]  # noqa: NPY002
        total, i = rates[state, 0], 0
        while total <= level and i < n - 1:
            i += 1
            total += rates[state, i]
        state = i
        jumps += 1
        if jumps < len(times):
            times[jumps] = clock
            states[jumps] = state


def generator(seed: int) -> torch.Tensor:
    """A dense random generator of 16 states with rates uniform in (0, 1)."""
    return theory.from_rates(np.random.default_rng(seed).random((STATES, STATES)))


def contestants(A: torch.Tensor, horizon: float, room: int) -> dict[str, Callable[[int], int]]:
    """Each simulates one path to `horizon` from a seed and returns its number of jumps."""
    rates = A.numpy().T.copy()
    exit_rates = -rates.diagonal().copy()
    np.fill_diagonal(rates, 0.0)

    def peer(seed: int, record: bool) -> int:
        kept = room if record else 1
        times, states = np.empty(kept), np.empty(kept, np.int64)
        return direct_method(rates, exit_rates, 0, horizon, seed, np.zeros(STATES), times, states)

    def ours(seed: int, record: bool) -> int:
        return int(theory.sample_jumps(A, 0, horizon, seed=seed, record=record, max_jumps=room).jumps)

    return {
        "ours": lambda seed: ours(seed, False),
        "direct method": lambda seed: peer(seed, False),
        "ours, path kept": lambda seed: ours(seed, True),
        "direct method, path kept": lambda seed: peer(seed, True),
    }


def timed(runners: dict[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Jumps per second of CPU time of each, round by round."""
    for run in runners.values():
        run(0)  # compiles
    names = list(runners)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            started = time.process_time()
            made = runners[name](k)
            rates[name].append(made / (time.process_time() - started))
    return rates


def compared(rates: dict[str, list[float]], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Median rates, and the ratios within rounds of the pairs (ours, peer)."""
    ratios = {}
    for ours, peer in pairs:
        within = [a / b for a, b in zip(rates[ours], rates[peer], strict=True)]
        low, middle, high = statistics.quantiles(within, n=4)
        ratios[f"{ours.split(',')[0]} over {peer}"] = {"median": middle, "quartiles": [low, high]}
    return {
        "jumps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratios": ratios,
    }


def race(rounds: int, jumps: int) -> dict[str, Any]:
    """On 16 states, against the direct method and rebop."""
    A = generator(0)
    pace = float((theory.stationary_distribution(A) * -A.diagonal()).sum())
    runners = contestants(A, jumps / pace, 2 * jumps + 1000)
    pairs = [("ours", "direct method"), ("ours, path kept", "direct method, path kept")]
    rebop = found("rebop")
    if rebop:
        network = rebop.Gillespie()
        for i, j in np.argwhere(A.numpy() > 0):
            network.add_reaction(float(A[i, j]), [f"S{j}"], [f"S{i}"])
        horizon = min(jumps, 50_000) / pace  # orders slower

        def peer(seed: int) -> float:
            network.run({"S0": 1}, horizon, 1, rng=seed)
            return horizon * pace

        runners["rebop"] = peer
        pairs.append(("ours", "rebop"))
    return {"states": STATES, "jumps_per_path": jumps, **compared(timed(runners, rounds), pairs)}


def births_and_deaths(rounds: int, jumps: int, n: int = 1_000, births: float = 50.0) -> dict[str, Any] | None:
    """A sparse chain against the same two reactions in rebop."""
    rebop = found("rebop")
    if rebop is None:
        return None
    A = theory.from_rates(
        sp.diags_array([np.full(n - 1, births), np.arange(1.0, n)], offsets=[-1, 1], shape=(n, n), format="csc")
    )
    network = rebop.Gillespie()
    network.add_reaction(births, [], ["X"])
    network.add_reaction(1.0, ["X"], [])
    start, horizon = round(births), jumps / (2 * births)

    def ours(seed: int, record: bool) -> float:
        return float(theory.sample_jumps(A, start, horizon, seed=seed, record=record, max_jumps=2 * jumps + 1000).jumps)

    def peer(seed: int, record: bool) -> float:
        kept = network.run({"X": start}, horizon, 0 if record else 1, rng=seed)
        return float(len(kept["time"])) if record else 2 * births * horizon

    runners = {
        "ours": lambda seed: ours(seed, False),
        "rebop": lambda seed: peer(seed, False),
        "ours, path kept": lambda seed: ours(seed, True),
        "rebop, path kept": lambda seed: peer(seed, True),
    }
    pairs = [("ours", "rebop"), ("ours, path kept", "rebop, path kept")]
    return {"states": n, "jumps_per_path": jumps, **compared(timed(runners, rounds), pairs)}


def coverage(seeds: int) -> dict[str, Any]:
    """How often the joint 95 % region of the occupation holds p_st, over seeds 0 … seeds − 1."""
    A = generator(0)
    horizon = 200.0 / float(theory.spectral_gap(A))
    occupation = torch.stack(
        [theory.sample_jumps(A, 0, horizon, seed=seed, record=False).occupation for seed in range(seeds)]
    )
    statistic, freedom = theory.occupation_chi2(A, occupation, horizon)
    inside = float(np.mean(statistic.numpy() <= chi2.ppf(0.95, freedom)))
    seen = float(theory.total_variation(occupation, theory.stationary_distribution(A)).mean())
    expected = float(theory.expected_occupation_tv(A, horizon))
    return {"seeds": seeds, "t_times_gap": 200.0, "joint": inside, "mean_tv": seen, "expected_tv": expected}


def same_on_two_threads() -> bool:
    """Whether a batch of paths is the same to the bit on one thread and on two."""
    A, start = generator(0), torch.zeros(64, dtype=torch.long)
    one = theory.sample_jumps(A, start, 50.0, seed=3)
    torch.set_num_threads(2)
    two = theory.sample_jumps(A, start, 50.0, seed=3)
    torch.set_num_threads(1)
    return torch.equal(one.times, two.times) and torch.equal(one.states, two.states)


def main() -> int:
    """Run, print, write the JSON; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="the jump process against its peer", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jumps", type=int, default=2_000_000, help="jumps a path, about (default 2,000,000)")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "jumps.json")
    options = parser.parse_args()
    if min(options.rounds - 1, options.jumps, options.seeds) < 1:
        parser.error("--rounds must be at least 2, --jumps and --seeds at least 1")
    torch.set_num_threads(1)
    result = {
        "race": race(options.rounds, options.jumps),
        "births_and_deaths": births_and_deaths(options.rounds, options.jumps),
        "coverage": coverage(options.seeds),
        "one_seed_one_result": same_on_two_threads(),
        "targets": {"ratio": TARGET_RATIO, "coverage": list(TARGET_COVERAGE)},
        "provenance": provenance(seed=0, device="cpu", threads=1, rounds=options.rounds),
    }
    for case in ("race", "births_and_deaths"):
        raced = result[case]
        if raced is None:
            continue
        print(f"{raced['states']} states")
        for name, rate in raced["jumps_per_second"].items():
            print(f"  {name:<26} {rate / 1e6:8.3g} million jumps a second")
        for name, ratio in raced["ratios"].items():
            low, high = ratio["quartiles"]
            print(f"  {name:<36} {ratio['median']:8.4g}   quartiles {low:.4g} to {high:.4g}")
    covered = result["coverage"]
    print(f"joint 95 % region holds p_st in {100 * covered['joint']:.1f} % of {covered['seeds']} seeds at T·gap = 200")
    print(f"mean TV of the occupation {covered['mean_tv']:.4e}, expected {covered['expected_tv']:.4e}")
    print(f"one seed, one result on one and on two threads: {result['one_seed_one_result']}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    met = (
        result["race"]["ratios"]["ours over direct method"]["median"] >= TARGET_RATIO
        and TARGET_COVERAGE[0] <= covered["joint"] <= TARGET_COVERAGE[1]
        and result["one_seed_one_result"]
    )
    print("targets met" if met else "a target was missed")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
