"""What is said when kernels are compiled, and when they are read from where they were kept."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
from numba import config

from theory import compiled

KERNEL = """
from theory.compiled import compiled

@compiled
def twice(x):
    return x + x
"""


def imported(file):
    """The module anew, as one of this package."""
    spec = importlib.util.spec_from_file_location("theory.made_up", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def said(monkeypatch, capsys):
    """What stderr got since it was last asked, with nothing said in this process before."""
    monkeypatch.setattr(compiled.NOTICE, "said", False)
    return lambda: capsys.readouterr().err


def test_compiling_is_said_once_with_the_place_and_not_when_it_was_kept(tmp_path, said, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", "")
    file = tmp_path / "made_up.py"
    file.write_text(KERNEL)
    cold = imported(file)
    assert cold.twice(2) == 4 and cold.twice(0.5) == 1.0  # compiled twice
    line = said()
    assert line.startswith("theory: compiling numerical kernels") and line.count("\n") == 1
    assert f"kept in {tmp_path / '__pycache__'}" in line
    monkeypatch.setattr(compiled.NOTICE, "said", False)
    assert imported(file).twice(2) == 4  # from there
    assert said() == ""


def test_a_folder_that_cannot_be_written_is_said_and_other_packages_are_none_of_ours(said):
    for module in ("quantecon.markov", "__main__"):
        compiled.NOTICE.on_start(SimpleNamespace(data={"dispatcher": SimpleNamespace(__module__=module)}))
    assert said() == ""
    kernel = SimpleNamespace(__module__="theory.jumps.kernels", _cache=None)
    compiled.NOTICE.on_start(SimpleNamespace(data={"dispatcher": kernel}))
    assert "not kept: no folder for the cache can be written, set NUMBA_CACHE_DIR" in said()
    assert "theory.made_up" not in sys.modules
