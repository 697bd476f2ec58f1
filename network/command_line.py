"""What the commands that read a run share: exit codes, options, and the trained model itself.

Exit codes: 0 done, or what must hold holds; 1 it is violated; 2 usage or input; 3 numerical failure, or nothing could
be concluded; 130 interrupted. Nothing here imports torch until a run is loaded: `--help` and usage errors answer at
once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from network.model import FastSlowLM

VIOLATED, USAGE, FAILED, INTERRUPTED = 1, 2, 3, 130
LARGEST_SEED = 2**63 - 1  # 2 · seed + 1, the largest that anything derives from it, is still one that torch takes
_WRONG_PATH = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


class RunParser(argparse.ArgumentParser):
    """Options of a command on a run: RUN and --device; no abbreviated options, errors as one line on stderr."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
        self.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps")

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        print(f"{self.prog}: {message} (see --help)", file=sys.stderr)  # noqa: T201
        raise SystemExit(USAGE)


def exit_code(command: Callable[[], int], prog: str) -> int:
    """The exit code of `command`: its own, that of the error it raised (`failure`), or 130 for Ctrl-C; quiet on a
    closed pipe.

    1 says that a claim is violated: no error may end with it, as one that nobody catches would.
    """
    try:
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


def seed_number(text: str) -> int:
    """argparse type: an integer 0 … `LARGEST_SEED`."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 2^63 − 1")
    return value


def load_run(run: Any, device: Any = "cpu") -> FastSlowLM:
    """The model of the newest checkpoint in the folder `run` (or of that checkpoint), in the dtype it was trained in.

    Raises `ValueError` where the device is not available, and `CheckpointError` with the path where there is no whole
    checkpoint or it does not hold a model of this version.
    """
    import torch

    from network.checkpoint import CheckpointError, load_checkpoint
    from network.config import FastSlowConfig
    from network.distributed import checked_device
    from network.model import FastSlowLM

    target = checked_device(device)
    checkpoint = load_checkpoint(run)
    try:
        config = FastSlowConfig.from_dict(checkpoint.config["model"])
        dtype = torch.float64 if checkpoint.config["training"]["dtype"] == "float64" else torch.float32
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} does not describe a model of this version: {error}") from None
    # The initial weights are overwritten: drawing them must not advance the caller's random state.
    model = FastSlowLM(config, generator=torch.Generator()).to(dtype)
    checkpoint.load_weights(model)
    return model.to(target).eval()


def _fail(prog: str, error: object, code: int) -> int:
    print(f"{prog}: {error}", file=sys.stderr)  # noqa: T201
    return code
