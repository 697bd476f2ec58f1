"""Every command in the documentation runs: at a reduced size here, as printed behind `-m slow`. Issue 7.

A fenced block without a language is a session: its lines are run from top to bottom in an empty folder that holds the
files which the page prints (`<!-- FILE -->` above a block of Python). A command in the running text is a session of its
own. `RULES` says, for the way a command begins, what is added to it to make it small; a command without a rule, or a
rule without a command, is a failure.
"""

import importlib
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inline_cells
import pytest

from verify.manifold_gap import command

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("theory", "network", "verify")
SYSTEMS = ("theory", "systems")


@dataclass(frozen=True)
class Rule:
    """How a command is made small, and what it may end in.

    more: words after the command as printed (of an option given twice the last counts). exits: its exit codes.
    full: words after it in the full run, None where a test cannot do that. full_exits: its exit codes then.
    long: there is no small size, or its peers are an extra that `make test` does not install; with -m slow only.
    """

    more: str = ""
    exits: tuple[int, ...] = (0,)
    full: str | None = ""
    full_exits: tuple[int, ...] = (0,)
    long: bool = False


SMALL = (
    "--corpus corpus.txt --block-size 16 --n-layer 2 --n-embd 8 --n-head 2 --batch-size 2 --tokens 256 --eval-tokens 64"
)
AGAIN = "--corpus corpus.txt --batch-size 2 --tokens 256 --eval-tokens 64"
LARGE = f"{SMALL} --bpe 280 --no-compile --device cpu"
CHEAP = "--claim slow_attention_cost"  # what runs is the machinery around it; the claims have their own tests
DEFECT = (
    "--width 8 --layers 1 --block-size 16 --sequences 1 --length 16 --iterations 3 --seeds 1 --periods 2 --tokens 4096"
)
PARETO = (
    "--tokens 2048 --block-size 64 --n-embd 8 --eval-tokens 256 --learning-rate 0.01 --seeds 2 --rounds 6 --periods 4 "
    "--jobs 1 --cells cells --out pareto.json --corpus corpus.txt"
)
RACE: dict[str, Any] = {"exits": (0, 1), "full_exits": (0, 1)}  # 1: a target is missed, which the machine decides too
HERE = shlex.quote(str(ROOT))
THIS = shlex.quote(str(Path(__file__).resolve()))
SLOPES = shlex.quote(str(ROOT / "tests" / "test_slopes.py"))

RULES = {
    "python -m verify.manifold_gap": Rule("--periods 64,128,256"),
    "python -m verify.manifold_gap --network": Rule("--help"),  # tests/verify/test_trained_identity.py measures one
    "python -m verify.manifold_gap --system all": Rule("--periods 64", exits=(3,), full_exits=(3,)),  # two never relax
    "python -m verify.manifold_gap --system sodium_channel --fit adamw": Rule(
        "--periods 64", exits=(3,), full_exits=(0, 3)
    ),
    "python -m verify.reduction": Rule(exits=(0, 3), full_exits=(0, 3)),  # 3: no leading term that decides
    "python -m verify": Rule(f"{CHEAP} --jobs 1"),
    "python -m verify --list": Rule(),
    "python -m verify --rigorous": Rule(f"{CHEAP} --list", full=""),
    "python -m verify --profile": Rule(f"{CHEAP} --list", full=""),
    "python -m verify --claim": Rule("--list"),  # that there is such a claim
    "python -m verify --folder": Rule("--jobs 1"),
    "python -m verify --scheduler": Rule(CHEAP),
    "python -m verify.report --docs": Rule(),
    "python -m verify.ablation": Rule(f"{SMALL} --seeds 1 --evaluations 1 --rounds 1 --jobs 1"),
    "python -m verify.ablation --arms dense,coupled,blind,local --seeds 2 --tokens 10000000": Rule(
        f"{SMALL} --seeds 1 --evaluations 1 --rounds 0 --jobs 1", full="--tokens 40000 --seeds 1"
    ),
    "python -m verify.corpus": Rule("--block-size 64"),
    "python -m verify.ablation --corpus regimes": Rule(
        f"{SMALL} --corpus regimes:length=9004 --seeds 1 --evaluations 1 --rounds 0 --jobs 1",
        full="--seeds 1 --tokens 40000 --rounds 0",
    ),
    "python -m verify.ablation --scheduler": Rule(f"{SMALL} --seeds 1 --evaluations 1 --rounds 0 --arms dense"),
    "python -m verify.generator_defect": Rule("--length 12 --sequences 1 --iterations 3"),
    "python -m network.train": Rule(SMALL),
    "python -m network.train --resume": Rule(),
    "python -m network.train --resume runs/first --tokens 1M": Rule("--tokens 512", full="--tokens 1100000"),
    "python -m network.train --corpus my_texts": Rule(SMALL, full=SMALL),
    "python -m network.train --init-from": Rule(AGAIN, full=AGAIN),
    "python -m network.train --preset small": Rule(SMALL, full=SMALL),
    "python -m network.train --preset 124M": Rule(LARGE, full=LARGE),
    "python -m network.export": Rule(),
    "python -m verify.compare": Rule("--eval-tokens 64"),
    "python my_generation.py": Rule(),
    "python my_loop.py": Rule(),
    "python my_transformer.py": Rule(),
    "python my_reading.py": Rule(),
    "torchrun --nproc-per-node 8": Rule("--help", full=LARGE),
    "python benchmarks/on_gpu.py": Rule("--help", full="--help"),
    "python -m network.leak_check": Rule("--length 12"),
    "python -m network.generate": Rule("--tokens 4"),
    "torchrun": Rule(SMALL),
    "dask scheduler": Rule("--no-dashboard"),
    "dask worker": Rule("--nworkers 1 --no-dashboard"),
    "python my_network.py": Rule(),
    "python my_study.py": Rule(),
    "python docs/generate.py": Rule(),
    "python benchmarks/coverage_slope.py": Rule("--help", full="--help"),
    "python benchmarks/chains.py": Rule("--rounds 1 --side 12 --gradient-side 12 --out chains.json"),
    "python benchmarks/flow.py": Rule("--help", long=True, **RACE),
    "python benchmarks/generator_defect.py": Rule(f"{DEFECT} --jobs 1", full=DEFECT),
    "python benchmarks/interval_coverage.py": Rule("--paths 10 --samples 200 --results coverage.json"),
    "python benchmarks/jumps.py": Rule("--rounds 2 --jumps 20000 --seeds 10", long=True, **RACE),
    "python benchmarks/network_identity.py": Rule("--help", full="--help"),
    "python benchmarks/learning_rate.py": Rule(
        "--help", full="--rates 6e-3 --seeds 1", full_exits=(1,)
    ),  # a single rate is at the edge of its grid
    "python benchmarks/reduction.py": Rule("--help", full="--only systems --out reduction.json"),
    "python benchmarks/pretrained.py": Rule("--help", full="--help"),  # the models are downloads
    "python benchmarks/mutation.py": Rule("--help", full=None),  # it takes the tests along, for hours
    "python benchmarks/pareto.py": Rule(PARETO, full=PARETO),
    "python benchmarks/coupling.py": Rule("--help", full="--only-finished --out coupling.json"),
    "python benchmarks/window.py": Rule("--rounds 6 --lengths 48 96 --out window.json"),
    "python benchmarks/training.py": Rule("--help", full="--seconds 200 --out training.json"),
    "python benchmarks/sparse.py": Rule("--rounds 1 --side 20 --skip-large", long=True, **RACE),
    "python benchmarks/stationary.py": Rule("--rounds 2", long=True, **RACE),
    "python benchmarks/strips.py": Rule("--strips 1 --others 1 --out strips.json", long=True),
    "python benchmarks/step_time.py": Rule("--rounds 2 --inner 1 --layers 2", long=True, **RACE),
    "python -m pytest": Rule(f"-n 0 -q -p no:cacheprovider {SLOPES}", full=None),
    'python -m pytest -n 2 -m "not slow" --cov': Rule(f"--no-cov -n 0 -q -p no:cacheprovider {SLOPES}", full=None),
    "python -m pytest -n 2 -m thorough": Rule(f"-n 0 -q -p no:cacheprovider {SLOPES}", exits=(5,), full=None),
    "python -m pytest -m slow": Rule(f"--collect-only -q {SLOPES}", exits=(5,), full=None),  # this very run
    "python -m ruff": Rule(THIS, full=None),
    "python -m pyright": Rule("--version", full=None),
    "python -m verify.ablation --arms": Rule(f"{SMALL} --seeds 1 --evaluations 1 --rounds 0 --jobs 1"),
    "python -m build": Rule(f"--no-isolation --outdir dist {HERE}", full=f"--outdir dist {HERE}"),
    "pre-commit install": Rule(),
    "make": Rule(),  # its recipes are commands too; for itself see below
}


def canonical(command: str) -> str:
    """Without the folder of the environment and without a comment."""
    command = re.sub(r"\s+#\s.*", "", command).strip().replace(".venv/bin/", "")
    return f"python {command}" if re.match(r"(benchmarks|docs)/\w+\.py\b", command) else command


def is_usage(command: str) -> bool:
    """Whether it shows a form rather than a command: a word such as FILE.py:FACTORY or DIR, or an ellipsis."""
    return bool(re.search(r"(?<![\w-])[A-Z]{3,}\b(?!=)|…", command))


def begins_with(command: str, key: str) -> bool:
    return command == key or command.startswith(key + " ")


def divided(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The running text of a page, and its fenced blocks as (language, content)."""
    pieces = re.split(r"^```(.*)\n", text, flags=re.MULTILINE)
    return "".join(pieces[::4]), list(zip(pieces[1::4], pieces[2::4], strict=True))


def fenced(text: str) -> list[list[str]]:
    blocks = [content for language, content in divided(text)[1] if language in ("", "bash", "console", "sh")]
    return [[canonical(line) for line in block.splitlines() if line.strip()] for block in blocks]


def inline(text: str) -> list[str]:
    begins = r"python |\.venv/bin/|make |torchrun |dask |pip |pre-commit |(?:benchmarks|docs)/\w+\.py"
    return [canonical(found) for found in re.findall(rf"`((?:{begins})[^`]*)`", divided(text)[0])]


BLOCKS = [(page, block) for page in PAGES for block in fenced(page.read_text())]
IN_BLOCKS = {command for _, block in BLOCKS for command in block}
RECIPES = re.findall(r"\$\(PY\) -m (?!pip )[^;\n\\]*", (ROOT / "Makefile").read_text())
LOOSE = sorted(
    {c for page in PAGES for c in inline(page.read_text())}.union(
        canonical(c.replace("$(PY)", "python")) for c in RECIPES
    )
    - IN_BLOCKS
)
SESSIONS = [pytest.param(page, block, id=f"{page.name}: {block[0]}") for page, block in BLOCKS] + [
    pytest.param(None, [command], id=command)
    for command in LOOSE
    if not (is_usage(command) or begins_with(command, "make"))
]
ALL = sorted(IN_BLOCKS | set(LOOSE))


def rule_of(command: str) -> Rule | None:
    """The rule with the longest beginning."""
    return RULES.get(max((key for key in RULES if begins_with(command, key)), key=len, default=""))


@pytest.mark.parametrize("command", ALL)
def test_every_command_has_a_rule(command):
    assert rule_of(command), f"{command!r} is in the documentation and in no rule"


@pytest.mark.parametrize("key", RULES)
def test_every_rule_has_a_command(key):
    assert any(begins_with(c, key) and rule_of(c) is RULES[key] for c in ALL), f"no page holds a command {key!r} …"


def test_the_collection_sees_what_is_there():
    text = (
        "```\n.venv/bin/python -m a --b 'c d'    # why\nmake e\n```\nand `python -m f FILE`, `benchmarks/g.py`, `make`"
    )
    assert fenced(text) == [["python -m a --b 'c d'", "make e"]]
    assert inline(text) == ["python -m f FILE", "python benchmarks/g.py"]
    assert is_usage("python -m f FILE.py:FACTORY") and not is_usage("python -m f --prompt 'To be' runs/x")


@pytest.mark.parametrize("command", [command for command in ALL if is_usage(command)])
def test_the_options_of_a_form_exist(command):
    words = command.split()
    options = [word for word in words if word.startswith("--")]
    called = words[1:3] if words[1] == "-m" else words[1:2]
    told = subprocess.run([sys.executable, *called, "--help"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    assert [option for option in options if option not in told.stdout] == []


# running them


def printed_files(page: Path | None) -> dict[str, str]:
    """The files that a page prints, by path."""
    text = page.read_text() if page else ""
    return dict(re.findall(r"<!-- (\S+\.py) -->\n```python\n(.*?)```", text, re.DOTALL))


def checkout(folder: Path, parts: tuple[str, ...]) -> None:
    """A copy of parts of the tree: times are kept, so that compiled kernels stay valid."""
    for part in parts:
        trained = shutil.ignore_patterns("cells") if part == "benchmarks" else None  # a study keeps many there
        shutil.copytree(ROOT / part, folder / part, ignore=trained)
    shutil.copy(ROOT / "README.md", folder)


def words_of(command: str, port: int) -> list[str]:
    """The command with this interpreter in the place of .venv's, and a port that is free."""
    words = shlex.split(command.replace("8786", str(port)))
    module = {
        "python": [],
        "torchrun": ["-m", "torch.distributed.run"],
        "dask": ["-m", "dask"],
        "pre-commit": ["-m", "pre_commit"],
    }
    return [sys.executable, *module[words[0]], *words[1:]] if words[0] in module else words


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until something listens on the port."""
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}")
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nothing listens after a minute")


def in_this_process(words: list[str]) -> int:
    """`python -m MODULE …` by its main: the packages are imported once for all commands."""
    name = {"network.generate": "network.generate_command"}.get(words[2], words[2])
    module: Any = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    try:
        return module.main(words[3:])
    except SystemExit as stop:
        return int(stop.code or 0)


def benchmark_in_this_process(words: list[str], folder: Path) -> int:
    """`python benchmarks/NAME.py …` of the copy in `folder`, for the same reason."""
    before = sys.argv, sys.path
    sys.argv, sys.path = words[1:], [str(folder / "benchmarks"), *sys.path]
    try:
        runpy.run_path(str(folder / words[1]), run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv, sys.path = before
    return 0


def run_session(page: Path | None, block: list[str], folder: Path, *, full: bool) -> None:
    files = printed_files(page)
    new_modules = any(path.split("/")[0] in PACKAGES for path in files)
    own_process = full or new_modules
    if own_process:
        checkout(folder, PACKAGES)
    if any(command.startswith(("python benchmarks/", "python docs/")) for command in block):
        checkout(folder, ("benchmarks", "docs"))
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    if "pre-commit install" in block:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        shutil.copy(ROOT / ".pre-commit-config.yaml", folder)
    (folder / "corpus.txt").write_text("".join(f"line {k}: all the world is a stage\n" for k in range(200)))
    port, background = free_port(), []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    try:
        for command in block:
            rule = rule_of(command)
            assert rule, f"{command!r} has no rule"
            command = command.replace("--nproc-per-node 8", "--nproc-per-node 2")  # what two cores have room for
            ends = command.endswith("&")
            command = command.removesuffix("&").strip()
            if begins_with(command, "make") or (full and rule.full is None):
                continue
            more = rule.full if full else rule.more
            words = words_of(f"{command} {more}", port)
            if ends:
                background.append(
                    subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL, text=True)
                )
                started(port, background[-1])
                continue
            if not own_process and words[1] == "-m" and words[2].split(".")[0] in PACKAGES:
                code, told = in_this_process(words), ""
            elif not own_process and words[1].startswith("benchmarks/"):
                code, told = benchmark_in_this_process(words, folder), ""
            else:
                done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
                code, told = done.returncode, done.stdout + done.stderr
            assert code in (rule.full_exits if full else rule.exits), f"{command!r} ended with {code}\n{told}"
    finally:
        for process in reversed(background):
            process.terminate()
            process.wait(30)


def sessions(*, long: bool) -> list:
    return [s for s in SESSIONS if any((rule := rule_of(command)) and rule.long for command in s.values[1]) == long]


@pytest.mark.thorough
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page, block", sessions(long=False))
def test_a_session_at_a_reduced_size(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("verify.manifold_gap.measurement.TRAIN_PAIRS", 300)
    monkeypatch.setattr("verify.manifold_gap.measurement.TEST_POINTS", 50)
    monkeypatch.setattr("verify.fits.adamw.STEPS", 50)
    # Of `--system all` three, among them one that relaxes at no period.
    few = ["driven_cycle", "two_state", "double_well", "sodium_channel"]
    names = command.module_names
    monkeypatch.setattr(command, "module_names", lambda *at, **how: few if at == SYSTEMS else names(*at, **how))
    monkeypatch.setattr(inline_cells.PLACE, inline_cells.in_this_process)
    run_session(page, block, tmp_path, full=False)


@pytest.mark.slow
@pytest.mark.parametrize("page, block", sessions(long=True))
def test_a_long_session_at_a_reduced_size(page, block, tmp_path):
    run_session(page, block, tmp_path, full=False)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("page, block", SESSIONS)
def test_a_session_as_printed(page, block, tmp_path):
    run_session(page, block, tmp_path, full=True)


# make: what its recipes run, and in full a new checkout whose path holds a space


TARGETS = sorted({command.split()[1] for command in ALL if begins_with(command, "make")})


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_the_target_exists(target):
    """Its recipe is run as a session of its own."""
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert dry.returncode == 0, dry.stderr
    assert "bin/python " in dry.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_sets_up_a_new_checkout_whose_path_holds_a_space(tmp_path):
    new = tmp_path / "a new checkout"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, tracked):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, new / name)
    for target in ("gap", "lint", "report"):
        done = subprocess.run(["make", target, f"PYTHON={sys.executable}"], cwd=new, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "verdict: HOLDS" in subprocess.run(["make", "gap"], cwd=new, capture_output=True, text=True).stdout
    assert (new / "out" / "verify" / "report.html").is_file()
