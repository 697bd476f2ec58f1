"""Claims are found, not registered: every file of a folder that does not begin with an underscore is one.

A file that cannot be imported, or that defines no claim of its own name, is a `BrokenClaim`: an ERROR of its own that
stops nobody else. No file is imported twice, and none may import torch at its top level.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from verify.claim.kinds import Claim

BUILT_IN = Path(__file__).parents[1] / "claims"


@dataclass(frozen=True)
class BrokenClaim:
    """A file that should hold a claim and does not; `reason` says why."""

    id: str
    file: Path
    reason: str


@dataclass(frozen=True)
class FoundClaim:
    """A claim and the file that defines it."""

    claim: Claim[Any]
    file: Path

    @property
    def id(self) -> str:
        """The claim's id."""
        return self.claim.id


def discover(folders: Iterable[Path] = ()) -> list[FoundClaim | BrokenClaim]:
    """The built-in claims and those of `folders`, by id.

    Raises `ValueError` for a folder that does not exist and for an id that two files share.
    """
    found: dict[str, FoundClaim | BrokenClaim] = {}
    for folder in (BUILT_IN, *folders):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder of claims")
        for file in sorted(folder.glob("*.py")):
            if file.stem.startswith("_"):
                continue
            if file.stem in found:
                raise ValueError(f"claim {file.stem!r} is defined twice: {found[file.stem].file} and {file}")
            found[file.stem] = load(file)
    return [found[name] for name in sorted(found)]


def load(file: Path) -> FoundClaim | BrokenClaim:
    """The claim that `file` defines."""
    try:
        claim = getattr(_module(file), "CLAIM", None)
    except (Exception, SystemExit) as error:  # whatever a file does wrong is its own ERROR
        return BrokenClaim(file.stem, file, f"importing {file.name} raised {type(error).__name__}: {error}")
    if not isinstance(claim, Claim) or not hasattr(claim, "tag"):
        return BrokenClaim(file.stem, file, f"{file.name} defines no CLAIM of a class of verify.claim")
    if claim.id != file.stem:
        return BrokenClaim(file.stem, file, f"{file.name} defines the claim {claim.id!r}; the id is the file's name")
    return FoundClaim(claim, file)


def _module(file: Path) -> ModuleType:
    if file.parent.resolve() == BUILT_IN.resolve():
        return importlib.import_module(f"verify.claims.{file.stem}")
    name = f"claim_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
