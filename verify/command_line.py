"""What every command of this package shares: exit codes, arguments, devices, strict JSON, whole files.

Exit codes: 0 all that must hold holds; 1 an exact or structural claim is violated; 2 usage or input; 3 numerical
failure, or an exact or structural claim is inconclusive; 130 interrupted. Nothing here imports torch until a device
is checked, so that `--help` and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from network import command_line
from network.atomic import write_atomic
from network.command_line import (
    FAILED,
    INTERRUPTED,
    USAGE,
    Parser,
    positive_integer,
    positive_integers,
    seed_number,
    seed_numbers,
)

__all__ = [
    "INTERRUPTED",
    "NUMERICAL",
    "USAGE",
    "Parser",
    "UsageError",
    "check_device",
    "check_writable",
    "module_names",
    "positive_integer",
    "positive_integers",
    "positive_number",
    "run",
    "sample_size",
    "seed_number",
    "seed_numbers",
    "strict_json",
    "write_whole",
]

NUMERICAL = FAILED
MOST_SAMPLES = 2**63 - 1


class UsageError(ValueError):
    """Bad input on the command line: reported as one line on stderr, exit code 2."""


def run(command: Callable[[], int], prog: str) -> int:
    """The exit code of `command`: its own, 2 for bad input, 3 for any other error (`network.command_line.failure`), 130
    for Ctrl-C; quiet on a closed pipe."""
    return command_line.exit_code(command, prog)


def module_names(package: str, folder: str, *, leave_out: Iterable[str] = ()) -> list[str]:
    """The modules in `package`/`folder`, by file name and without importing anything."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {package!r} is not installed")
    files = Path(spec.submodule_search_locations[0], *folder.split("/")).glob("*.py")
    return sorted(file.stem for file in files if not file.stem.startswith("_") and file.stem not in leave_out)


def sample_size(text: str) -> int:
    """argparse type: an integer from 1 to 2^63 − 1, the largest that a multinomial draw takes."""
    value = positive_integer(text)
    if value > MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} must be at most 2^63 − 1")
    return value


def positive_number(text: str) -> float:
    """argparse type: a positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be positive and finite")
    return value


def check_device(name: str) -> str:
    """`name` if torch can compute in float64 there; `UsageError` otherwise, never a silent fall-back to the CPU."""
    if name == "cpu":
        return name

    import torch

    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"--device {name}: not a device; use cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return name
    if device.type != "cuda":
        raise UsageError(f"--device {name}: has no float64, which every simulation here needs; use cpu or cuda")
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: no such CUDA device on this machine; use --device cpu")
    return name


def check_writable(folder: Path, option: str = "--out") -> Path:
    """`folder`, created if need be, after a trial write; `UsageError` before anything is computed if it cannot be
    used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "is a file" if folder.is_file() else f"cannot write there ({error.strerror})"
        raise UsageError(f"{option} {folder}: {reason}; name a folder that can be written") from None
    return folder


def strict_json(value: object) -> str:
    """JSON with NaN and infinities as null; numbers keep 17 digits."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write by a temporary file and a rename: a reader, or a second run, never sees half a file."""
    write_atomic(path, content.encode() if isinstance(content, str) else content)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
