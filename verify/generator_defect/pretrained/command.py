"""`python -m verify.generator_defect --model DIR --text FILE`: its options, and what it writes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import Parser, positive_integer
from verify.command_line import UsageError, check_device, check_writable, strict_json, write_whole

if TYPE_CHECKING:
    from verify.generator_defect.pretrained.measurement import PretrainedDefect

LENGTH, INIT_SEEDS = 48, 8
FOR_MODELS = ("gguf", "tokenizer", "allow_pickle", "text", "layers", "init_seeds", "dtype", "spectrum", "out")
FILE = "pretrained"


def layer_numbers(text: str) -> list[int]:
    """argparse type: '0,10' as layers."""
    try:
        return sorted({int(word) for word in text.replace(",", " ").split()})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers of layers, such as 0,10") from None


def precision(text: str) -> str:
    """argparse type: a dtype in which a Jacobian says something."""
    if text not in ("float64", "float32"):
        why = " has 8 or 11 bits, of which a Jacobian's small entries keep none" if text.endswith("float16") else ""
        raise argparse.ArgumentTypeError(f"{text!r}{why}; take float64 or float32 (weights of less are promoted)")
    return text


def add_options(p: Parser) -> None:
    """The options that measure a pretrained model."""
    p.add_argument("--model", metavar="DIR|NAME", help="a transformer of Hugging Face instead of runs")
    p.add_argument("--gguf", metavar="FILE", help="its weights, if they are in a GGUF file of that folder")
    p.add_argument("--tokenizer", metavar="DIR", help="of the model; default its own folder")
    p.add_argument("--allow-pickle", action="store_true", help="read tensors from a pickle if there is nothing safer")
    p.add_argument("--text", type=Path, metavar="FILE", help="what the model reads; its first tokens count")
    p.add_argument("--layers", type=layer_numbers, metavar="N,N,…", help="which, counted from 0; default all")
    p.add_argument("--init-seeds", type=positive_integer, metavar="N", help=f"initialisations; default {INIT_SEEDS}")
    p.add_argument("--dtype", type=precision, help="of the Jacobians: float64 (default) or float32")
    p.add_argument(
        "--spectrum", type=positive_integer, metavar="N", help="take eigenvalues at so many tokens; default all"
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="write JSON, table and figure over depth there as well")


def measure_model(arguments: Any) -> int:
    """The command with --model; returns its exit code."""
    device = check_device(arguments.device)
    out = None if arguments.out is None else check_writable(arguments.out)

    from verify.generator_defect.pretrained.source import check_extra, open_model, read_tokens

    name, gguf = arguments.model, arguments.gguf
    check_extra(gguf=gguf is not None)
    _quiet()
    length = arguments.length or LENGTH
    own = arguments.tokenizer is None
    source = open_model(name, gguf=gguf, pickle=arguments.allow_pickle)
    tokens = read_tokens(name if own else arguments.tokenizer, arguments.text, length, gguf=gguf if own else None)

    import torch

    from verify.generator_defect.pretrained.measurement import measure_pretrained
    from verify.statistics.provenance import provenance

    about = {"weights": source.weights, "text": arguments.text.name}
    made_with = provenance(seed=arguments.seed, device=device)

    def content(found: PretrainedDefect) -> dict[str, Any]:
        settings = found.settings | about
        return {
            "model": found.model,
            "length": found.length,
            "layers": found.layers,
            "settings": settings,
            "provenance": made_with,
        }

    def keep(found: PretrainedDefect) -> None:
        if out is not None:
            write_whole(out / f"{FILE}.json", strict_json(content(found)) + "\n")

    try:
        found = measure_pretrained(
            source.model.to(device),
            tokens,
            layers=arguments.layers,
            init_seeds=arguments.init_seeds or INIT_SEEDS,
            dtype=getattr(torch, arguments.dtype or "float64"),
            spectrum=arguments.spectrum,
            seed=arguments.seed,
            name=name,
            finished=keep,
            progress=lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True),  # noqa: T201
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    whole = content(found)
    table = f"{source.weights}; text {about['text']}\n{found.table()}"
    if out is not None:
        from verify.generator_defect.pretrained.figure import depth_figure
        from verify.plotting import save_figure

        write_whole(out / f"{FILE}.txt", table + "\n")
        picture = save_figure(depth_figure([whole]), out / FILE)
        if not arguments.json:
            table += f"\nfigure: {picture}"
    print(strict_json(whole) if arguments.json else table)  # noqa: T201
    return 0


def _quiet() -> None:
    """No bars and no hints from transformers: an error is one line, and stdout and stderr are ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
