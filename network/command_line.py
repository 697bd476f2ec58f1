"""What every command shares: one parser, the types of its arguments, exit codes, and what ends a computation.

Exit codes: 0 done, or what must hold holds; 1 it is violated; 2 usage or input; 3 numerical failure, or nothing could
be concluded; 130 interrupted (Ctrl-C or SIGTERM). Nothing here imports torch: `--help` and usage errors answer at once.

Numbers of tokens may be written 500000, 500k, 10M, 1.5B or 1e5: whole after the suffix, or refused.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NoReturn

VIOLATED, USAGE, FAILED, INTERRUPTED = 1, 2, 3, 130
LARGEST_SEED = 2**63 - 1  # 2 · seed + 1, the largest that anything derives from it, is still one that torch takes
_WRONG_PATH = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses abbreviated options, names the nearest for an unknown one, and reports an error
    as one line on stderr with exit code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As in argparse; an unknown option is answered with the nearest that there is."""
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            self.error(f"unrecognized arguments: {' '.join(extra)}{self._nearest(extra)}")
        return found

    def _nearest(self, words: Sequence[str]) -> str:
        unknown = next((word.split("=")[0] for word in words if word.startswith("-")), None)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        if unknown is None:
            return "; options begin with --, and a text with spaces stands in quotes"
        written = "--" + unknown.lstrip("-").replace("_", "-").lower()
        begins = [name for name in known if len(written) > 3 and name.startswith(written)]
        near = begins[:3] or difflib.get_close_matches(written, known, 1, 0.6)
        return f"; did you mean {' or '.join(near)}?" if near else ""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        print(f"{self.prog}: {_with_nearest_choice(message)} (see --help)", file=sys.stderr)  # noqa: T201
        raise SystemExit(USAGE)


class RunParser(Parser):
    """Options of a command on a run: RUN and --device."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description)
        self.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
        self.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps")


def _with_nearest_choice(message: str) -> str:
    found = re.search(r"invalid choice: '?([^']*?)'? \((?:choose|must be chosen) from (.*)\)", message)
    if found is None:
        return message
    choices = re.findall(r"[\w.+-]+", found[2])
    near = difflib.get_close_matches(found[1].lower(), choices, 1, 0.6)
    return f"{message}; did you mean {near[0]}?" if near else message


def exit_code(command: Callable[[], int], prog: str) -> int:
    """The exit code of `command`: its own, that of the error it raised (`failure`), or 130 for Ctrl-C and SIGTERM;
    quiet on a closed pipe.

    1 says that a claim is violated: no error may end with it, as one that nobody catches would.
    """
    try:
        with sigterm_as_ctrl_c():
            code = command()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, which must not complain about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        code, reason = failure(error)
        return _fail(prog, reason, code)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """A block in which SIGTERM, as a batch system sends it, is what Ctrl-C is; outside the main thread, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """A block in which a first Ctrl-C or SIGTERM is answered at once and noted, and a second one ends the block.

    Gives the question whether there was one.
    """
    asked: list[int] = []

    def noted(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nfinishing this step; again to stop now", file=sys.stderr, flush=True)  # noqa: T201

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, noted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def failure(error: Exception) -> tuple[int, str]:
    """(exit code, reason) of an error that ends a computation: 2 for a ValueError or a path that cannot be used, 3 for
    a failure of numbers, memory or disk.

    Anything else is a mistake in the program itself: 3 as well, after its traceback on stderr.
    """
    if isinstance(error, ValueError):
        return USAGE, str(error)
    if isinstance(error, OSError):
        code = USAGE if isinstance(error, _WRONG_PATH) else FAILED
        where = f": {error.filename}" if error.filename is not None else ""
        return code, f"{error.strerror or error}{where}"
    if isinstance(error, MemoryError):
        return FAILED, f"out of memory: {error}" if str(error) else "out of memory"
    if isinstance(error, ArithmeticError):
        return FAILED, f"{type(error).__name__}: {error}"
    if not isinstance(error, RuntimeError):
        traceback.print_exception(error)
        return FAILED, f"{type(error).__name__}: {error}"
    return FAILED, str(error)


def whole_number(text: str) -> int:
    """argparse type: an integer, also as 500k, 10M, 1.5B or 1e5."""
    found = re.fullmatch(r"\s*([+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,3})?)([kKmMbB]?)\s*", text)
    try:
        value = Fraction(found[1]) * _SUFFIX[found[2].lower()] if found else None
    except ValueError:  # thousands of digits
        value = None
    if value is None or value.denominator != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number such as 500000, 500k, 10M or 1e5")
    return int(value)


def positive_integer(text: str) -> int:
    """argparse type: one integer >= 1, also as 500k, 10M or 1e5."""
    value = whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= 1")
    return value


def positive_integers(text: str) -> list[int]:
    """argparse type: '2,4,8' as integers >= 1."""
    words = text.replace(",", " ").split()
    try:
        values = [whole_number(word) for word in words]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers such as 2,4,8") from None
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must hold integers >= 1")
    return values


def seed_number(text: str) -> int:
    """argparse type: an integer 0 … `LARGEST_SEED`."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 2^63 − 1")
    return value


def seed_numbers(text: str) -> tuple[int, ...]:
    """argparse type: '3' is the seeds 0, 1, 2; '0,5,7' (or '7,' for one alone) is those seeds."""
    if "," not in text:
        try:
            count = int(text)
        except ValueError:
            count = 0
        if not 1 <= count <= 10**6:
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a number of seeds, such as 3 for 0, 1, 2, nor a list of them, such as 0,5,7 or 7,"
            )
        return tuple(range(count))
    seeds = tuple(seed_number(word) for word in text.split(",") if word.strip())
    if not seeds or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} must list different seeds, such as 0,5,7, and at least one")
    return seeds


def _fail(prog: str, error: object, code: int) -> int:
    print(f"{prog}: {error}", file=sys.stderr)  # noqa: T201
    return code
