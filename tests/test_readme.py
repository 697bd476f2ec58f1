"""The README's code runs as printed."""

import re
from pathlib import Path

from verify.manifold_gap import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_system_of_the_readme_runs_and_holds(tmp_path, capsys):
    code = re.search(r"<!-- my_system.py -->\n```python\n(.*?)```", README, re.DOTALL).group(1)
    file = tmp_path / "my_system.py"
    file.write_text(code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    command = ["--system", f"{file}:my_system", "--periods", "64,128,256,512", "--out", str(tmp_path)]
    assert main(command) == 0, capsys.readouterr().out
    assert "my_system: " in capsys.readouterr().out


def test_the_library_example_runs():
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})


def test_every_local_link_and_figure_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_readme_opens_with_the_two_commands():
    head = README.splitlines()[:6]
    assert any(line.startswith("make gap") for line in head)
    assert any(line.startswith("make test") for line in head)
