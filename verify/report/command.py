"""The command line `python -m verify.report`, and the report as a function of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.claim.discovery import BrokenClaim, FoundClaim, discover
from verify.command_line import Parser, UsageError, check_writable, run, write_whole
from verify.report import __doc__ as ABOUT
from verify.report.claims_page import claims_page, claims_table
from verify.report.content import Content, content, read
from verify.report.html_page import page
from verify.report.markdown import markdown
from verify.report.pretrained import COMMAND, beside, networks

if TYPE_CHECKING:
    from verify.claim.result import Report

DEFAULT = Path("out/verify/claims.json")


def report_content(
    report: Report | str, claims: Iterable[FoundClaim | BrokenClaim] = (), pretrained: Sequence[Path] = ()
) -> Content:
    """What the report of a run says. report: the run, or the text of its claims.json; both give the same.

    claims: those that were checked, where it is to be told how. pretrained: JSON of `python -m verify.generator_defect
    --model`. Raises `ValueError` where the text is something else.
    """
    found = read(report if isinstance(report, str) else report.to_json())
    if not found["claims"]:
        raise ValueError("there is no claim to report")
    return content(found, claims, networks(pretrained))


def write_report(
    report: Report | str,
    folder: Path,
    claims: Iterable[FoundClaim | BrokenClaim] = (),
    pretrained: Sequence[Path] | None = None,
) -> list[Path]:
    """Write report.html and report.md into `folder`, made if need be, each whole; their paths. pretrained: as
    `report_content`; None for those that lie in the folder."""
    said = report_content(report, claims, beside(folder) if pretrained is None else pretrained)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in (("report.html", page(said)), ("report.md", markdown(said))):
        write_whole(folder / name, text)
        written.append(folder / name)
    return written


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="python -m verify.report", description=ABOUT)
    p.add_argument("file", nargs="?", type=Path, default=DEFAULT, help="JSON of a run; default %(default)s")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: the folder of the file")
    p.add_argument(
        "--pretrained",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="JSON of python -m verify.generator_defect --model; default pretrained*.json beside the file",
    )
    p.add_argument("--folder", nargs="+", type=Path, default=[], metavar="DIR", help="where further claims are")
    p.add_argument("--docs", type=Path, metavar="FILE", help="write the page of the claims there, and no report")
    p.add_argument("--table", action="store_true", help="print the table of the claims, and write nothing")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    return run(partial(_command, arguments), p.prog)


def _command(arguments: Any) -> int:
    claims = discover(arguments.folder)
    sound = [entry for entry in claims if isinstance(entry, FoundClaim)]
    if arguments.docs or arguments.table:
        if len(sound) < len(claims):
            broken = next(entry for entry in claims if isinstance(entry, BrokenClaim))
            raise UsageError(broken.reason)
        if arguments.table:
            print(claims_table(sound))  # noqa: T201
        else:
            check_writable(arguments.docs.parent)
            write_whole(arguments.docs, claims_page(sound))
        return 0
    try:
        text = arguments.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{arguments.file}: cannot be read ({error}); `python -m verify` writes it") from None
    folder = check_writable(arguments.out or arguments.file.parent)
    pretrained = beside(arguments.file.parent) if arguments.pretrained is None else arguments.pretrained
    if lost := [file for file in pretrained if not file.is_file()]:
        raise UsageError(f"{lost[0]}: no such file; {COMMAND} DIR --text FILE --out DIR writes it")
    for path in write_report(text, folder, claims, pretrained):
        print(path, file=sys.stderr)  # noqa: T201
    return 0
