"""Every claim of the paper, measured. `python -m verify`.

Each claim is checked, and ends in the words that its tag allows: exact ones HOLDS or VIOLATED, structural ones also
INCONCLUSIVE, heuristic and empirical ones CONSISTENT, INCONSISTENT or INCONCLUSIVE, gaps MEASURED. With --mutants each
check is also run on a deliberately broken input, which it must refute, and against every mutant of the gallery
(`verify.mutants`) that aims at it; the matrix claim × mutant is printed, and mutants.json is it, with what it held of
claims that are not run now. What is finished is kept under --out, and what was trained under --cells, and not measured
again; interrupt and start again at will. Under --out are then claims.json, and report.html and report.md, which
`python -m verify.report` makes again from it.

Exit codes: 0 all that must hold holds; 1 an exact or structural claim is VIOLATED; 2 usage or input; 3 a check ended in
ERROR, an exact or structural claim is INCONCLUSIVE, a mutant went unnoticed, or the report could not be written; 130
interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import LARGEST_SEED
from verify.claim import PROFILES, TAGS, Profile
from verify.claim.discovery import BrokenClaim, FoundClaim, discover
from verify.command_line import (
    NUMERICAL,
    Parser,
    UsageError,
    check_device,
    check_writable,
    positive_integer,
    run,
    strict_json,
    write_whole,
)

if TYPE_CHECKING:
    from verify.claim.result import ClaimResult, Report

SEEDS = {"quick": 1, "paper": 5, "scale": 2}


def parser() -> Parser:
    """The command line; building it imports neither torch nor any claim."""
    p = Parser(prog="python -m verify", description=__doc__)
    p.add_argument("--list", action="store_true", help="list the claims with tag and statement, and run nothing")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}  # --claim A --claim B as --claim A B
    p.add_argument("--tag", **several, choices=TAGS, metavar="TAG", help=f"only claims so tagged: {', '.join(TAGS)}")
    p.add_argument("--claim", **several, metavar="ID", help="only these claims")
    p.add_argument(
        "--profile",
        choices=PROFILES,
        default="quick",
        help="quick (default, a minute), paper (trains 500k tokens: ten minutes), scale (>= 10M tokens: hours)",
    )
    p.add_argument(
        "--seeds",
        type=_seeds,
        metavar="S,S,…",
        help="of the trained models; other checks draw from the first. Default 0 (quick), 0 … 4 (paper), 0, 1 (scale)",
    )
    p.add_argument("--mutants", action="store_true", help="also run each check on its broken inputs; print the matrix")
    p.add_argument(
        "--rigorous",
        action="store_true",
        help="hold p_st against proven enclosures too (pip install 'fastslow[rigorous]')",
    )
    p.add_argument("--folder", **several, type=Path, default=[], metavar="DIR", help="take the claims in DIR as well")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    p.add_argument("--scheduler", metavar="ADDRESS", help="run on the Dask cluster of this scheduler")
    p.add_argument("--jobs", type=positive_integer, metavar="N", help="local processes; default one a core")
    p.add_argument("--fresh", action="store_true", help="measure again what is finished")
    p.add_argument("--out", type=Path, default=Path("out/verify"), metavar="DIR", help="default %(default)s")
    p.add_argument("--cells", type=Path, metavar="DIR", help="where trained models are kept; default OUT/cells")
    p.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    return run(partial(_command, arguments), p.prog)


def table(report: Report) -> str:
    """A line per claim, then the reasons of those that did not simply hold."""
    with_mutants = any(claim.mutant_refuted is not None for claim in report.claims)
    rows = [("claim", "tag", "verdict", "measured", "bound", "interval", "cost", *(["mutant"] if with_mutants else []))]
    rows += [_row(claim, with_mutants) for claim in report.claims]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for claim in report.claims:
        if claim.reason:
            lines.append(f"{claim.id}: {claim.reason}")
        lines += [
            f"{claim.id}: its mutant went unnoticed ({one['breaks']}): {one['reason']}"
            for one in claim.mutants
            if not one["refuted"]
        ]
    return "\n".join(lines)


def _command(arguments: Any) -> int:
    found = _selected(arguments)
    if arguments.list:
        print("\n".join(_listed(entry) for entry in found))  # noqa: T201
        return 0
    out = check_writable(arguments.out)
    profile = Profile(
        arguments.profile,
        tuple(arguments.seeds or range(SEEDS[arguments.profile])),
        check_device(arguments.device),
        rigorous=arguments.rigorous,
    )
    if arguments.rigorous and importlib.util.find_spec("flint") is None:
        raise UsageError("--rigorous needs python-flint: pip install 'fastslow[rigorous]'")

    from verify.claim.runner import run_claims

    report = run_claims(
        found,
        profile,
        folder=out / "cells",
        cells=None if arguments.cells is None else check_writable(arguments.cells, "--cells"),
        mutants=arguments.mutants,
        scheduler=arguments.scheduler,
        jobs=arguments.jobs,
        fresh=arguments.fresh,
        progress=True,
        finished=lambda so_far: write_whole(out / "claims.json", so_far.to_json() + "\n"),
    )
    write_whole(out / "claims.json", report.to_json() + "\n")
    resumed = sum(claim.resumed for claim in report.claims)
    if resumed:
        note = f"{resumed} of {len(report.claims)} claims had been measured before; --fresh measures again"
        print(note, file=sys.stderr)  # noqa: T201
    page = _written(report, out, found)
    print(report.to_json() if arguments.json else table(report))  # noqa: T201
    gallery = _gallery(arguments, report, out) if arguments.mutants else 0
    return report.exit_code() or page or gallery


def _gallery(arguments: Any, report: Report, out: Path) -> int:
    """Run the mutants of the gallery that aim at these claims, write and print the matrix; 3 if one lives.

    What mutants.json holds of other claims is kept.
    """
    from verify.mutants.gallery import living, matrix, merged, run_gallery

    options = {"scheduler": arguments.scheduler, "jobs": arguments.jobs, "fresh": arguments.fresh, "progress": True}
    found = run_gallery(report, folder=out / "cells", **options)
    file = out / "mutants.json"
    whole = merged(found, json.loads(file.read_text(encoding="utf-8"))) if file.exists() else found
    write_whole(file, strict_json(whole) + "\n")
    if not arguments.json:
        print("\n" + matrix(found))  # noqa: T201
    for name in living(found):
        print(f"mutant {name} lives", file=sys.stderr)  # noqa: T201
    return NUMERICAL if living(found) else 0


def _written(report: Report, out: Path, found: Sequence[FoundClaim | BrokenClaim]) -> int:
    """Write the report beside claims.json; 3 where that fails, for the results are there and the page is not."""
    from verify.report.command import write_report

    try:
        paths = write_report(report, out, found)
    except Exception as error:  # whatever a claim's details do to the page, its results are kept
        note = f"{out / 'claims.json'} is whole; the report could not be written, {type(error).__name__}: {error}"
        print(note, file=sys.stderr)  # noqa: T201
        return NUMERICAL
    print(f"report: {' and '.join(map(str, paths))}", file=sys.stderr)  # noqa: T201
    return 0


def _selected(arguments: Any) -> list[FoundClaim | BrokenClaim]:
    found = discover(arguments.folder)
    ids = [entry.id for entry in found]
    unknown = [name for name in arguments.claim or () if name not in ids]
    if unknown:
        raise ValueError(f"unknown claim {unknown[0]!r}; there are {', '.join(ids)}")
    if arguments.claim:
        found = [entry for entry in found if entry.id in arguments.claim]
    if arguments.tag:
        # A file that cannot be read has no tag: it might be one of those asked for.
        found = [entry for entry in found if isinstance(entry, BrokenClaim) or entry.claim.tag in arguments.tag]
    if not found:
        raise ValueError("no claim is selected; --list shows them")
    return found


def _listed(entry: FoundClaim | BrokenClaim) -> str:
    if isinstance(entry, BrokenClaim):
        return f"{entry.id:34} ERROR       {entry.reason}"
    return f"{entry.id:34} {entry.claim.tag:11} {entry.claim.statement}"


def _row(claim: ClaimResult, with_mutants: bool) -> tuple[str, ...]:
    interval = "" if claim.interval is None else f"[{claim.interval[0]:.4g}, {claim.interval[1]:.4g}]"
    row = (claim.id, claim.tag, claim.verdict, _number(claim.measured), _number(claim.bound), interval)
    noticed = {None: "not run", True: "refuted", False: "UNNOTICED"}[claim.mutant_refuted]
    return (*row, f"{claim.seconds:.1f} s", *([noticed] if with_mutants else []))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers such as 0,1,2") from None
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} must hold different integers >= 0, at most 2^63 − 1")
    return seeds


if __name__ == "__main__":
    sys.exit(main())
