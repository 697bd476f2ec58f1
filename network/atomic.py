"""Files that are whole or absent: written under a temporary name, flushed to the disk, then renamed.

POSIX renames are atomic, so a reader, or a process that starts after a kill or a power cut, sees the old state or the
new one. A folder is published the same way: its files first, then the folder itself under its final name, then the
parent's entry. Temporary names begin with `.tmp-`; `sweep` removes those that a killed process left behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".tmp-"


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`, replacing what is there in one step."""
    descriptor, temporary = tempfile.mkstemp(prefix=_PREFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` at the end of the block.

    Where `path` already exists by then, raises `FileExistsError` or `OSError` and leaves it as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        fsync_folder(temporary)
        os.chmod(temporary, 0o755)
        if path.exists():
            raise FileExistsError(f"{path} already exists")
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder so that no reader ever finds half of it under its name."""
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
    os.rename(path, temporary)
    shutil.rmtree(temporary)


def sweep(parent: Path) -> None:
    """Remove what a killed process left under temporary names in `parent`; call it where nothing else writes."""
    for leftover in parent.glob(f"{_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def fsync_folder(path: Path) -> None:
    """Flush the entries of a folder, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
