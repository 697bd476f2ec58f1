"""Every public name has an example in its docstring, and every example gives what it says."""

import doctest
import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("documentation_site", ROOT / "docs" / "site.py")
site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site)

PAGES = site.public_names()
NAMES = sorted({name: value for names in PAGES.values() for name, value in names.items()}.items())


def test_every_public_name_has_an_example():
    assert site.undocumented() == []


def names_of(name):
    """What the pages say an example may use: the public names of its package, and torch."""
    package = importlib.import_module(name.rpartition(".")[0])
    return {"torch": torch} | {public: getattr(package, public) for public in getattr(package, "__all__", ())}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_examples_give_what_they_say(page):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said = []
    for name, value in PAGES[page].items():
        text = inspect.getdoc(value) if inspect.isroutine(value) or inspect.isclass(value) else None
        if text and ">>> " in text:
            test = doctest.DocTestParser().get_doctest(text, names_of(name), name, None, 0)
            runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
