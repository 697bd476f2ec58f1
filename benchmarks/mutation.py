"""python benchmarks/mutation.py [FILE …]: which small faults, put into a file on purpose, do its tests let pass?

Each mutant changes one place: a comparison, an operator, a connective, a sign, a constant, a condition, a keyword's
value, or a statement left out. The tests of the file, listed in `TESTS`, are run on it until the first failure. A
mutant that ends in no failure has survived: either a test is missing, or the mutant is equivalent, and `why` in the
JSON, written by hand and kept by later runs as long as the line of code reads the same, says so. Messages of errors are
not changed.

mutmut and cosmic-ray start Python anew, and so import torch and load compiled kernels, for each mutant, some five
seconds of it; here each is a fork of one warm process (POSIX only), in a copy of the tree.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from verify.statistics.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "network/pooling.py": ["network/test_pooling.py"],
    "theory/stationary/dense/gth.py": [
        "theory/test_gth_large.py",
        "theory/test_gth.py",
        "theory/test_stationary.py",
        "theory/test_stationary_infinite.py",
        "theory/test_gth_derivative.py",
    ],
    "theory/chain/inverse.py": [
        "theory/test_group_inverse_arguments.py",
        "theory/test_group_inverse.py",
        "theory/test_certificate.py",
        "fuzz/test_fuzz_group_inverse.py",
    ],
    "theory/clock/blocks.py": [
        "theory/test_token_clock.py",
        "theory/test_token_clock_batches.py",
        "theory/test_token_clock_arguments.py",
        "theory/test_leaving_the_box.py",
    ],
    "verify/statistics/convergence.py": ["verify/test_convergence.py", "verify/test_convergence_boundaries.py"],
}
COMPARISONS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
ALLOWED = 20.0  # times what the tests take on the file as it is, and at least a minute


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(what is done, the new node) for each mutation of one node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), []):
            yield "comparison", ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        changed = copy.copy(node)
        changed.op = OPERATORS[type(node.op)]()
        yield "operator", changed
    elif isinstance(node, ast.BoolOp):
        yield "connective", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield f"dropped {type(node.op).__name__}", node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield from (("constant", ast.Constant(node.value + step)) for step in (1, -1))
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield from (("constant", ast.Constant(node.value * factor)) for factor in (2.0, 0.5))
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield "negated", changed
    elif isinstance(node, (ast.Expr, ast.Raise, ast.Assign, ast.AugAssign, ast.Continue)):
        yield "deleted", ast.Pass()
    if isinstance(node, ast.AugAssign):
        yield "deleted", ast.Pass()


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index in it, node) of what computes: no docstring, annotation or message of an error."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list") or (isinstance(tree, ast.Raise) and field == "exc"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                continue
            yield tree, field, index, node
            yield from places(node)


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, description, whole source) of each mutant."""
    tree = ast.parse(source)
    for parent, field, index, node in places(tree):
        for kind, changed in changes(node):
            was = ast.unparse(node.test if kind == "negated" else node)  # pyright: ignore[reportAttributeAccessIssue]
            becomes = ast.unparse(changed.test if kind == "negated" else changed)  # pyright: ignore[reportAttributeAccessIssue]
            value = getattr(parent, field)
            if index is None:
                setattr(parent, field, changed)
            else:
                value[index] = changed
            text = ast.unparse(ast.fix_missing_locations(tree))
            if index is None:
                setattr(parent, field, node)
            else:
                value[index] = node
            yield getattr(node, "lineno", 0), f"{kind}: {was[:100]} -> {becomes[:100]}", text


def passes(tree: Path, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass in the copy `tree`, in a fork of this process that has `seconds` for it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(tree)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        sys.path.insert(0, str(tree))
        os.environ["PYTHONPATH"] = str(tree)
        for name in [n for n in sys.modules if n.split(".")[0] in ("theory", "network", "verify")]:
            del sys.modules[name]  # imported from the tree as it is, by this process
        import pytest

        how = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:randomly"]
        how += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins that are imported already
        os._exit(int(pytest.main([*how, *(f"tests/{test}" for test in tests)])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def study(file: str, tests: list[str], trees: list[Path], known: dict[str, Any]) -> dict[str, Any]:
    """The record of one file, its mutants shared out among the copies `trees`."""
    from tqdm import tqdm

    source = (ROOT / file).read_text()
    start = time.monotonic()
    if not passes(trees[0], tests, 1200):
        raise SystemExit(f"the tests of {file} do not pass on the file as it is")
    limit = max(60.0, ALLOWED * (time.monotonic() - start))
    (trees[0] / file).write_text("raise ImportError")
    if passes(trees[0], tests, limit):
        raise SystemExit(f"the tests of {file} pass without it: they do not import the copy that is changed")
    (trees[0] / file).write_text(source)
    free: Queue[Path] = Queue()
    for tree in trees:
        free.put(tree)

    def survives(text: str) -> bool:
        tree = free.get()
        try:
            (tree / file).write_text(text)
            return passes(tree, tests, limit)
        finally:
            (tree / file).write_text(source)
            free.put(tree)

    made = list(mutants(source))
    with ThreadPoolExecutor(len(trees)) as pool:
        survived = list(tqdm(pool.map(survives, [text for _, _, text in made]), file, len(made), file=sys.stderr))
    reasons = {(one["code"], one["mutant"]): one["why"] for one in known.get("survived", [])}
    code = ["", *(line.strip() for line in source.splitlines())]
    left = [
        {"line": line, "code": code[line], "mutant": what, "why": reasons.get((code[line], what), "")}
        for (line, what, _), alive in zip(made, survived, strict=True)
        if alive
    ]
    return {
        "tests": tests,
        "mutants": len(made),
        "killed": len(made) - len(left),
        "survived": left,
        "provenance": provenance(seed=0, device="cpu", seconds_per_mutant=limit),
    }


def main() -> int:
    """Mutate the files, print the counts and what survived, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"default: {', '.join(TESTS)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mutation.json")
    options = parser.parse_args()
    unknown = [file for file in options.files if file not in TESTS]
    if unknown:
        parser.error(f"no tests are listed for {unknown[0]}; known: {', '.join(TESTS)}")

    import hypothesis  # noqa: F401  what the forks find imported
    import jaxtyping  # noqa: F401
    import mpmath  # noqa: F401
    import numba  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import sympy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / str(k) for k in range(options.jobs)]
        for tree in trees:
            for part in ("theory", "network", "verify", "tests"):
                shutil.copytree(ROOT / part, tree / part)  # with their times, so that compiled kernels stay valid
            for name in ("pyproject.toml", "README.md"):
                shutil.copy(ROOT / name, tree)
        for file in options.files or list(TESTS):
            record[file] = study(file, TESTS[file], trees, record.get(file, {}))
            options.out.write_text(json.dumps(record, indent=1) + "\n")
            found = record[file]
            print(f"{file}: {found['mutants']} mutants, {found['killed']} killed")
            for one in found["survived"]:
                print(f"  line {one['line']}: {one['mutant']}   {one['why'] or 'unexplained'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
