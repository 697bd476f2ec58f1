"""What the coupling is worth: arms of the network over paired seeds. `python -m verify.ablation`.

Every arm is trained once for each seed; arms of a seed share their initial fast weights and the order of the data, so
the difference d_s = loss(arm, s) − loss(baseline, s) is free of what the seeds do to both. Two yardsticks stand side
by side:

* unpaired, the paper's: |mean d| against the standard deviation of the baseline's loss over the seeds;
* paired: mean d ± t · sd(d)/√n, Student's t with n − 1 degrees of freedom at 95 % (Student, Biometrika 6, 1908), which
  resolves differences far below the seed noise.

`frozen` computes what `dense` computes; its differences are exactly 0, or something is wrong. Losses are in nats per
token on the validation split; no verdict is given here.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.config import ARMS, FastSlowConfig
from network.training_config import TrainConfig
from verify.command_line import (
    Parser,
    check_device,
    check_writable,
    positive_number,
    run,
    strict_json,
    write_whole,
)

if TYPE_CHECKING:
    from network.data import TokenData

DEFAULT_ARMS = ("dense", "frozen", "coupled")
LEVEL = 0.95


@dataclass(frozen=True)
class Cell:
    """One trained model: its loss at the end, what its gates are, and the seconds of its training steps."""

    arm: str
    seed: int
    validation_loss: float
    closed_gate_loss: float | None
    gate: float | None
    feedback_ratio: float | None
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """One arm over the seeds that it shares with the baseline.

    loss, seed_sd: mean and standard deviation of its own loss (None below two seeds). difference: mean of arm −
    baseline, interval its 95 % t interval (None below two seeds); both None for the baseline itself.
    within_seed_noise: the paper's criterion, |difference| <= the baseline's seed_sd. gate: mean |α|. time_ratio:
    seconds over the baseline's.
    """

    arm: str
    seeds: int
    loss: float
    seed_sd: float | None
    difference: float | None
    interval: tuple[float, float] | None
    within_seed_noise: bool | None
    gate: float | None
    time_ratio: float | None


@dataclass(frozen=True)
class Ablation:
    """All cells in the order they were trained, and a comparison for each arm with the first arm, the baseline."""

    baseline: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def comparisons(self) -> list[Comparison]:
        """A row per arm that has finished a seed, the baseline first."""
        arms = list(dict.fromkeys(cell.arm for cell in self.cells))
        return [compare(self.cells, arm, self.baseline) for arm in arms]

    def to_json(self) -> str:
        """Strict JSON: baseline, comparisons, cells, settings, provenance."""
        content = {
            "baseline": self.baseline,
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "cells": [asdict(cell) for cell in self.cells],
            "settings": self.settings,
            "provenance": self.provenance,
        }
        return strict_json(content)

    def table(self) -> str:
        """A line per arm."""
        against = f"arm − {self.baseline}"
        lines = [
            f"{'arm':8} {'seeds':>5} {'loss':>8} {'seed sd':>8} {against:>15} {'95 % interval':>22} {'|α|':>8} time"
        ]
        for c in self.comparisons:
            columns = [
                f"{c.arm:8} {c.seeds:5d} {c.loss:8.4f}",
                _number(c.seed_sd, 8, ".4f"),
                _number(c.difference, 15, "+.5f"),
                f"[{c.interval[0]:+.5f}, {c.interval[1]:+.5f}]".rjust(22) if c.interval else " " * 22,
                _number(c.gate, 8, ".1e"),
                _number(c.time_ratio, 4, ".2f"),
            ]
            lines.append(" ".join(columns).rstrip())
        return "\n".join(lines)


def compare(cells: Sequence[Cell], arm: str, baseline: str) -> Comparison:
    """`arm` against `baseline` over the seeds that both have finished (the arm's own figures over all of its seeds).

    Raises `ValueError` where the arm has no cell.
    """
    own = {cell.seed: cell for cell in cells if cell.arm == arm}
    other = {cell.seed: cell for cell in cells if cell.arm == baseline}
    if not own:
        raise ValueError(f"no cell of arm {arm!r} among {sorted({cell.arm for cell in cells})}")
    losses = [cell.validation_loss for cell in own.values()]
    gates = [cell.gate for cell in own.values() if cell.gate is not None]
    shared = sorted(own.keys() & other.keys()) if arm != baseline else []
    differences = [own[seed].validation_loss - other[seed].validation_loss for seed in shared]
    difference = statistics.fmean(differences) if differences else None
    noise = _sd([cell.validation_loss for cell in other.values()])
    return Comparison(
        arm=arm,
        seeds=len(own),
        loss=statistics.fmean(losses),
        seed_sd=_sd(losses),
        difference=difference,
        interval=t_interval(differences),
        within_seed_noise=None if difference is None or noise is None else abs(difference) <= noise,
        gate=statistics.fmean(gates) if gates else None,
        time_ratio=statistics.median(own[s].seconds / other[s].seconds for s in shared) if shared else None,
    )


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval for the mean of `values`; None below two of them."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def measure(
    model: FastSlowConfig,
    training: TrainConfig,
    *,
    data: TokenData,
    arms: Sequence[str] = DEFAULT_ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "cpu",
    progress: bool = False,
    finished: Callable[[Ablation], None] | None = None,
) -> Ablation:
    """Train `model` and `training` once for each of `arms` and `seeds`, whatever arm and seed they name themselves.

    The first arm is the baseline. finished: called after each cell with what there is so far.
    Raises `ValueError` for no or repeated arms or seeds, and whatever `network.training.train` raises.
    """
    from dataclasses import replace

    from network.training import train
    from verify.provenance import provenance

    for name, values in (("arms", arms), ("seeds", seeds)):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be different and at least one, got {list(values)}")
    settings = {"model": model.to_dict(), "training": training.to_dict(), "corpus": list(data.corpus)}
    settings = {**settings, "data": data.sha256, "arms": list(arms), "seeds": list(seeds)}
    made_with = provenance(seed=seeds[0], device=device)
    cells: list[Cell] = []
    for seed in seeds:  # seeds outside: an early end leaves whole pairs
        for arm in arms:
            result = train(
                replace(model, arm=arm, vocab_size=data.vocab_size),
                replace(training, seed=seed),
                data=data,
                device=device,
                progress=progress,
            )
            last = result.evaluations[-1]
            gate = statistics.fmean(last.gates.values()) if last.gates else None
            cells.append(
                Cell(arm, seed, last.validation_loss, last.closed_gate_loss, gate, last.feedback_ratio, result.seconds)
            )
            if finished is not None:
                finished(Ablation(arms[0], tuple(cells), settings, made_with))
    return Ablation(arms[0], tuple(cells), settings, made_with)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(prog="python -m verify.ablation", description=__doc__)
    arms = ",".join(DEFAULT_ARMS)
    p.add_argument("--arms", default=arms, help=f"baseline first, of {', '.join(ARMS)}; default {arms}")
    p.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 … N − 1; default %(default)s")
    for config, name, meaning in (
        (TrainConfig, "tokens", "training tokens of a cell"),
        (TrainConfig, "batch_size", "sequences a step"),
        (TrainConfig, "eval_tokens", "validation tokens of the final loss"),
        (FastSlowConfig, "period", "P"),
        (FastSlowConfig, "block_size", "T"),
        (FastSlowConfig, "n_layer", "fast layers"),
        (FastSlowConfig, "n_slow_layer", "slow layers"),
        (FastSlowConfig, "n_embd", "width"),
        (FastSlowConfig, "n_head", "heads"),
    ):
        default = 262_144 if name == "eval_tokens" else getattr(config, name)
        flag = "--" + name.replace("_", "-")
        p.add_argument(flag, type=int, default=default, help=f"{meaning}; default %(default)s")
    rate = TrainConfig.learning_rate
    p.add_argument("--learning-rate", type=positive_number, default=rate, help="its peak; default %(default)s")
    p.add_argument("--corpus", nargs="+", default=["shakespeare"], help="shakespeare, source, or files and folders")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    p.add_argument("--out", type=Path, default=Path("out/ablation"), metavar="DIR", help="default %(default)s")
    p.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    arms = tuple(arguments.arms.replace(",", " ").split())
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or not arms or len(set(arms)) != len(arms):
        p.error(f"argument --arms: {arguments.arms!r} must hold different arms of {', '.join(ARMS)}")
    if arguments.seeds < 1:
        p.error(f"argument --seeds: must be >= 1, got {arguments.seeds}")
    return run(partial(_command, arguments, arms), p.prog)


def _command(arguments: Any, arms: tuple[str, ...]) -> int:
    given = vars(arguments)
    model = FastSlowConfig(**{name: given[name] for name in given.keys() & FastSlowConfig().to_dict().keys()})
    training = TrainConfig(
        **{name: given[name] for name in given.keys() & TrainConfig().to_dict().keys()}, evaluations=1
    )
    out = check_writable(arguments.out)
    device = check_device(arguments.device)

    from network.corpus import open_corpus
    from network.data import load_data

    ablation = measure(
        model,
        training,
        data=load_data(open_corpus(arguments.corpus)),
        arms=arms,
        seeds=range(arguments.seeds),
        device=device,
        progress=True,
        finished=lambda so_far: write_whole(out / "ablation.json", so_far.to_json() + "\n"),
    )
    print(ablation.to_json() if arguments.json else ablation.table())  # noqa: T201
    return 0


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None, width: int, form: str) -> str:
    return f"{'' if value is None else format(value, form):>{width}}"


if __name__ == "__main__":
    sys.exit(main())
