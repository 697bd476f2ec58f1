"""The command line, `python -m verify.reduction`: its arguments, what it writes, its exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import VIOLATED, failure
from verify import reduction
from verify.command_line import (
    Parser,
    check_writable,
    module_names,
    positive_number,
    run,
    seed_number,
    strict_json,
    write_whole,
)
from verify.statistics.verdict import exit_code

if TYPE_CHECKING:
    from verify.reduction.judgement import Reduction


def positive_numbers(text: str) -> list[float]:
    """argparse type: '0.001,0.01' as positive numbers."""
    values = [positive_number(word) for word in text.replace(",", " ").split()]
    if not values:
        raise argparse.ArgumentTypeError(f"{text!r} holds no number")
    return values


def parser() -> Parser:
    """The command line; building it imports neither torch nor any system."""
    p = Parser(prog="python -m verify.reduction", description=(reduction.__doc__ or "").split("\n\n", 1)[1])
    p.add_argument(
        "--system",
        default="driven_cycle",
        metavar="NAME|all|FILE.py:FACTORY",
        help=f"default %(default)s; built in: {', '.join(module_names('theory', 'systems'))}",
    )
    p.add_argument(
        "--tolerance",
        type=positive_number,
        default=0.01,
        metavar="τ",
        help="below 1; default %(default)s, one per cent",
    )
    p.add_argument(
        "--eps", type=positive_numbers, metavar="ε,ε,…", help="where to measure; default half octaves around ε*"
    )
    p.add_argument("--seed", type=seed_number, default=0, help="of the starts; default %(default)s")
    p.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where JSON and figure go; default %(default)s"
    )
    p.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    names = module_names("theory", "systems")
    if arguments.system not in (*names, "all") and ".py:" not in arguments.system:
        choices = f"all, FILE.py:FACTORY or one of {', '.join(names)}"
        p.error(f"argument --system: unknown system {arguments.system!r}; choose {choices}")
    if not arguments.tolerance < 1:
        p.error(f"argument --tolerance: {arguments.tolerance:g} must lie below 1")
    return run(partial(_command, arguments, names, p.prog), p.prog)


def _command(arguments: Any, names: list[str], prog: str) -> int:
    from theory import get_system
    from verify.manifold_gap.user_code import load_system
    from verify.plotting import save_figure
    from verify.reduction.figure import reduction_figure
    from verify.reduction.judgement import measure
    from verify.reduction.table import reduction_table

    out = check_writable(arguments.out)
    several = arguments.system == "all"
    chosen = names if several else [arguments.system]
    results: list[Reduction] = []
    failed: list[int] = []
    for name in chosen:
        try:
            system = get_system(name) if name in names else load_system(name)
            result = measure(system, arguments.tolerance, eps=arguments.eps, seed=arguments.seed)
        except Exception as error:
            if not several:
                raise
            code, reason = failure(error)
            failed.append(code)
            print(f"{prog}: {name}: {reason}", file=sys.stderr)  # noqa: T201
            continue
        results.append(result)
        written = [one.as_dict() for one in results] if several else result.as_dict()
        write_whole(out / "reduction.json", strict_json(written) + "\n")
        stem = out / (f"reduction_{result.trust.system}" if several else "reduction")
        picture = save_figure(reduction_figure(result), stem)
        if not arguments.json:
            print(reduction_table(result) + f"\nfigure: {picture}\n")  # noqa: T201
    if arguments.json and results:
        print(strict_json([one.as_dict() for one in results] if several else results[0].as_dict()))  # noqa: T201
    code = exit_code(one.verdict for one in results)
    return code if code == VIOLATED else max([code, *failed])
