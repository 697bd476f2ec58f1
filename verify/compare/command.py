"""The command line `python -m verify.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.command_line import Parser, check_device, positive_integer, run, strict_json
from verify.compare import __doc__ as ABOUT

if TYPE_CHECKING:
    from verify.compare.comparison import Row


def parser() -> Parser:
    """The options of the command."""
    p = Parser(prog="python -m verify.compare", description=ABOUT)
    p.add_argument("runs", metavar="RUN", nargs="+", help="folders of trained runs, the baseline first")
    p.add_argument(
        "--eval-tokens",
        type=positive_integer,
        default=262_144,
        metavar="N",
        help="held-out tokens read; default 262144",
    )
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default cpu")
    p.add_argument("--json", action="store_true", help="print the rows as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    return run(lambda: _command(arguments), p.prog)


def _command(arguments: Any) -> int:
    from verify.compare.comparison import compare

    device = check_device(arguments.device)
    rows = compare(arguments.runs, device=device, limit=arguments.eval_tokens)
    print(strict_json([row.to_dict() for row in rows]) if arguments.json else table(rows))  # noqa: T201
    return 0


def table(rows: Sequence[Row]) -> str:
    """A line per row, and what the intervals are under them."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}} {'runs':>4} {'nats/token':>10} {'bits/byte':>9} {'difference':>10}  95 % interval"]
    for row in rows:
        difference = "" if row.difference is None else f"{row.difference:+.5f}"
        interval = "" if row.interval is None else f"[{row.interval[0]:+.5f}, {row.interval[1]:+.5f}] {row.how}"
        told = interval or ("" if row.difference is None else "none: one run or one pair; train more seeds")
        left = f"{row.name:{width}} {len(row.runs):4d} {row.loss:10.4f} {row.bits_per_byte:9.4f}"
        lines.append(f"{left} {difference:>10}  {told}".rstrip())
    lines.append("difference: bits per byte, the row's less the first row's: below zero the row is better")
    return "\n".join(lines)
