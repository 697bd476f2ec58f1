"""Provenance names versions and commit, knows what it does not know, and holds nothing private."""

import getpass
import json
import os
import socket
import subprocess

import pytest

from verify.command_line import strict_json
from verify.statistics import provenance as module
from verify.statistics.provenance import provenance


def test_it_is_plain_json_with_versions_and_settings():
    record = provenance(seed=3, device="cpu", periods=[2, 4])
    assert json.loads(json.dumps(record)) == record
    assert record["seed"] == 3 and record["periods"] == [2, 4]
    assert {"python", "torch", "numpy", "scipy", "numba", "fastslow"} <= set(record["versions"])


def test_it_holds_no_path_host_or_user():
    text = json.dumps(provenance(seed=0, device="cpu"))
    for private in (os.getcwd(), os.path.expanduser("~"), socket.gethostname(), f'"{getpass.getuser()}"'):
        assert private not in text


def test_without_git_the_commit_is_unknown(monkeypatch):
    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert provenance(seed=0, device="cpu")["commit"] == "unknown"


@pytest.mark.parametrize("told, processor", [("Kind of CPU", "Kind of CPU"), ("", "unknown")])
def test_without_cpuinfo_the_processor_is_what_the_platform_says(monkeypatch, told, processor):
    def not_linux(*_, **__):
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(module.Path, "read_text", not_linux)
    monkeypatch.setattr(module.platform, "processor", lambda: told)
    assert module._processor() == processor


def test_a_package_without_metadata_has_no_version():
    assert module._version("no-such-package") == "unknown"


def test_inside_another_repository_the_commit_is_unknown(monkeypatch):
    monkeypatch.setattr(module, "_git", lambda words, run: "/somewhere/else")
    assert provenance(seed=0, device="cpu")["commit"] == "unknown"


def test_strict_json_has_no_nan_or_infinity():
    text = strict_json({"a": [float("nan"), 1.5], "b": (float("inf"),)})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": [None]}
