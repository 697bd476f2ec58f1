"""Imports run downwards: verify -> theory, verify -> network; theory and network never import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"theory": {"network", "verify"}, "network": {"theory", "verify"}, "verify": set()}


def imported_packages(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {arg.value.split(".")[0] for arg in node.args if isinstance(arg, ast.Constant)}
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_upward_import(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    offenders = {
        str(f.relative_to(ROOT)): bad for f in files if (bad := imported_packages(f.read_text()) & FORBIDDEN[package])
    }
    assert offenders == {}


def test_the_check_sees_an_upward_import():
    assert imported_packages("def f():\n    from network.model import FastSlowLM") == {"network"}
    assert imported_packages("import importlib\nimportlib.import_module('verify.claims')") >= {"verify"}


def test_no_validation_by_assert():
    """`python -O` strips assert statements; validation must survive it."""
    offenders = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package in FORBIDDEN
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert offenders == []
