"""The documentation: every name and test that it cites exists, links resolve, and the files it prints work."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

import theory

ROOT = Path(__file__).parent.parent
MATHEMATICS = ROOT / "docs" / "mathematics.md"
EXTENDING = ROOT / "docs" / "extending.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))


def cited(label: str) -> list[str]:
    """The names in backticks on the lines that begin with *label:*, continuation lines included."""
    blocks = re.findall(rf"^\*{label}:\* (.*?)(?=\n\n|\n\*|\Z)", MATHEMATICS.read_text(), re.DOTALL | re.MULTILINE)
    return sorted({name for block in blocks for name in re.findall(r"`([^`]+)`", block)})


def resolve(name: str) -> object:
    """The public name before the submodule that is called the same."""
    first, *rest = name.split(".")
    found: object = importlib.import_module(first)
    for k, word in enumerate(rest, 1):
        if not hasattr(found, word):
            importlib.import_module(".".join([first, *rest[:k]]))
        found = getattr(found, word)
    return found


@pytest.mark.parametrize("name", cited("Code"))
def test_every_function_cited_exists(name):
    assert name.split(".")[0] in ("theory", "network", "verify")
    assert callable(resolve(name))


def test_every_test_cited_exists():
    nodes = cited("Checked by")
    assert len(nodes) > 50
    missing = []
    for node in nodes:
        file, _, function = node.partition("::")
        path = ROOT / file
        names = (
            {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
            if path.is_file()
            else {}
        )
        if function not in names or not function.startswith("test_"):
            missing.append(node)
    assert missing == []


def test_every_formula_has_its_code_and_its_test():
    text = MATHEMATICS.read_text()
    parts = re.split(r"^```math\n.*?^```\n", text, flags=re.DOTALL | re.MULTILINE)
    assert len(parts) > 25
    for formula, after in enumerate(parts[1:], 1):
        until = re.split(r"^## ", after, flags=re.MULTILINE)[0]
        assert "*Code:*" in until and "*Checked by:*" in until, f"formula {formula}, before {after[:80]!r}"


def test_formulas_survive_markdown():
    """Where Markdown would read emphasis or an escape inside $…$, GitHub shows something else than was written."""
    text = re.sub(r"^```.*?^```\n", "", MATHEMATICS.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "", text)
    assert text.count("$") % 2 == 0
    inline = re.findall(r"\$([^$]+)\$", text)
    assert len(inline) > 100
    pattern = r"[^\w\s]_|\*|\\[^A-Za-z]|\\operatorname|<|\n"
    assert [formula for formula in inline if re.search(pattern, formula)] == []
    assert "\\operatorname" not in MATHEMATICS.read_text()
    depths = [
        (f.count("{") - f.count("}"), f) for f in re.findall(r"```math\n(.*?)```", MATHEMATICS.read_text(), re.DOTALL)
    ]
    assert [f for depth, f in depths if depth] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_resolve(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", page.read_text())) <= headings


# the files that docs/extending.md prints


def printed(path: str) -> str:
    found = re.search(rf"<!-- {re.escape(path)} -->\n```python\n(.*?)```", EXTENDING.read_text(), re.DOTALL)
    assert found, f"{EXTENDING.name} prints no {path}"
    return found.group(1)


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Put the printed file `path` where the package's own discovery looks, without touching the source tree."""
    added: list[str] = []

    def put(path: str) -> str:
        package = importlib.import_module(".".join(Path(path).parts[:-1]))
        file = tmp_path / Path(path).name
        file.write_text(printed(path))
        added.append(f"{package.__name__}.{file.stem}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        monkeypatch.syspath_prepend(str(tmp_path))  # clears the import system's caches, now and afterwards
        return file.stem

    yield put
    for name in added:
        package, _, leaf = name.rpartition(".")
        sys.modules.pop(name, None)
        vars(importlib.import_module(package)).pop(leaf, None)


def test_every_printed_file_is_run():
    assert re.findall(r"<!-- (\S+) -->", EXTENDING.read_text()) == [
        "theory/systems/michaelis_menten.py",
        "verify/fits/polynomial.py",
        "verify/observe/before_step.py",
        "theory/flow/methods/bdf.py",
        "my_claims/tied_attention_is_reversible.py",
        "my_study.py",
    ]


def test_the_printed_system(add):
    from verify.manifold_gap import measure

    name = add("theory/systems/michaelis_menten.py")
    assert name in theory.list_systems()
    system = theory.get_system(name)
    assert system.stationary and system.spectral_gap
    y = system.uniform(20, seed=0)
    A = system.A(y)
    torch.testing.assert_close(theory.stationary_distribution(A), system.stationary(y), rtol=1e-14, atol=0)
    torch.testing.assert_close(theory.spectral_gap(A), system.spectral_gap(y), rtol=1e-12, atol=0)
    assert theory.has_detailed_balance(A).all()
    result = measure(name, [64, 256, 1024, 4096])
    assert result.verdict == "HOLDS", result.reason


def test_the_printed_fit(add):
    from verify.fits import get_fit, list_fits
    from verify.manifold_gap import measure

    name = add("verify/fits/polynomial.py")
    assert name in list_fits()
    result = measure("two_state", [64, 256, 1024], fit=name)
    assert result.verdict == "HOLDS" and result.floor_tv < 1e-9, result.reason
    with pytest.raises(ValueError, match="17 polynomials need as many pairs, got 5"):
        get_fit(name)(torch.rand(5, 1, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64), seed=0)


@pytest.mark.thorough
@pytest.mark.parametrize("kernel", ["exp", "euler"])
def test_the_printed_observation(kernel, add):
    from verify.manifold_gap import measure
    from verify.observe import list_observers

    name = add("verify/observe/before_step.py")
    assert name in list_observers()
    result = measure("two_state", [64, 256, 1024, 4096], observe=name, kernel=kernel)
    assert result.verdict == "HOLDS" and result.constant_ratio == pytest.approx(1.0, abs=1e-3), result.reason
    usual = measure("two_state", [64, 256, 1024], observe="clock", kernel=kernel)
    assert result.rows[2].gap_tv > 1.02 * usual.rows[2].gap_tv  # without the factor K the gap is larger


def test_the_printed_method(add):
    name = add("theory/flow/methods/bdf.py")
    from theory.flow import list_methods

    assert name in list_methods()
    system = theory.get_system("driven_cycle")
    x0, y0 = torch.full((3, 5), 0.2, dtype=torch.float64), 0.5 * system.uniform(3, seed=0)
    t, eps = [0.0, 0.5, 1.0], torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    ours = theory.simulate(system, x0, y0, t, eps, rtol=1e-8, atol=1e-10, method=name)
    reference = theory.simulate(system, x0, y0, t, eps, rtol=1e-11, atol=1e-13)
    assert ours.status is theory.Status.SUCCESS and ours.stats.method == name
    assert (ours.x - reference.x).abs().max() < 1e-6 and (ours.y - reference.y).abs().max() < 1e-6
    short = theory.simulate(system, x0, y0, t, eps, method=name, max_steps=3, throw=False)
    assert short.status is theory.Status.MAX_STEPS and torch.isnan(short.x[:, -1]).all()
    late = theory.simulate(system, x0, y0, t, eps, method=name, time_limit=1e-9, throw=False)
    assert late.status is theory.Status.TIME_LIMIT


def test_the_printed_claim(tmp_path):
    from verify.claim import Profile
    from verify.claim.discovery import FoundClaim, discover

    (tmp_path / "tied_attention_is_reversible.py").write_text(printed("my_claims/tied_attention_is_reversible.py"))
    (found,) = [entry for entry in discover([tmp_path]) if entry.id == "tied_attention_is_reversible"]
    assert isinstance(found, FoundClaim) and found.claim.tag == "exact"
    profile = Profile()
    assert found.claim.run("check", profile).verdict == "HOLDS"
    assert found.claim.run("mutant", profile).refuted


def test_the_glossary_of_the_report_is_that_of_the_findings():
    from verify.report.glossary import GLOSSARY

    page = (ROOT / "docs" / "findings.md").read_text()
    assert "\n".join(f"| {word} | {meaning} |" for word, meaning in GLOSSARY) in page
