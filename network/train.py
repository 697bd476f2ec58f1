"""python -m network.train: train one arm, and resume it.

    python -m network.train                                     coupled, Shakespeare, bytes, 500,000 tokens
    python -m network.train --arm dense --tokens 2000000 --out runs/dense
    python -m network.train --resume runs/dense                 go on where it stopped, however it stopped
    python -m network.train --resume runs/dense --tokens 4M     read more, at a rate that rises and falls anew
    python -m network.train --init-from runs/dense --arm coupled --learning-rate 1e-3    its weights in a new run
    python -m network.train --corpus texts --exclude '*.png' --skip-undecodable          a folder of your own
    torchrun --nproc-per-node 2 -m network.train --arm local    one process per device

A resumed run takes every option from its folder; one given again must agree (`--device` may differ, and `--tokens` may
grow). A run that starts from another's weights takes its sizes and its tokenizer from there. Ctrl-C or SIGTERM ends a
run after the step at hand, with a checkpoint. The curves are in RUN/log.jsonl and, for `tensorboard --logdir runs`, in
RUN/tensorboard. From Python: `network.training.train`, the same path.

Exit codes: 0 trained; 2 usage or input; 3 a loss or gradient that is not finite, or a process or disk that failed;
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

from network.command_line import (
    INTERRUPTED,
    Parser,
    asked_to_stop,
    exit_code,
    positive_integer,
    seed_number,
    whole_number,
)
from network.config import ALL_ARMS, GATES, SLOW_ATTENTION, FastSlowConfig
from network.presets import PRESETS
from network.training_config import DTYPES, TrainConfig

_CHOICES = {"arm": ALL_ARMS, "gate": GATES, "slow_attention": SLOW_ATTENTION, "dtype": DTYPES}
_MEANING = {
    "block_size": "tokens of a sequence, T",
    "n_layer": "fast blocks",
    "n_slow_layer": "slow blocks; dense and local build none",
    "n_slow": "slow variables of arm generator",
    "n_embd": "width of both paths, an even multiple of the heads",
    "n_head": "attention heads of both paths",
    "period": "tokens per slow update, P: ε = 1/P",
    "arm": "the coupling: none, behind a gate held at 0, in full, of another sequence, without slow attention",
    "gate": "what multiplies the fed-back signal, zero at the start: one number, one per channel, or a matrix",
    "slow_attention": "full_leaking reads the future, and exists to be measured doing so",
    "attention_window": "tokens that a fast layer reads, its own counted",
    "gate_start": "where the gate starts; the paper's is 0",
    "compute_frozen": "compute the slow path of arm frozen, to time it",
    "tokens": "training tokens of the whole run",
    "batch_size": "sequences per step, over all processes",
    "micro_batch": "sequences per backward pass and process: gradients add up over several, which bounds memory",
    "learning_rate": "the peak",
    "warmup": "fraction of the steps over which the rate rises",
    "final": "fraction of the peak that the rate falls to",
    "weight_decay": "AdamW's, on matrices alone",
    "beta1": "AdamW's, of the mean gradient",
    "beta2": "AdamW's, of the mean squared gradient",
    "clip": "bound on the 2-norm of the gradient",
    "seed": "of the initial weights and the order of the data, 0 … 2^63 − 1",
    "evaluations": "how many, evenly spaced, the last one after the last step",
    "eval_tokens": "validation tokens read at each evaluation",
    "checkpoint_every": "steps between checkpoints",
    "dtype": "of weights and arithmetic; bfloat16 keeps float32 weights",
    "compile": "torch.compile the model",
    "gate_rate": "the gate's learning rate over that of the rest",
    "gate_warmup": "steps over which the gate's rate rises, beside the common warm-up",
    "coupling_loss": "weight of the coupling's own objective: the next block's tokens given c alone",
}


def parser() -> Parser:
    """The options of the command; those of the two configurations are absent from the result unless given."""
    made = Parser(prog="python -m network.train", description=__doc__)
    add_corpus_options(made)
    made.add_argument(
        "--letters",
        action="store_true",
        default=argparse.SUPPRESS,
        help="27 tokens: a … z, and one space for each run of anything else",
    )
    made.add_argument("--preset", choices=PRESETS, help="sizes and training of that name; options beside it win")
    made.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: a new one under runs/)")
    made.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    made.add_argument(
        "--init-from", type=Path, metavar="RUN", help="begin a new run with the weights of this one, and its tokenizer"
    )
    made.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps")
    made.add_argument("--quiet", action="store_true", help="no progress bar, nothing said at the start")
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    add_options(made)
    return made


def add_corpus_options(command: argparse.ArgumentParser) -> None:
    """The options that say which texts are read and what their tokens are."""
    command.add_argument(
        "--corpus", nargs="+", metavar="NAME|PATH", help="shakespeare (default), source, or text files and folders"
    )
    command.add_argument(
        "--exclude",
        nargs="+",
        metavar="PATTERN",
        default=argparse.SUPPRESS,
        help="leave out files of --corpus whose path, name or folder fits, as in '*.png' build",
    )
    command.add_argument(
        "--skip-undecodable",
        action="store_true",
        default=argparse.SUPPRESS,
        help="leave out files of --corpus that are no UTF-8 text, where they are refused otherwise",
    )
    command.add_argument(
        "--bpe",
        type=positive_integer,
        metavar="V",
        default=argparse.SUPPRESS,
        help="byte-pair encoding with V tokens, trained here (default: bytes)",
    )


def add_options(
    command: argparse.ArgumentParser, *, without: Sequence[str] = (), usual: Mapping[str, Any] | None = None
) -> None:
    """An option for every field of the two configurations, absent from the result unless given.

    without: fields that the command sets otherwise. usual: defaults of its own, told in the help.
    """
    for title, config in (("model", FastSlowConfig), ("training", TrainConfig)):
        group = command.add_argument_group(title)
        for field in fields(config):
            if field.name != "vocab_size" and field.name not in without:  # the tokenizer decides on the vocabulary
                _add_field(group, field.name, (usual or {}).get(field.name, field.default))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    command = parser()
    options = command.parse_args(arguments)
    if options.resume is not None:
        for name in ("out", "init_from", "preset"):
            if getattr(options, name) is not None:
                flag = "--" + name.replace("_", "-")
                command.error(f"--resume goes on in the folder of the run, as it began; leave {flag} away")
    return exit_code(lambda: _train(options), command.prog)


def _train(options: argparse.Namespace) -> int:
    given = {**PRESETS.get(options.preset, {}), **vars(options)}
    stored = _stored(options)
    model = {**stored["model"], **given_fields(given, FastSlowConfig)}
    training = TrainConfig(**{**stored["training"], **given_fields(given, TrainConfig)})
    FastSlowConfig(**model)  # what is wrong with the options is said before a corpus is read

    from network.corpus import open_corpus
    from network.data import load_data
    from network.distributed import checked_device
    from network.run_folder import made
    from network.tokenizer import load_tokenizer
    from network.training import train

    checked_device(options.device)
    first = os.environ.get("RANK", "0") == "0"
    data = {
        **stored["data"],
        **{name: given[name] for name in ("exclude", "skip_undecodable", "bpe", "letters") if name in given},
    }
    if options.corpus is not None:
        data["corpus"] = options.corpus
    # Tokens that weights were trained on already are those of their run, not trained anew.
    source = options.init_from or (options.resume if "tokenizer" in data else None)
    own = {"bpe_vocab": data["bpe"], "letters": data.get("letters", False)}
    how: dict[str, Any] = own if source is None else {"tokenizer": load_tokenizer(source)}
    if options.init_from is not None and ("bpe" in given or "letters" in given):
        raise ValueError(f"--init-from {options.init_from} brings its tokenizer along: leave --bpe and --letters away")
    named = options.resume or options.out
    run = named or _free(Path("runs", time.strftime(f"%Y%m%d-%H%M%S-{model.get('arm', FastSlowConfig.arm)}")))
    with made(run) if first else nullcontext():  # one process of several writes
        chosen = {name: data[name] for name in ("exclude", "skip_undecodable") if name in data}
        tokens = load_data(open_corpus(data["corpus"], **chosen), **how)
        with asked_to_stop() as stop:
            result = train(
                FastSlowConfig(**{**model, "vocab_size": tokens.vocab_size}),
                training,
                data=tokens,
                run=run,
                resume=options.resume is not None,
                init_from=options.init_from,
                device=options.device,
                progress=not options.quiet,
                say=None if options.quiet else _say,
                stop=stop,
            )
    if first:
        _report(result, options.json)
        if result.stopped:
            print(f"interrupted; go on with --resume {result.run}", file=sys.stderr)  # noqa: T201
    return INTERRUPTED if result.stopped else 0


def _stored(options: argparse.Namespace) -> dict[str, Any]:
    """What a run that is gone on with, or begun from, says of itself; the defaults for a new one."""
    fresh: dict[str, Any] = {"model": {}, "training": {}, "data": {"corpus": ["shakespeare"], "bpe": None}}
    if options.resume is not None:
        from network.run_folder import read_run

        return read_run(options.resume)
    if options.init_from is not None:
        from network.run_folder import folder_of, read_run

        source = read_run(folder_of(options.init_from))
        return {**fresh, "model": source["model"], "data": {**source["data"], "bpe": None}}
    return fresh


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


def _free(folder: Path) -> Path:
    """`folder`, or the same name with the least number that no folder has."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def _report(result: Any, as_json: bool) -> None:
    last = result.evaluations[-1] if result.evaluations else None
    speed = result.tokens / result.seconds if result.seconds else None
    report = result.report
    utilisation = report.utilisation(result.tokens, result.seconds)
    bits = report.bits_per_byte(last.validation_loss) if last else None
    if as_json:
        values = {"run": str(result.run), "tokens": result.tokens, "seconds": result.seconds, "stopped": result.stopped}
        evaluation = {"step": last.step, **last.to_dict(), "bits_per_byte": bits} if last else None
        spent = {"other_seconds": result.other_seconds, "utilisation": utilisation}
        values |= {"tokens_per_second": speed, **spent, "evaluation": evaluation, **report.to_dict()}
        print(json.dumps(values, allow_nan=False))  # noqa: T201
        return
    verb = "stopped after" if result.stopped else "trained on"
    spent = [f"{name} {seconds:.1f} s" for name, seconds in result.other_seconds.items() if seconds]
    lines = [f"{verb} {result.tokens:,} tokens in {result.seconds:.1f} s" + (f"; {', '.join(spent)}" if spent else "")]
    if speed is not None:
        of_peak = "" if utilisation is None else f", {utilisation:.1%} of the device's peak (MFU)"
        lines.append(f"{speed:,.0f} tokens a second{of_peak}")
    if last is not None:
        in_bits = "" if bits is None else f", {bits:.4f} bits per byte"
        lines.append(f"validation loss {last.validation_loss:.4f} nats per token{in_bits}")
        if last.closed_gate_loss is not None:
            lines += [
                f"  with the gate closed {last.closed_gate_loss:.4f}",
                f"  signal / stream {last.feedback_ratio:.2e}",
            ]
        lines += [f"  |{name}| {value:.2e}" for name, value in last.gates.items()]
    lines += [f"warning: {one}" for one in report.warnings()]
    print("\n".join([*lines, f"run folder {result.run}"]))  # noqa: T201


def given_fields(options: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Those of `options` that are fields of `config`, a configuration class."""
    return {field.name: options[field.name] for field in fields(config) if field.name in options}


def _add_field(group: Any, name: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    meaning = _MEANING[name]
    if isinstance(default, bool):
        action = argparse.BooleanOptionalAction  # --no-… takes back what a preset sets
        group.add_argument(flag, action=action, default=argparse.SUPPRESS, help=meaning)
        return
    kind = int if default is None else type(default)
    choices = _CHOICES.get(name)
    shown = "{" + ",".join(choices) + "}" if choices else kind.__name__
    usual = {"micro_batch": "all of a process's", "attention_window": "all before it"}.get(name, default)
    whole = seed_number if name == "seed" else whole_number
    group.add_argument(
        flag,
        type=whole if kind is int else kind,
        choices=choices,
        metavar=shown,
        default=argparse.SUPPRESS,
        help=f"{meaning}; default {usual}",
    )


if __name__ == "__main__":
    sys.exit(main())
