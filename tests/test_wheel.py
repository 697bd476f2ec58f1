"""The wheel, installed in an empty environment outside the repository: what it holds, and that it runs. Issue 7."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="the package build is not installed: pip install -e '.[dev]'")
pytest.importorskip("hatchling", reason="the package hatchling is not installed: pip install -e '.[dev]'")

ROOT = Path(__file__).parent.parent
PACKAGES = ("theory", "network", "verify")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOREIGN = Path(pytest.__file__).parent.parent  # site-packages with everything that the wheel depends on


def run(*words: object, folder: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The sdist, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("a folder with a space")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The folder of the programs of an environment that holds the wheel, and sees its dependencies but not the tree."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=False, symlinks=os.name != "nt")
    programs = root / ("Scripts" if os.name == "nt" else "bin")
    wheel = only(built, "*.whl")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        programs / "python",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        folder=root,
    )
    place = run(
        programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=root
    ).strip()
    # The .pth files inside a folder that a .pth names are not read: the editable install stays out of sight.
    (Path(place) / "dependencies.pth").write_text(f"{FOREIGN}\n")
    return programs


def test_the_wheel_holds_the_three_packages_and_nothing_else(built):
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        names = wheel.namelist()
    information = f"fastslow-{PROJECT['version']}.dist-info/"
    code = {name for name in names if not name.startswith(information)}
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert code == tree
    assert {Path(name).suffix for name in code} <= {".py", ".typed", ".css"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= code
    assert {f"theory/systems/{name}.py" for name in ("driven_cycle", "two_state")} <= code
    assert "verify/claims/zero_gate_is_dense.py" in code and "theory/flow/methods/__init__.py" in code
    told = {name.removeprefix(information) for name in names} - code
    assert told == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_the_wheel_says_what_the_project_says(built):
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = wheel.read(name).decode()
    assert f"\nVersion: {PROJECT['version']}\n" in metadata
    needed = {re.match(r"[\w-]+", entry)[0] for entry in PROJECT["dependencies"]}
    required = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    assert needed == set(required) and "License-File: LICENSE" in metadata


def test_the_sdist_holds_what_a_reader_and_a_tester_need(built):
    with tarfile.open(only(built, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "constraints.txt")
    assert names >= {*needed, "pyproject.toml", "PKG-INFO", "tests/conftest.py", "tests/test_wheel.py"}
    assert names >= {"docs/mathematics.md", "docs/figures/manifold_gap.png", "benchmarks/results/stationary.json"}
    assert not [name for name in names if re.search(r"(^|/)(\.venv|\.git|out|runs|__pycache__)(/|$)|\.nb[ci]$", name)]


@pytest.mark.thorough
def test_it_runs_outside_the_repository(installed, tmp_path):
    python = installed / "python"
    where = run(
        python, "-c", "import theory, network, verify; print(theory.__file__, network.__file__)", folder=tmp_path
    )
    assert str(ROOT) not in where.replace(str(FOREIGN), "")
    assert "--periods" in run(installed / "manifold-gap", "--help", folder=tmp_path)
    listed = run(python, "-m", "verify", "--list", folder=tmp_path)
    assert len(listed.splitlines()) == len([f for f in (ROOT / "verify/claims").glob("*.py") if f.name[0] != "_"])
    assert "ERROR" not in listed
    small = ("--system", "two_state", "--periods", "64,128,256")
    # Compiling its kernels anew would take longer than interpreting them; compiled they run in the test below.
    quick = {"OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    told = run(installed / "manifold-gap", *small, folder=tmp_path, **quick)
    assert "verdict: HOLDS" in told and (tmp_path / "out" / "manifold_gap.png").is_file()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_installs_with_its_dependencies_and_runs(built, tmp_path):
    """As a stranger would: an empty environment, pip and the network."""
    venv.create(tmp_path / "new", with_pip=True)
    python = tmp_path / "new" / "bin" / "python"
    pins = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--constraint", pins, only(built, "*.whl"), folder=tmp_path, **pip_settings())
    assert "verdict: HOLDS" in run(python.parent / "manifold-gap", "--system", "two_state", folder=tmp_path)
    assert "zero_gate_is_dense" in run(python, "-m", "verify", "--list", folder=tmp_path)


def pip_settings() -> dict[str, str]:
    """This machine's package index, which the clean environment of `run` leaves out."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
