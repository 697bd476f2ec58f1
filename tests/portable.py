"""The tests marked `numerical` on emulated processors: the same suite on other machine code.

    make test-portable
    .venv/bin/python tests/portable.py plain avx2 --out out/portable.json

A combination is a set of environment variables that torch, MKL, OpenBLAS, numba and NumPy read when they start. What
each library says of itself (tests/kernels.py) is compared with what it says without them: a library that a combination
names and that runs the same code all the same is listed as 'no effect'. The tests marked `thorough` (notebooks, several
processes) run on the combinations of `WHOLE`, those marked `slow` on none, and how long anything takes is never
asserted. Ends with 1 if a combination is not green, 2 if none can be run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TESTS, WHOLE_TESTS = "numerical and not slow and not thorough", "numerical and not slow"
WHOLE = ("plain", "zen")  # without any vector instruction, and another maker's with fused multiply-add
ONE, TWO = (dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n) for n in "12")
OLD_NUMPY = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "NUMBA_CPU_NAME": "generic"}
COMBINATIONS: dict[str, dict[str, str]] = {
    "plain": PLAIN | ONE,
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Haswell"} | ONE,
    "zen": {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Zen", "NUMBA_CPU_NAME": "znver2"} | ONE,
    "nehalem": PLAIN | OLD_NUMPY | {"MKL_CBWR": "SSE4_2", "OPENBLAS_CORETYPE": "Nehalem"} | ONE,
    "sandybridge": {"MKL_CBWR": "AVX", "OPENBLAS_CORETYPE": "Sandybridge", "NUMBA_CPU_NAME": "sandybridge"} | ONE,
    "two-threads-plain": PLAIN | {"OPENBLAS_CORETYPE": "Prescott"} | TWO,
}
LIBRARY = {
    "ATEN_CPU_CAPABILITY": "torch",
    "MKL_CBWR": "mkl",
    "OPENBLAS_CORETYPE": "openblas",
    "NUMBA_CPU_NAME": "numba",
    "NPY_DISABLE_CPU_FEATURES": "numpy",
    "OMP_NUM_THREADS": "threads",
}
# numba takes the instructions of the machine it runs on unless told those of the processor it is to compile for
FEATURES = {"znver2": "+avx,+avx2,+fma,+bmi,+bmi2", "sandybridge": "+avx"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the tests marked numerical on emulated processors.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(COMBINATIONS)} (default: all)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the result as JSON, beside those of other combinations there"
    )
    parser.add_argument("--processes", type=int, default=2, help="how many cores to use (default: 2)")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in COMBINATIONS:
            parser.error(f"no combination {name!r}; there are {', '.join(COMBINATIONS)}")
    host = kernels(environment(ONE))
    results = []
    for name in options.names or COMBINATIONS:
        result = run(name, host, options.processes)
        results.append(result)
        print(line(result), flush=True)
        if options.out:
            write(options.out, host, results)
    return 0 if all(green(result) for result in results) else 1


def environment(variables: dict[str, str]) -> dict[str, str]:
    """This process's environment with those variables and no others that choose kernels; numba's cache for each CPU."""
    chosen = {variable for combination in COMBINATIONS.values() for variable in combination}
    kept = {k: v for k, v in os.environ.items() if k not in chosen | {"NUMBA_CPU_FEATURES"}}
    cpu = variables.get("NUMBA_CPU_NAME", "host")
    features = {"NUMBA_CPU_FEATURES": FEATURES[cpu]} if cpu in FEATURES else {}
    cache = ROOT / "out" / "numba" / cpu
    threads = {"TEST_THREADS": variables["OMP_NUM_THREADS"]}
    return kept | variables | features | threads | {"NUMBA_CACHE_DIR": str(cache), "CI": "1"}


def kernels(variables: dict[str, str]) -> dict[str, str]:
    command = [sys.executable, str(ROOT / "tests" / "kernels.py")]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f"the kernels do not say what they are:\n{done.stderr}", file=sys.stderr)
        raise SystemExit(2)
    return json.loads(done.stdout.splitlines()[-1])


def run(name: str, host: dict[str, str], processes: int) -> dict[str, Any]:
    """One combination: what its kernels say, and how the tests ended."""
    variables, tests = COMBINATIONS[name], WHOLE_TESTS if name in WHOLE else TESTS
    inside = environment(variables)
    said = kernels(inside)
    each = max(1, processes // int(variables["OMP_NUM_THREADS"]))
    named = {LIBRARY[v] for v in variables if v in LIBRARY and variables[v] != ONE.get(v)}
    changed = [library for library in said if said[library] != host[library]]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(each), "-m", tests, "-p", "no:randomly"]
        command += ["-o", "timeout=0"]  # a slow kernel is no failure
        done = subprocess.run(
            [*command, f"--junitxml={report}"], env=inside, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        counts, failures = read(report) if report.exists() else ({}, [])
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return {
        "name": name,
        "tests": tests,
        "environment": variables,
        "kernels": said,
        "changed": changed,
        "no effect": sorted(named - set(changed)),
        "exit": done.returncode,
        **counts,
        "failures": failures,
        "minutes": round((time.perf_counter() - begin) / 60, 1),
    }


def read(report: Path) -> tuple[dict[str, int], list[str]]:
    """Counts, and the names of the tests that did not pass, from pytest's own report."""
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    total, failed, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    bad = [c for c in suite.iter("testcase") if c.find("failure") is not None or c.find("error") is not None]
    counts = {"passed": total - failed - errors - skipped, "failed": failed + errors, "skipped": skipped}
    return counts, [f"{case.get('classname')}::{case.get('name')}" for case in bad]


def green(result: dict[str, Any]) -> bool:
    return result["exit"] == 0 and result.get("passed", 0) > 0


def line(result: dict[str, Any]) -> str:
    state = "green" if green(result) else "NOT GREEN"
    effect = "changed: " + ", ".join(result["changed"] or ["nothing"])
    effect += f"; no effect: {', '.join(result['no effect'])}" if result["no effect"] else ""
    counts = f"{result.get('passed', 0)} passed, {result.get('failed', 0)} failed"
    return f"{result['name']:<18} {state:<10} {counts} in {result['minutes']} min; {effect}"


def write(file: Path, host: dict[str, str], results: list[dict[str, Any]]) -> None:
    """The result as JSON, whole or not at all: each combination with the processor that emulated it, what the kernels
    there say without it, and the commit. What the file holds of other combinations stays.
    """
    sys.path.insert(0, str(ROOT))
    from verify.statistics.provenance import provenance

    made = provenance(seed=0, device="cpu")
    here = {"commit": made["commit"], "processor": made["processor"], "host": host}
    found = {result["name"]: result | here for result in results}
    if file.exists():
        found = {one["name"]: one for one in json.loads(file.read_text())["combinations"]} | found
    ordered = [found[name] for name in COMBINATIONS if name in found]
    text = json.dumps({"provenance": made, "combinations": ordered}, indent=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main())
