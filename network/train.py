"""python -m network.train: train one arm, and resume it.

    python -m network.train                                     coupled, Shakespeare, bytes, 500,000 tokens
    python -m network.train --arm dense --tokens 2000000 --out runs/dense
    python -m network.train --resume runs/dense                 go on where it stopped, however it stopped
    torchrun --nproc-per-node 2 -m network.train --arm local    one process per device

A resumed run takes every option from its folder; one given again must agree (`--device` may differ). Ctrl-C ends a
run after the step at hand, with a checkpoint. From Python: `network.training.train`, the same path.

Exit codes: 0 trained; 2 usage or input; 3 a loss or gradient that is not finite, or a process or disk that failed;
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from network.command_line import INTERRUPTED, USAGE, exit_code, seed_number
from network.config import ARMS, GATES, SLOW_ATTENTION, FastSlowConfig
from network.training_config import DTYPES, TrainConfig

_CHOICES = {"arm": ARMS, "gate": GATES, "slow_attention": SLOW_ATTENTION, "dtype": DTYPES}
_MEANING = {
    "block_size": "tokens of a sequence, T",
    "n_layer": "fast blocks",
    "n_slow_layer": "slow blocks; dense and local build none",
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
    "micro_batch": "sequences per backward pass and process, which bounds memory",
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see --help)", file=sys.stderr)  # noqa: T201
        raise SystemExit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The options of the command; those of the two configurations are absent from the result unless given."""
    made = _Parser(
        prog="python -m network.train",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--corpus", nargs="+", metavar="NAME|PATH", help="shakespeare (default), source, or text files and folders"
    )
    made.add_argument(
        "--bpe", type=int, metavar="V", help="byte-pair encoding with V tokens, trained here (default: bytes)"
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: a new one under runs/)")
    made.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    made.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps")
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    for title, config in (("model", FastSlowConfig), ("training", TrainConfig)):
        group = made.add_argument_group(title)
        for field in fields(config):
            if field.name == "vocab_size":  # the tokenizer decides
                continue
            _add_field(group, field.name, field.default)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    command = parser()
    options = command.parse_args(arguments)
    if options.resume is not None and options.out is not None:
        command.error("--resume goes on in the folder of the run; leave --out away")
    interrupts: list[int] = []

    def interrupted(number: int, frame: Any) -> None:
        interrupts.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends at once

    previous = signal.signal(signal.SIGINT, interrupted)
    try:
        return exit_code(lambda: _train(options, lambda: bool(interrupts)), command.prog)
    finally:
        signal.signal(signal.SIGINT, previous)


def _train(options: argparse.Namespace, stop: Any) -> int:
    given = vars(options)
    stored: dict[str, Any] = {"model": {}, "training": {}, "data": {"corpus": ["shakespeare"], "bpe": None}}
    if options.resume is not None:
        from network.run_folder import read_run

        stored = read_run(options.resume)
    model = {**stored["model"], **_given(given, FastSlowConfig)}
    training = TrainConfig(**{**stored["training"], **_given(given, TrainConfig)})
    FastSlowConfig(**model)  # what is wrong with the options is said before a corpus is read

    from network.corpus import open_corpus
    from network.data import load_data
    from network.distributed import checked_device
    from network.training import train

    checked_device(options.device)
    first = os.environ.get("RANK", "0") == "0"
    run = options.resume or (_claim_name(options.out, model.get("arm", FastSlowConfig.arm)) if first else Path("."))
    bpe = stored["data"]["bpe"] if options.bpe is None else options.bpe
    data = load_data(open_corpus(options.corpus or stored["data"]["corpus"]), bpe_vocab=bpe)
    try:
        result = train(
            FastSlowConfig(**{**model, "vocab_size": data.vocab_size}),
            training,
            data=data,
            run=run,
            resume=options.resume is not None,
            device=options.device,
            progress=not options.quiet,
            stop=stop,
        )
    except OSError as error:  # a full disk, say
        raise RuntimeError(f"{error}; what was saved under {run} is whole") from error
    if first:
        _report(result, options.json)
        if result.stopped:
            print(f"interrupted; go on with --resume {result.run}", file=sys.stderr)  # noqa: T201
    return INTERRUPTED if result.stopped else 0


def _report(result: Any, as_json: bool) -> None:
    last = result.evaluations[-1] if result.evaluations else None
    speed = result.tokens / result.seconds if result.seconds else None
    if as_json:
        values = {"run": str(result.run), "tokens": result.tokens, "seconds": result.seconds, "stopped": result.stopped}
        evaluation = {"step": last.step, **last.to_dict()} if last else None
        print(json.dumps({**values, "tokens_per_second": speed, "evaluation": evaluation}, allow_nan=False))  # noqa: T201
        return
    verb = "stopped after" if result.stopped else "trained on"
    lines = [f"{verb} {result.tokens:,} tokens in {result.seconds:.1f} s"]
    if last is not None:
        lines.append(f"validation loss {last.validation_loss:.4f} nats per token")
        if last.closed_gate_loss is not None:
            lines += [
                f"  with the gate closed {last.closed_gate_loss:.4f}",
                f"  signal / stream {last.feedback_ratio:.2e}",
            ]
        lines += [f"  |{name}| {value:.2e}" for name, value in last.gates.items()]
    print("\n".join([*lines, f"run folder {result.run}"]))  # noqa: T201


def _claim_name(out: Path | None, arm: str) -> Path:
    """The folder of a new run, made now so that an unwritable one is refused before anything is computed."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if not os.access(out, os.W_OK | os.X_OK):
                raise PermissionError(0, "permission denied")
            return out
        stem, number = time.strftime(f"%Y%m%d-%H%M%S-{arm}"), 1
        while True:
            folder = Path("runs", stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ValueError(f"--out {out or 'runs'}: cannot write there ({error.strerror})") from None


def _given(options: dict[str, Any], config: Any) -> dict[str, Any]:
    return {field.name: options[field.name] for field in fields(config) if field.name in options}


def _add_field(group: Any, name: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    meaning = _MEANING[name]
    if isinstance(default, bool):
        group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=meaning)
        return
    kind = int if default is None else type(default)
    choices = _CHOICES.get(name)
    shown = "{" + ",".join(choices) + "}" if choices else kind.__name__
    usual = {"micro_batch": "all of a process's", "attention_window": "all before it"}.get(name, default)
    group.add_argument(
        flag,
        type=seed_number if name == "seed" else kind,
        choices=choices,
        metavar=shown,
        default=argparse.SUPPRESS,
        help=f"{meaning}; default {usual}",
    )


if __name__ == "__main__":
    sys.exit(main())
