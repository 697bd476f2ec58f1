"""The command line `python -m verify.generator_defect`: runs in, tables or JSON out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from network.command_line import seed_number
from verify.command_line import Parser, UsageError, check_device, positive_integer, run, strict_json
from verify.generator_defect import __doc__ as ABOUT
from verify.generator_defect.measurement import measure_defect
from verify.generator_defect.pretrained.command import FOR_MODELS, add_options, measure_model

if TYPE_CHECKING:
    from verify.generator_defect.measurement import GeneratorDefect

SEQUENCES, ITERATIONS = 4, 500
FOR_RUNS = ("sequences", "iterations", "corpus")


def validation_tokens(source: dict[str, Any], sequences: int, length: int, corpus: Sequence[str] | None = None) -> Any:
    """tokens[B, T] at even distances over the validation split of the data that a run's description names.

    corpus: where the texts lie now, if they have moved. Raises `ValueError` where they are not those of the run, or
    hold too few tokens.
    """
    import numpy as np
    import torch

    from network.corpus import open_corpus
    from network.data import load_data

    data = load_data(open_corpus(corpus or source["corpus"]), bpe_vocab=source["bpe"])
    if data.sha256 != source["sha256"]:
        raise UsageError(
            f"the texts {list(corpus or source['corpus'])} are not those of the run; name them by --corpus"
        )
    last = len(data.validation) - length
    if last < sequences - 1:
        raise UsageError(f"{len(data.validation)} validation tokens do not hold {sequences} windows of {length}")
    starts = np.linspace(0, last, sequences).astype(int)
    return torch.from_numpy(np.stack([data.validation[s : s + length] for s in starts]).astype(np.int64))


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(prog="python -m verify.generator_defect", description=ABOUT)
    p.add_argument("runs", nargs="*", metavar="RUN", help="folders of runs, or of single checkpoints")
    p.add_argument(
        "--length",
        type=positive_integer,
        metavar="T",
        help="tokens a sequence; default min(block_size, 64), of a --model 48",
    )
    p.add_argument("--sequences", type=positive_integer, metavar="B", help=f"of each RUN; default {SEQUENCES}")
    p.add_argument("--iterations", type=positive_integer, help=f"to a fixed point, of each RUN; default {ITERATIONS}")
    p.add_argument("--corpus", nargs="+", help="where the texts of the runs lie now; default as recorded")
    p.add_argument("--seed", type=seed_number, default=0, help="of the nulls, 0 … 2^63 − 1; default %(default)s")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    add_options(p)
    p.add_argument("--json", action="store_true", help="print JSON on stdout instead of tables")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    foreign = arguments.model is not None
    if foreign == bool(arguments.runs):
        p.error("name folders of runs, or a pretrained model by --model DIR" + ", not both" * foreign)
    wrong = [name for name in (FOR_RUNS if foreign else FOR_MODELS) if getattr(arguments, name)]
    if wrong:
        option = "--" + wrong[0].replace("_", "-")
        p.error(f"argument {option}: only for {'runs, not for --model' if foreign else '--model DIR'}")
    if foreign and arguments.text is None:
        p.error("argument --text: --model needs a text to read: --text FILE")
    return run(partial(measure_model if foreign else _command, arguments), p.prog)


def _command(arguments: Any) -> int:
    device = check_device(arguments.device)

    from network import FastSlowLM
    from network.checkpoint import load_checkpoint
    from network.run_folder import load_run
    from verify.generator_defect.reference import measure_reference
    from verify.generator_defect.table import reference_table, spread_table
    from verify.statistics.provenance import provenance

    # Every run is opened before the first is measured: a typing error in the last name must not cost minutes.
    opened = []
    for name in arguments.runs:
        checkpoint, model = load_checkpoint(name), load_run(name, device)
        if not isinstance(model, FastSlowLM):
            raise UsageError(
                f"{name} is of arm generator, which has no attention blocks; its gap is measured by "
                f"python -m verify.manifold_gap --network {name}"
            )
        opened.append((name, checkpoint, model))
    sequences, iterations = arguments.sequences or SEQUENCES, arguments.iterations or ITERATIONS
    measured: list[dict[str, Any]] = []
    results: list[GeneratorDefect] = []
    for name, checkpoint, model in opened:
        print(f"{name}: step {checkpoint.step}", file=sys.stderr)  # noqa: T201
        length = arguments.length or min(model.config.block_size, 64)
        tokens = validation_tokens(checkpoint.config["data"], sequences, length, arguments.corpus)
        defect = measure_defect(model, tokens.to(device), iterations=iterations, seed=arguments.seed)
        results.append(defect)
        texts = {key: checkpoint.config["data"][key] for key in ("sha256", "bpe")}  # wherever they lie
        training = checkpoint.config["training"]
        measured.append({"run": name, "step": checkpoint.step, "training": training, "data": texts, **asdict(defect)})
    sizes = sorted({(model.config.period, model.config.n_embd) for _, _, model in opened})
    references = [measure_reference(period, n_states=width, seed=arguments.seed) for period, width in sizes]
    if arguments.json:
        made_with = provenance(seed=arguments.seed, device=device)
        content = {"runs": measured, "references": [asdict(r) for r in references], "provenance": made_with}
        print(strict_json(content))  # noqa: T201
        return 0
    for record, defect in zip(measured, results, strict=True):
        print(f"{record['run']}, step {record['step']}\n{defect.table()}\n")  # noqa: T201
    for line in (spread_table(measured), reference_table(references)):
        print(line)  # noqa: T201
    return 0
