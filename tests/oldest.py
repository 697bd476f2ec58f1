"""The oldest packages that pyproject allows, as exact requirements: `python tests/oldest.py > oldest.txt`.

What the suite was run on once, and what the bounds mean: every lower bound of the package, of its notebooks and of the
tools that run tests, each at exactly that version. The tools that run no test are left out.
"""

import tomllib
from pathlib import Path

RUN_NO_TEST = {"build", "hatchling", "pre-commit", "pyright", "ruff", "jupyterlab"}


def oldest(pyproject: Path) -> list[str]:
    """`name==version` for every `name>=version`."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"]
    bounds = [line.split(">=") for line in [*project["dependencies"], *extras["dev"], *extras["notebooks"]]]
    return [f"{name}=={version}" for name, version in bounds if name.partition("[")[0] not in RUN_NO_TEST]


if __name__ == "__main__":
    print("\n".join(oldest(Path(__file__).parent.parent / "pyproject.toml")))
