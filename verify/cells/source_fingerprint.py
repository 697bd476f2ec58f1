"""The fingerprint of source code: which version of a package a result was made with."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path


def source_fingerprint(*packages: str, without: Sequence[str] = ()) -> str:
    """A hash of the code of `packages`, found without importing them: what a result was made with.

    Comments and docstrings do not count. without: modules left out, as `"train"` or `"claims/wall_clock"`.

    Examples:
        >>> from verify.cells import source_fingerprint
        >>> source_fingerprint("theory") == source_fingerprint("theory"), len(source_fingerprint("theory"))
        (True, 16)
    """
    from importlib.util import find_spec

    digest = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the package {package!r} is not installed")
        root = Path(next(iter(spec.submodule_search_locations)))
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root).with_suffix("").as_posix()
            if name not in without:
                digest.update(f"{package}/{name}\0{_code(file)}\0".encode())
    return digest.hexdigest()[:16]


def _code(file: Path) -> str:
    """The syntax tree of a Python file without its docstrings, as text."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]
    return ast.dump(tree)
