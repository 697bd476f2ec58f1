"""python benchmarks/coverage_slope.py [--runs N] [--jump-runs N]: how often the slope's interval holds the true slope.

Reduced runs of the headline, each with test points (and, for jumps, training samples) of its own:

- clock, ode (driven_cycle): `POINTS` test points; the block means (states) themselves stand for φ_θ, whose learning
  part is 1e-9 of the gap and less on noise-free pairs;
- jumps (two_state): the whole way, sampled frequencies at `PAIRS` training points, φ_θ by multinomial regression at
  every period, its gap and the standard error of that gap, the interval.

The truth is the slope of the same fit on exact gaps: TV of the closed-form leading term, a mean over `TRUTH` points. An
interval that states 95 % covers it in 93 to 97 % of the runs, or is called conservative with its figure. Resumable: the
runs of jumps are kept under out/ one by one, and JSON is written as they come.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch

from theory import get_system, simulate, slow_manifold, stationary_distribution, token_clock, total_variation
from theory.clock.settled import settled_gap
from verify.command_line import strict_json, write_whole
from verify.fits.multinomial import fit
from verify.observe import jumps
from verify.observe.clock import crossing_rate
from verify.statistics.convergence import CONFIDENCE, fit_slope
from verify.statistics.provenance import provenance

RESULT = Path(__file__).parent / "results" / "coverage_slope.json"
RUNS = Path("out") / "coverage_slope" / "jump_runs.json"
RING, TWO, STEP, BLOCKS = "driven_cycle", "two_state", 0.05, 5
POINTS, PAIRS, TRUTH, TOKENS = 20, 150, 20_000, 10**9
CLOCK = (64, 128, 256, 512, 1024, 2048)
ODE = (64, 256, 1024, 4096)
JUMPS = (32, 64, 128, 256)


def clock_gaps(count: int, seed: int, period: int, *, exact: bool, name: str = RING) -> torch.Tensor:
    """TV(x̄, p_st) [count] of settled blocks from starts uniform in the box; exact: of the closed-form leading term."""
    system = get_system(name)
    y0 = system.uniform(count, seed=seed)
    x0 = torch.full((count, system.n_states), 1.0 / system.n_states, dtype=y0.dtype)
    blocks = token_clock(system, x0, y0, period=period, n_blocks=BLOCKS, step=STEP)
    y = blocks.y[:, -1]
    if exact:
        leading = settled_gap(system, y, period=period, step=STEP, near=blocks.y[:, -2]).leading
        return 0.5 * leading.abs().sum(-1)
    return total_variation(blocks.mean[:, -1], stationary_distribution(system.A(y)))


def ode_gaps(count: int, seed: int, period: int, *, exact: bool) -> torch.Tensor:
    """TV(x, p_st) [count] at the end of ODE trajectories; exact: of ε φ₁ + ε² φ₂, where these trajectories end."""
    system = get_system(RING)
    y0 = system.uniform(count, seed=seed)
    x0 = torch.full((count, system.n_states), 1.0 / system.n_states, dtype=y0.dtype)
    span = 0.25 / crossing_rate(system, system.uniform(256, seed=0))
    times = torch.tensor([0.0, span], dtype=y0.dtype)
    run = simulate(system, x0, y0, times, 1.0 / period, rtol=1e-10, atol=1e-13)
    y = run.y[:, -1]
    x = slow_manifold(system, 2)(y, 1.0 / period) if exact else run.x[:, -1]
    return total_variation(x, stationary_distribution(system.A(y)))


def noise_free(gaps_of: Any, periods: tuple[int, ...], runs: int, truth_points: int) -> dict[str, Any]:
    """How often the interval of a run's gaps holds the slope of the exact ones."""
    truth = slope_of([float(gaps_of(truth_points, 1, P, exact=True).mean()) for P in periods], periods)
    drawn = [gaps_of(runs * POINTS, 2, P, exact=False).reshape(runs, POINTS).mean(-1) for P in periods]
    found = [fit_slope([1 / P for P in periods], [float(gaps[k]) for gaps in drawn]) for k in range(runs)]
    return summary([one.interval for one in found], [one.slope for one in found], truth, periods)


def slope_of(gaps: list[float], periods: tuple[int, ...]) -> float:
    """The slope that the same fit gives."""
    found = fit_slope([1 / P for P in periods], gaps)
    if found.slope is None:
        raise RuntimeError(f"the exact gaps have no slope: {found.reason}")
    return found.slope


def one_jump_run(run: int) -> dict[str, Any]:
    """The interval and slope of one whole reduced run on sampled states."""
    system = get_system(TWO)
    gaps, errors = [], []
    test = system.uniform(POINTS, seed=10_000_019 + run)
    x0 = torch.full((POINTS, system.n_states), 1.0 / system.n_states, dtype=test.dtype)
    for period in JUMPS:
        pairs = jumps.collect(system, period, STEP, PAIRS, seed=2 * run, samples=TOKENS, n_blocks=BLOCKS)
        learned = fit(pairs.y, pairs.frequencies, seed=run)
        y = token_clock(system, x0, test, period=period, n_blocks=BLOCKS, step=STEP).y[:, -1]
        p = stationary_distribution(system.A(y))
        gaps.append(float(total_variation(learned.phi_theta(y).detach(), p).mean()))
        errors.append(learned.gap_error(y, p))
    noise = [error / gap for error, gap in zip(errors, gaps, strict=True)]
    found = fit_slope([1 / P for P in JUMPS], gaps, noise)
    return {"slope": found.slope, "interval": found.interval}


def summary(intervals: list[Any], slopes: list[Any], truth: float, periods: tuple[int, ...]) -> dict[str, Any]:
    """Coverage with its Monte-Carlo standard error, and what was covered."""
    known = [one for one in intervals if one is not None]
    held = sum(low <= truth <= high for low, high in known)
    share = held / len(known)
    return {
        "periods": list(periods),
        "runs": len(known),
        "without_a_slope": len(intervals) - len(known),
        "stated": CONFIDENCE,
        "coverage": share,
        "monte_carlo_error": math.sqrt(max(share * (1 - share), 1 / len(known)) / len(known)),
        "true_slope": truth,
        "mean_width": sum(high - low for low, high in known) / len(known),
        "spread_of_slopes": float(torch.tensor([s for s in slopes if s is not None], dtype=torch.float64).std()),
        "conservative": share > 0.97,
    }


def main() -> None:
    """The study, from where it stands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="of the clock; the ODE takes half as many")
    parser.add_argument("--jump-runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    told = {"step": STEP, "points": POINTS, "pairs": PAIRS, "tokens": TOKENS}

    def save(**more: Any) -> None:
        kept.update(more)
        made_with = provenance(seed=0, device="cpu", **told)
        write_whole(arguments.out, strict_json(kept | {"provenance": made_with}) + "\n")

    if kept.get("clock", {}).get("runs", 0) < arguments.runs:
        save(clock=noise_free(clock_gaps, CLOCK, arguments.runs, TRUTH))
    if kept.get("ode", {}).get("runs", 0) < arguments.runs // 2:
        save(ode=noise_free(ode_gaps, ODE, arguments.runs // 2, 2000))
    truth = slope_of([float(clock_gaps(TRUTH, 1, P, exact=True, name=TWO).mean()) for P in JUMPS], JUMPS)
    done = json.loads(RUNS.read_text()) if RUNS.exists() else []
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    for run in range(len(done), arguments.jump_runs):
        done.append(one_jump_run(run))
        if run % 10 == 9 or run == arguments.jump_runs - 1:
            write_whole(RUNS, strict_json(done) + "\n")
            save(jumps=summary([one["interval"] for one in done], [one["slope"] for one in done], truth, JUMPS))


if __name__ == "__main__":
    main()
