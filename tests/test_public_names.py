"""What the packages show: `dir` and `help` give the public names and nothing else, and what documents cite resolves."""

import pydoc
import sys

import pytest

import network
import theory


@pytest.mark.parametrize("package", [theory, network])
def test_dir_shows_the_public_names_and_nothing_else(package):
    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    shown = pydoc.plain(pydoc.render_doc(package))
    assert all(name in shown for name in package.__all__)


def test_names_that_the_documents_cite_resolve():
    assert "collocation" in theory.list_methods()
    assert theory.symbolic is sys.modules["theory.symbolic"]
    with pytest.raises(AttributeError, match=r"`dir\(theory\)` lists its names"):
        theory.no_such_name  # noqa: B018
