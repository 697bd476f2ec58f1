"""The oldest set is what pyproject says, and every bound is one."""

import tomllib
from pathlib import Path

from oldest import oldest

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_every_lower_bound_is_in_the_oldest_set():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    found = oldest(PYPROJECT)
    assert all(line.count("==") == 1 for line in found) and len(set(found)) == len(found)
    for line in project["dependencies"]:
        assert ">=" in line and line.replace(">=", "==") in found
