"""The command line `python -m verify.ablation`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.config import ARMS, FastSlowConfig
from network.train import add_corpus_options, add_options, given_fields
from network.training_config import TrainConfig
from verify.ablation import __doc__ as ABOUT
from verify.ablation.study import DEFAULT_ARMS, MARGIN, ROUNDS, measure
from verify.command_line import (
    NUMERICAL,
    Parser,
    check_device,
    check_writable,
    positive_integer,
    positive_integers,
    positive_number,
    run,
    seed_numbers,
    write_whole,
)

if TYPE_CHECKING:
    from verify.ablation.result import Ablation


SET_HERE = ("arm", "period", "seed", "compute_frozen")  # by the study itself
USUAL = {"evaluations": 5, "eval_tokens": 32_768}


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(prog="python -m verify.ablation", description=ABOUT)
    arms = ",".join(DEFAULT_ARMS)
    p.add_argument("--arms", default=arms, help=f"baseline first, of {', '.join(ARMS)}; default {arms}")
    p.add_argument(
        "--seeds",
        type=seed_numbers,
        default=(0, 1, 2),
        metavar="N|S,S,…",
        help="how many, 0 … N − 1, or which, as in 0,5,7; default 3",
    )
    p.add_argument(
        "--periods", type=positive_integers, default=[8], metavar="P,P,…", help="tokens per slow update; default 8"
    )
    add_corpus_options(p)
    add_options(p, without=SET_HERE, usual=USUAL)
    p.add_argument(
        "--margin", type=positive_number, default=MARGIN, help="nats that count as none; default %(default)s"
    )
    p.add_argument("--rounds", type=int, default=ROUNDS, help="of the step times, 0 for none; default %(default)s")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    p.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster of this scheduler")
    p.add_argument(
        "--jobs", type=positive_integer, metavar="N", help="local processes; default one a core, or 1 on a GPU"
    )
    p.add_argument("--fresh", action="store_true", help="train again what is finished")
    p.add_argument("--cells", type=Path, metavar="DIR", help="where finished cells are kept; default OUT/cells")
    p.add_argument("--out", type=Path, default=Path("out/ablation"), metavar="DIR", help="default %(default)s")
    p.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 3 if a cell failed."""
    p = parser()
    arguments = p.parse_args(argv)
    arms = tuple(arguments.arms.replace(",", " ").split())
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or not arms or len(set(arms)) != len(arms):
        p.error(f"argument --arms: {arguments.arms!r} must hold different arms of {', '.join(ARMS)}")
    if arguments.rounds < 0:
        p.error(f"argument --rounds: must be >= 0, got {arguments.rounds}")
    return run(partial(_command, arguments, arms), p.prog)


def _command(arguments: Any, arms: tuple[str, ...]) -> int:
    given = vars(arguments)
    # the least of the periods, since the default one may exceed --block-size; each model gets its own
    model = FastSlowConfig(**given_fields(given, FastSlowConfig), period=min(arguments.periods))
    training = TrainConfig(**{**USUAL, **given_fields(given, TrainConfig)})
    reading = {name: given[name] for name in ("bpe", "exclude", "skip_undecodable") if name in given}
    out = check_writable(arguments.out)
    cells = check_writable(arguments.cells, "--cells") if arguments.cells else out / "cells"
    device = check_device(arguments.device)

    def write(so_far: Ablation) -> None:
        write_whole(out / "ablation.json", so_far.to_json() + "\n")

    ablation = measure(
        model,
        training,
        corpus=arguments.corpus or ["shakespeare"],
        reading=reading,
        folder=cells,
        arms=arms,
        seeds=arguments.seeds,
        periods=arguments.periods,
        margin=arguments.margin,
        rounds=arguments.rounds,
        device=device,
        scheduler=arguments.scheduler,
        jobs=arguments.jobs or (1 if device.startswith("cuda") else None),
        fresh=arguments.fresh,
        progress=True,
        finished=write,
    )
    write(ablation)
    from verify.ablation.figure import ablation_figure
    from verify.plotting import save_figure

    if ablation.cells:
        save_figure(ablation_figure(ablation), out / "ablation")
    for failure in ablation.failed:
        print(f"failed: {failure}", file=sys.stderr)  # noqa: T201
    if arguments.json or ablation.cells:
        print(ablation.to_json() if arguments.json else ablation.table())  # noqa: T201
    return NUMERICAL if ablation.failed else 0
