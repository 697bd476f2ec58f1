"""The README's code runs as printed, its generated parts are up to date, its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def printed(name: str) -> str:
    return re.search(rf"<!-- {name} -->\n```python\n(.*?)```", README, re.DOTALL).group(1)


@pytest.fixture(scope="module")
def generate():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_generated_parts_are_up_to_date(generate):
    assert set(re.findall(r"<!-- generated: (\w+) -->", README)) == set(generate.PARTS)
    assert generate.generated(README) == README, "run python docs/generate.py"


def test_a_part_that_is_out_of_date_is_seen(generate):
    stale = re.sub(r"(`gth_solve` \| )\d+", r"\g<1>1", README)
    assert stale != README and generate.generated(stale) == README
    with pytest.raises(ValueError, match="holds the part 'speed' 0 times"):
        generate.generated(README.replace("<!-- end: speed -->", ""))


def test_the_speed_table_is_the_committed_json(generate):
    rows = [line.strip("| ").split(" | ") for line in generate.speed().splitlines()[2:]]
    cases = generate.result("stationary")["cases"]
    ratios = [r["times_ours"] for c in cases for r in c["ratios"] if r["peer"] == "quantecon"]
    assert [float(word) for word in rows[0][2].split(" · ")] == pytest.approx(ratios, rel=0.05)
    assert len(rows) == 10 and all(re.fullmatch(r"[\d.]+(( · | to )[\d.]+)*", row[2]) for row in rows)


@pytest.mark.parametrize(
    "name, most",
    [
        ("my_system.py", 12),
        ("my_network.py", 12),
        ("my_generation.py", 15),
        ("my_loop.py", 15),
        ("my_transformer.py", 15),
    ],
)
def test_ten_lines_are_about_ten(name, most):
    assert len([line for line in printed(name).splitlines() if line.strip()]) <= most


def test_the_system_of_the_readme_is_the_two_state_chain():
    import theory

    namespace = {}
    exec(compile(printed("my_system.py"), "my_system.py", "exec"), namespace)
    system, known = namespace["my_system"](), theory.get_system("two_state")
    y = system.uniform(5, seed=0)
    assert system.A(y).shape == known.A(y).shape
    theory.check_generator(system.A(y))


def test_the_library_example_runs():
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import torch, theory" in code]
    with torch.random.fork_rng():
        exec(compile(code, "README.md", "exec"), {})


def test_every_local_link_and_figure_exists():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_claim_linked_has_its_place():
    places = re.findall(r"^## (.*)$", (ROOT / "docs" / "claims.md").read_text(), re.MULTILINE)
    linked = re.findall(r"docs/claims\.md#(\w+)", README)
    assert linked and set(linked) == set(places)


def test_the_readme_opens_with_what_it_is_and_the_two_commands():
    head = README.split("##")[0].splitlines()[:14]
    assert any(line.startswith("make gap") for line in head)
    assert any(line.startswith("make test") for line in head)


def test_versions_and_names_agree():
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_figures_of_the_first_table_are_those_of_make_gap():
    from verify.manifold_gap import measure

    result = measure("driven_cycle")
    low, high = result.slope_interval
    assert f"slope {result.slope:.4f} in [{low:.4f}, {high:.4f}] over P = " in README
    low, high = result.ratio_interval
    assert f"measured/predicted {result.constant_ratio:.4f}, range [{low:.4f}, {high:.4f}]" in README
    assert f"| {result.floor_tv:.0e}".replace("e-0", "e-") in README
