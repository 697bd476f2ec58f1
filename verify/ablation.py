"""What the coupling is worth: arms of the network over paired seeds and periods. `python -m verify.ablation`.

Every arm is trained once for each seed and each P; arms of a seed share their initial fast weights and the order of the
data, and paired differences of the validation loss are what is reported (`verify.ablation_result`). `frozen` computes
what `dense` computes: its differences are exactly 0, or something is wrong. `dense` has no P and is trained once a
seed. No verdict is given here.

Each model is a cell (`verify.training_cells`), the same that the claims train: finished ones are kept under --cells
and not trained again, on the local cores or on a Dask cluster. The step times are measured in one process, the arms in
turn, after the training. Ctrl-C keeps the cells that are finished.

Exit codes: 0 every cell is trained; 2 usage or input; 3 a cell failed, or disk or memory did; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.config import ARMS, FastSlowConfig
from network.training_config import TrainConfig
from verify.command_line import (
    NUMERICAL,
    Parser,
    check_device,
    check_writable,
    positive_integer,
    positive_integers,
    positive_number,
    run,
    write_whole,
)

if TYPE_CHECKING:
    from verify.ablation_result import Ablation
    from verify.cells import CellResult

DEFAULT_ARMS = ("dense", "frozen", "coupled")
ROUNDS = 30
MARGIN = 0.01


def measure(
    model: FastSlowConfig,
    training: TrainConfig,
    *,
    corpus: Sequence[str],
    folder: Path,
    arms: Sequence[str] = DEFAULT_ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    periods: Sequence[int] = (8,),
    margin: float = MARGIN,
    rounds: int = ROUNDS,
    device: str = "cpu",
    scheduler: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    progress: bool = False,
    finished: Callable[[Ablation], None] | None = None,
) -> Ablation:
    """Train `model` and `training` for each of `arms`, `seeds` and `periods`, whatever these name themselves.

    The first arm is the baseline. corpus: as `network.corpus.open_corpus` takes it. folder: where finished cells are
    kept. rounds: of the step times (0: none). scheduler, jobs, fresh: as `verify.cells.run_cells` takes them. finished:
    called after each cell with what there is so far.

    Raises `ValueError` for no or repeated arms, seeds or periods, a period that the model cannot have and a corpus that
    cannot be read. A cell that fails is named in `Ablation.failed`.
    """
    from network.corpus import open_corpus
    from verify.ablation_result import Ablation
    from verify.cells import run_cells
    from verify.paired import paired_difference
    from verify.provenance import provenance
    from verify.step_time import seconds_of, step_time_cell
    from verify.training_cells import training_cell

    for name, values in (("arms", arms), ("seeds", seeds), ("periods", periods)):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be different and at least one, got {list(values)}")
    paired_difference((), margin=margin)
    texts = open_corpus(corpus)
    models = {(period, arm): replace(model, arm=arm, period=period) for period in periods for arm in arms}
    cells = {
        (period, arm, seed): training_cell(
            models[period, arm], replace(training, seed=seed), corpus=texts.paths, sha256=texts.sha256, device=device
        )
        for seed in seeds  # outermost: an early end leaves whole pairs
        for period in periods
        for arm in arms
    }
    made_with = provenance(seed=seeds[0], device=device)
    timing = step_time_cell(
        list(models.values()),
        batch=training.batch_size,
        device=device,
        rounds=rounds,
        processor=made_with["processor"],
        dtype=training.dtype,
        compile=training.compile,
    )
    settings = {
        "model": {k: v for k, v in model.to_dict().items() if k not in ("arm", "period", "vocab_size")},
        "training": {k: v for k, v in training.to_dict().items() if k != "seed"},
        "corpus": list(texts.paths),
        "sha256": texts.sha256,
        "arms": list(arms),
        "seeds": list(seeds),
        "periods": list(periods),
        "rounds": rounds,
    }
    ended: dict[str, CellResult] = {}

    def gathered() -> Ablation:
        timed = ended[timing.key].result if timing.key in ended else None
        times = {key: seconds_of(timed, m) for key, m in models.items()} if timed else {}
        return Ablation(
            baseline=arms[0],
            cells=_trained(cells, ended, periods, arms, seeds),
            margin=margin,
            settings=settings,
            provenance=made_with,
            times={key: seconds for key, seconds in times.items() if seconds},
            unfinished=tuple(dict.fromkeys(cell.label for cell in cells.values() if cell.key not in ended)),
            failed=tuple(f"{one.cell.label}: {one.error}" for one in ended.values() if one.failed),
        )

    def keep(result: CellResult) -> None:
        ended[result.cell.key] = result
        if finished is not None:
            finished(gathered())

    how: dict[str, Any] = {"folder": folder, "scheduler": scheduler, "fresh": fresh, "finished": keep}
    run_cells(list(cells.values()), jobs=jobs, progress=progress, **how)
    if rounds:
        run_cells([timing], jobs=1, **how)
    return gathered()


def _trained(
    cells: dict[tuple[int, str, int], Any],
    ended: dict[str, CellResult],
    periods: Sequence[int],
    arms: Sequence[str],
    seeds: Sequence[int],
) -> tuple[Any, ...]:
    from verify.ablation_result import TrainedCell

    found = []
    for period in periods:
        for arm in arms:
            for seed in seeds:
                result = ended.get(cells[period, arm, seed].key)
                if result is None or result.failed:
                    continue
                fields: dict[str, Any] = {
                    name: result.result[name] for name in TrainedCell.__dataclass_fields__ if name != "period"
                }
                fields["path"] = tuple(fields["path"])
                found.append(TrainedCell(period=period, **fields))
    return tuple(found)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(prog="python -m verify.ablation", description=__doc__)
    arms = ",".join(DEFAULT_ARMS)
    p.add_argument("--arms", default=arms, help=f"baseline first, of {', '.join(ARMS)}; default {arms}")
    p.add_argument(
        "--seeds", type=positive_integer, default=3, metavar="N", help="seeds 0 … N − 1; default %(default)s"
    )
    p.add_argument(
        "--periods", type=positive_integers, default=[8], metavar="P,P,…", help="tokens per slow update; default 8"
    )
    for config, name, meaning in (
        (TrainConfig, "tokens", "training tokens of a cell"),
        (TrainConfig, "batch_size", "sequences a step"),
        (TrainConfig, "evaluations", "how many points of its path"),
        (TrainConfig, "eval_tokens", "validation tokens at each; the last loss reads 262,144"),
        (FastSlowConfig, "block_size", "tokens of a sequence, T"),
        (FastSlowConfig, "n_layer", "fast layers"),
        (FastSlowConfig, "n_slow_layer", "slow layers"),
        (FastSlowConfig, "n_embd", "width"),
        (FastSlowConfig, "n_head", "heads"),
    ):
        default = {"eval_tokens": 32_768, "evaluations": 5}.get(name, getattr(config, name))
        flag = "--" + name.replace("_", "-")
        p.add_argument(flag, type=int, default=default, help=f"{meaning}; default %(default)s")
    rate = TrainConfig.learning_rate
    p.add_argument("--learning-rate", type=positive_number, default=rate, help="its peak; default %(default)s")
    p.add_argument("--dtype", default="float32", help="float32, float64 or bfloat16; default %(default)s")
    p.add_argument("--compile", action="store_true", help="torch.compile the models")
    p.add_argument(
        "--corpus", nargs="+", default=["shakespeare"], help="shakespeare (default), source, or files and folders"
    )
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
    sizes = {name: given[name] for name in given.keys() & FastSlowConfig().to_dict().keys()}
    model = FastSlowConfig(**sizes, period=min(arguments.periods))
    training = TrainConfig(**{name: given[name] for name in given.keys() & TrainConfig().to_dict().keys()})
    out = check_writable(arguments.out)
    cells = check_writable(arguments.cells, "--cells") if arguments.cells else out / "cells"
    device = check_device(arguments.device)

    def write(so_far: Ablation) -> None:
        write_whole(out / "ablation.json", so_far.to_json() + "\n")

    ablation = measure(
        model,
        training,
        corpus=arguments.corpus,
        folder=cells,
        arms=arms,
        seeds=range(arguments.seeds),
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
    from verify.figures import save_figure
    from verify.training_figures import ablation_figure

    if ablation.cells:
        save_figure(ablation_figure(ablation), out / "ablation")
    for failure in ablation.failed:
        print(f"failed: {failure}", file=sys.stderr)  # noqa: T201
    if arguments.json or ablation.cells:
        print(ablation.to_json() if arguments.json else ablation.table())  # noqa: T201
    return NUMERICAL if ablation.failed else 0


if __name__ == "__main__":
    sys.exit(main())
