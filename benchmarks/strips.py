"""Ordinary sparse chains whose p spans more than float64: is any refused, and is every entry right?

    python benchmarks/strips.py [--strips 2000] [--others 200] [--seed 0] [--out FILE]

Strips (levels × phases with random rates and a random drift), queues with batch arrivals, bursty genes with a telegraph
promoter and two-species boxes, of 1,000 to 20,000 states, and one box of 400 × 300. Each p_st of the sparse elimination
is held against a banded elimination in which every number carries its own exponent: another order, another algorithm,
written here. An error is the largest relative one over entries with p >= 1e-300; smaller ones must be 0 or subnormal.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit

import theory
from verify.statistics.provenance import provenance


def generator(rates: Any) -> Any:
    """The generator with the given off-diagonal rates."""
    return theory.from_rates(sp.csc_array(rates))


def grid(rng: np.random.Generator, levels: int, phases: int, up: Any, down: Any) -> Any:
    """Levels × phases: up and down between levels at the given rates times noise, phases in a ring of random rates."""
    noise = lambda k: np.exp(rng.normal(0.0, 0.5, k))  # noqa: E731
    state = np.arange(levels * phases).reshape(levels, phases)
    i, j, r = [], [], []

    def jump(source: np.ndarray, target: np.ndarray, rate: Any) -> None:
        i.append(target.ravel())
        j.append(source.ravel())
        r.append(np.broadcast_to(rate, source.shape).ravel() * noise(source.size))

    jump(state[:-1], state[1:], up)
    jump(state[1:], state[:-1], down)
    if phases > 1:
        jump(state, np.roll(state, -1, 1), 0.3)
        jump(state, np.roll(state, 1, 1), 0.2)
    rates = sp.coo_array((np.concatenate(r), (np.concatenate(i), np.concatenate(j))), shape=(state.size, state.size))
    return generator(rates)


def strip(rng: np.random.Generator) -> Any:
    """A random strip: width 2 to 6, drift from mild to strong, one, two or three wells along it."""
    phases = int(rng.integers(2, 7))
    levels = int(np.exp(rng.uniform(np.log(1_000), np.log(20_000)))) // phases
    strength, wells = 10.0 ** rng.uniform(-3, 0.5), int(rng.integers(1, 4))
    drift = strength * np.cos(np.pi * wells * np.linspace(0, 1, levels - 1) + rng.uniform(0, np.pi))[:, None]
    return grid(rng, levels, phases, np.exp(-drift), np.exp(drift))


def queue(rng: np.random.Generator) -> Any:
    """A queue with arrivals in batches of up to 8, in two environments; services one by one."""
    n, load = int(rng.integers(500, 5_000)), rng.uniform(0.05, 1.5)
    arrivals = sp.diags_array(
        [np.full(n - k, load / 8 * rng.uniform(0.2, 2.0)) for k in range(1, 9)], offsets=[-k for k in range(1, 9)]
    )
    steps = arrivals + sp.diags_array(np.full(n - 1, rng.uniform(1, 5)), offsets=1)
    switch = sp.csr_array([[0.0, rng.uniform(0.1, 1)], [rng.uniform(0.1, 1), 0.0]])
    return generator(sp.kron(steps, sp.eye_array(2)) + sp.kron(sp.eye_array(n), switch))


def gene(rng: np.random.Generator) -> Any:
    """A bursty gene with a telegraph promoter: copies are made only in one promoter state and decay one by one."""
    n, burst = int(rng.integers(500, 3_000)), rng.uniform(1, 30)
    made = sp.diags_array(np.full(n - 1, burst), offsets=-1)
    decay = sp.diags_array(np.arange(1.0, n), offsets=1)
    switch = sp.csr_array([[0.0, rng.uniform(0.01, 1)], [rng.uniform(0.01, 1), 0.0]])
    on = sp.csr_array([[0.0, 0.0], [0.0, 1.0]])
    return generator(sp.kron(made, on) + sp.kron(decay, sp.eye_array(2)) + sp.kron(sp.eye_array(n), switch))


def box(rng: np.random.Generator, first: int, second: int) -> Any:
    """Two species, each made at a rate that the other represses, and decaying: a truncated toggle switch."""
    x, y = np.meshgrid(np.arange(first), np.arange(second), indexing="ij")
    state, strength = np.arange(first * second).reshape(first, second), rng.uniform(5, 40)
    made_x, made_y = strength / (1 + (y / 10) ** 2), strength / (1 + (x / 10) ** 2)
    i = np.concatenate([state[1:].ravel(), state[:-1].ravel(), state[:, 1:].ravel(), state[:, :-1].ravel()])
    j = np.concatenate([state[:-1].ravel(), state[1:].ravel(), state[:, :-1].ravel(), state[:, 1:].ravel()])
    r = np.concatenate([made_x[:-1].ravel(), x[1:].ravel(), made_y[:, :-1].ravel(), y[:, 1:].ravel()])
    return generator(sp.coo_array((r, (i, j)), shape=(state.size, state.size)))


def banded(A: Any) -> np.ndarray:
    """p by GTH in the natural order, on the band, each number with its own exponent."""
    entries = A.tocoo()
    i, j = entries.coords
    off = (i != j) & (entries.data != 0)
    i, j, rate = i[off], j[off], entries.data[off]
    width = int(np.abs(i - j).max())
    m, e = np.zeros((A.shape[0], 2 * width + 1)), np.zeros((A.shape[0], 2 * width + 1), np.int32)
    m[i, j - i + width], e[i, j - i + width] = np.frexp(rate)
    x, f = _banded(m, e, width)
    top = f[x > 0].max()
    p = np.ldexp(x, np.maximum(f - top, -3000).astype(np.int32))
    return p / math.fsum(p)


@njit(cache=True)
def _add(m, e, a, f):
    if a == 0.0:
        return m, e
    if m == 0.0:
        return a, f
    if f > e:
        m, e, a, f = a, f, m, e
    if e - f < 120:
        m += math.ldexp(a, f - e)
    m, shift = math.frexp(m)
    return m, e + shift


@njit(cache=True)
def _banded(m, e, width):
    """Takes out the last state first; row i holds A_ij at column j − i + width."""
    n = len(m)
    s, t = np.zeros(n), np.zeros(n, np.int64)
    for k in range(n - 1, 0, -1):
        low = max(0, k - width)
        for i in range(low, k):
            s[k], t[k] = _add(s[k], t[k], m[i, k - i + width], e[i, k - i + width])
        for i in range(low, k):
            if m[i, k - i + width] > 0:
                a, f = m[i, k - i + width] / s[k], e[i, k - i + width] - t[k]
                for j in range(low, k):
                    if j != i and m[k, j - k + width] > 0:
                        c = j - i + width
                        m[i, c], e[i, c] = _add(m[i, c], e[i, c], a * m[k, j - k + width], f + e[k, j - k + width])
    x, y = np.zeros(n), np.zeros(n, np.int64)
    x[0] = 1.0
    for k in range(1, n):
        for j in range(max(0, k - width), k):
            x[k], y[k] = _add(x[k], y[k], m[k, j - k + width] * x[j], e[k, j - k + width] + y[j])
        if x[k] > 0:
            x[k], y[k] = x[k] / s[k], y[k] - t[k]
    return x, y


def judged(A: Any) -> dict[str, Any]:
    """How one chain fared."""
    start = time.process_time()
    try:
        p = theory.stationary_distribution(A)
    except theory.NumericalError as refusal:
        return {"states": A.shape[0], "refused": str(refusal)[:200]}
    spent = time.process_time() - start
    reference = banded(A)
    seen = reference >= 1e-300
    return {
        "states": A.shape[0],
        "seconds": spent,
        "error": float(np.abs(p[seen] / reference[seen] - 1).max()),
        "below": int((~seen).sum()),
        "largest_of_the_rest": float(p[~seen].max(initial=0.0)),
    }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One line per kind of chain."""
    right = [f for f in found if "refused" not in f]
    return {
        "chains": len(found),
        "refused": len(found) - len(right),
        "states": [min(f["states"] for f in found), max(f["states"] for f in found)],
        "largest_error": max(f["error"] for f in right),
        "largest_below_1e-300": max(f["largest_of_the_rest"] for f in right),
        "with_entries_below_1e-300": sum(f["below"] > 0 for f in right),
        "cpu_seconds_median": float(np.median([f["seconds"] for f in right])),
        "cpu_seconds_largest": max(f["seconds"] for f in right),
    }


def main() -> None:
    """Run every kind, print it and write the JSON."""
    parser = argparse.ArgumentParser(description="sparse chains beyond the range of float64", allow_abbrev=False)
    parser.add_argument("--strips", type=int, default=2_000)
    parser.add_argument("--others", type=int, default=100, help="queues, genes and boxes, of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/strips.json"))
    arguments = parser.parse_args()
    kinds = {
        "strips": (strip, arguments.strips),
        "queues": (queue, arguments.others),
        "genes": (gene, arguments.others),
        "boxes": (
            lambda rng: box(rng, int(rng.integers(40, 300)), int(rng.integers(20, 60))),
            max(1, arguments.others // 4),
        ),
        "box 400 x 300": (lambda rng: box(rng, 400, 300), 1),
    }
    for steep in (strip, gene):  # compiles both eliminations
        judged(steep(np.random.default_rng(0)))
    result: dict[str, Any] = {"provenance": provenance(seed=arguments.seed, device="cpu"), "kinds": {}}
    for kind, (make, count) in kinds.items():
        rng = np.random.default_rng([arguments.seed, *kind.encode()])
        result["kinds"][kind] = summary([judged(make(rng)) for _ in range(count)])
        print(kind, json.dumps(result["kinds"][kind]), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
