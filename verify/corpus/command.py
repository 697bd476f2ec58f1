"""The command line `python -m verify.corpus`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from verify.command_line import Parser, UsageError, check_writable, positive_integer, positive_integers, run
from verify.corpus import __doc__ as ABOUT

SAID = {
    "known": "y known",
    "filter": "Bayes filter, y and the phase of the blocks unknown",
    "phase_known": "Bayes filter told where blocks begin",
    "order_1": "the last token alone",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = Parser(prog="python -m verify.corpus", description=ABOUT)
    p.add_argument("name", metavar="NAME", help="regimes[:s=…,f=…,n=…,block=…,seed=…,length=…] or system:NAME[,…]")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the text")
    p.add_argument("--block-size", type=positive_integer, default=256, metavar="T", help="of the windows; default 256")
    p.add_argument("--reach", type=positive_integers, default=[], metavar="M,M,…", help="tokens that a window sees")
    p.add_argument("--json", action="store_true", help="print the JSON on stdout")
    arguments = p.parse_args(argv)
    return run(partial(_command, arguments), p.prog)


def _command(arguments: Any) -> int:
    from verify.command_line import strict_json, write_whole
    from verify.corpus import made, parse
    from verify.corpus.answer import exact_losses

    source = parse(arguments.name)
    if source is None:
        raise UsageError(f"{arguments.name!r} is not a made corpus: regimes, regimes:s=…,f=… or system:NAME")
    out = check_writable(arguments.out)
    written = out / "tokens.txt"
    if written.exists():
        raise UsageError(f"--out {out} already holds a tokens.txt: take another folder, or remove it")
    losses = exact_losses(source, block_size=arguments.block_size, reach=tuple(arguments.reach))
    path = made(source, out)
    record = {"corpus": source.name, "text": str(path), "block_size": arguments.block_size, "losses": losses}
    write_whole(out.with_name(f"{out.name}.json"), strict_json(record) + "\n")
    if arguments.json:
        print(strict_json(record))  # noqa: T201
        return 0
    lines = [f"{source.name}: {path}", "nats per token"]
    for name, loss in losses.items():
        lines.append(f"  {loss:.4f}  {SAID.get(name, f'the last {name[7:]} tokens alone')}")
    print("\n".join(lines))  # noqa: T201
    return 0
