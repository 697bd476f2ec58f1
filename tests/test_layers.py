"""Imports run downwards: verify -> theory, verify -> network, and inside each package from floor to floor.

theory and network never import each other. Inside `theory` and `verify` the rooms (sub-packages and single modules)
stand on floors: a room imports from lower floors alone. A new room needs its floor here, so that the map of the house
cannot decay unseen. Imports for type checkers alone do not count.
"""

import ast
import functools
import graphlib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"theory": {"network", "verify"}, "network": {"theory", "verify"}, "verify": set()}
FLOORS = {
    "theory": [
        {"errors", "transforms", "compiled", "kinds"},
        {"arguments", "generators", "lu"},
        {"symbolic", "fast_slow"},
        {"stationary", "systems", "captured"},
        {"chain", "starts"},
        {"manifold", "clock"},
        {"flow", "jumps"},
        {"trust"},
    ],
    "verify": [
        {"command_line", "statistics"},
        {"plotting", "cells", "corpus", "observe", "fits"},
        {"trained"},
        {"claim", "manifold_gap"},
        {"generator_defect", "ablation", "compare", "reduction"},
        {"claims", "report"},
        {"mutants"},
        {"__main__"},
    ],
}


def last_name(node):
    """`c` of `c` and of `a.b.c`."""
    return getattr(node, "id", getattr(node, "attr", None))


@functools.cache
def imported(text):
    """Names that a module imports, `a.b.c` for `from a.b import c`; not those for type checkers."""
    found, todo = set(), [ast.parse(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and last_name(node.func) == "import_module":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
        todo += ast.iter_child_nodes(node)
    return found


def module_of(file, root):
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def texts(root, package):
    files = sorted((root / package).rglob("*.py"))
    assert files
    return {module_of(file, root): file.read_text(encoding="utf-8") for file in files}


def room_of(name, package):
    parts = name.split(".")
    return parts[1] if parts[0] == package and len(parts) > 1 else None


def climbing(root, package):
    """Every import from one room of `package` to another that does not stand on a lower floor."""
    floor = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    found = []
    for module, text in texts(root, package).items():
        here = room_of(module, package)
        for name in imported(text):
            there = room_of(name, package)
            inside = (root / package / str(there)).is_dir() or (root / package / f"{there}.py").is_file()
            if here is None or there is None or here == there or not inside:
                continue
            if floor[there] >= floor[here]:
                found.append(f"{module} -> {name}")
    return found


def without_circles(root, package):
    """The modules of `package` in an order in which they can be imported; `CycleError` where there is none."""
    everything = texts(root, package)
    graph = defaultdict(set)
    for module, text in everything.items():
        for name in imported(text):
            target = next((t for t in (name, name.rpartition(".")[0]) if t in everything), None)
            if target not in (None, module, package) and not module.startswith(f"{target}."):
                graph[module].add(target)
    return list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_upward_import(package):
    offenders = {
        module: bad
        for module, text in texts(ROOT, package).items()
        if (bad := {name.split(".")[0] for name in imported(text)} & FORBIDDEN[package])
    }
    assert offenders == {}


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_from_lower_floors_alone(package):
    rooms = {room for module in texts(ROOT, package) if (room := room_of(module, package))}
    assert rooms <= set.union(*FLOORS[package]), "a new room needs its floor in FLOORS"
    assert climbing(ROOT, package) == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_circle(package):
    assert without_circles(ROOT, package)


@pytest.mark.parametrize("package", FLOORS)
def test_the_top_level_fits_on_a_page(package):
    shown = [path.name for path in (ROOT / package).iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(shown) <= 20, sorted(shown)


def planted(tmp_path, package, file, line):
    for source in (ROOT / package).rglob("*.py"):
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    target = tmp_path / package / file
    target.write_text(f"{target.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    return tmp_path


def test_a_planted_import_is_seen(tmp_path):
    root = planted(
        tmp_path, "theory", "generators/checks.py", "def f():\n    from theory.chain.inverse import certificate"
    )
    assert climbing(root, "theory") == ["theory.generators.checks -> theory.chain.inverse.certificate"]
    with pytest.raises(graphlib.CycleError):
        without_circles(root, "theory")
    assert "network.model.FastSlowLM" in imported("def f():\n    from network.model import FastSlowLM")
    assert "verify.claims" in imported("import importlib\nimportlib.import_module('verify.claims')")


def test_no_module_carries_the_name_of_a_public_function():
    """`import theory.simulate` must not give a function where a module is meant, nor the other way round.

    network/generate.py is the command `python -m network.generate`; nothing may import it.
    """
    import network
    import theory
    import verify

    for package in (theory, network, verify):
        exported = set(getattr(package, "__all__", ()))
        modules = {path.stem for path in (ROOT / package.__name__).glob("*.py")}
        modules |= {path.name for path in (ROOT / package.__name__).iterdir() if path.is_dir()}
        assert exported & modules <= ({"generate"} if package is network else set())
    importers = [
        module
        for package in FORBIDDEN
        for module, text in texts(ROOT, package).items()
        if any(name == "network.generate" or name.startswith("network.generate.") for name in imported(text))
    ]
    assert importers == []
    assert callable(network.generate)


def test_no_validation_by_assert():
    """`python -O` strips assert statements; validation must survive it."""
    offenders = [
        f"{module}:{node.lineno}"
        for package in FORBIDDEN
        for module, text in texts(ROOT, package).items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assert)
    ]
    assert offenders == []
