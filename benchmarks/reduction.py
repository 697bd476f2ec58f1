"""At which ε may the reduced model be trusted, on every system; and what it costs beside the full model.

    python benchmarks/reduction.py [--tolerance 0.01] [--out benchmarks/results/reduction.json]

`systems`: what `python -m verify.reduction` says of every built-in system and of the three worked examples under
docs/models, with its seconds. `cost`: processor time of `reduced_flow` over that of `simulate`, both at rtol 1e-6, atol
1e-9, ε = 1e-3, over the time in which y crosses a quarter of its box, at 51 and 201 output times, from one start and
from 64: the median over rounds of the ratio within a round, one thread, compile time excluded; with the evaluations,
which must not depend on the number of output times. Targets: 0.7 at order 0, 1.5 at order 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import theory
from verify.command_line import strict_json
from verify.reduction import measure
from verify.statistics.provenance import provenance

MODELS = Path(__file__).parents[1] / "docs" / "models"
TARGETS = (0.7, 1.5)
_COSTED = ("driven_cycle", "sodium_channel", "repressed_gene")
_EPS = 1e-3


def example(name: str) -> theory.FastSlowSystem:
    """The system of docs/models/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{MODELS / name}.py cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.system()


def cost(system: theory.FastSlowSystem, rounds: int) -> Iterator[dict[str, Any]]:
    """Ratios of processor time at both orders, for each number of output times and size of batch."""
    for batch in (1, 64):
        middle = 0.5 * (system.low + system.high)
        y0 = middle + 0.5 * (system.uniform(batch, seed=0) - middle)
        x0 = torch.full((batch, system.n_states), 1.0 / system.n_states, dtype=torch.float64)
        g = system.g(theory.stationary_distribution(system.A(y0)), y0).detach()
        span = 0.25 / float((g.abs() / (system.high - system.low)).amax())
        for count in (51, 201):
            t = torch.linspace(0.0, span, count, dtype=torch.float64)
            common = {"rtol": 1e-6, "atol": 1e-9}

            def sides(x0=x0, y0=y0, t=t, common=common) -> tuple[Any, ...]:
                return (
                    lambda: theory.simulate(system, x0, y0, t, _EPS, throw=False, **common),
                    lambda: theory.reduced_flow(system, y0, t, **common),
                    lambda: theory.reduced_flow(system, y0, t, order=1, eps=_EPS, x0=x0, **common),
                )

            full, *reduced = sides()
            evaluations = [side().stats.evaluations for side in (full, *reduced)]  # and compiles
            ratios: list[list[float]] = [[], []]
            seconds = []
            for _ in range(rounds if batch * system.n_states < 1_000 else 1):
                spent = []
                for side in (full, *reduced):
                    start = time.process_time()
                    side()
                    spent.append(time.process_time() - start)
                seconds.append(spent[0])
                for k in (0, 1):
                    ratios[k].append(spent[k + 1] / spent[0])
            yield (
                {
                    "system": system.name,
                    "batch": batch,
                    "times": count,
                    "full_ms": 1e3 * statistics.median(seconds),
                    "ratio": [statistics.median(one) for one in ratios],
                    "range": [[min(one), max(one)] for one in ratios],
                    "evaluations": evaluations,
                    "within_target": [
                        statistics.median(one) <= bound for one, bound in zip(ratios, TARGETS, strict=True)
                    ],
                }
            )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("systems", "cost"), help="one part; the file keeps the other")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reduction.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    written = json.loads(arguments.out.read_text()) if arguments.only and arguments.out.exists() else {}
    examples = sorted(path.stem for path in MODELS.glob("*.py"))
    systems = {name: theory.get_system(name) for name in theory.list_systems()} | {n: example(n) for n in examples}
    if arguments.only != "systems":
        written["cost"] = []
        for name in _COSTED:
            for row in cost(systems[name], arguments.rounds):
                written["cost"].append(row)
                print(json.dumps(row), flush=True)
    if arguments.only != "cost":
        written["systems"] = []
        for name, system in systems.items():
            start, cpu = time.perf_counter(), time.process_time()
            try:
                found = measure(system, arguments.tolerance).as_dict()
                del found["provenance"]
            except theory.NumericalError as error:
                found = {"system": name, "orders": [], "verdict": "ERROR", "reason": str(error)}
            found |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
            written["systems"].append(found)
            print(f"{name}: {found['verdict']} in {found['cpu_seconds']:.1f} CPU-s: {found['reason']}", flush=True)
    written["provenance"] = provenance(seed=0, device="cpu", tolerance=arguments.tolerance, rounds=arguments.rounds)
    arguments.out.write_text(strict_json(written) + "\n")


if __name__ == "__main__":
    main()
