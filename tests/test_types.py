"""What editors see: every public parameter has a type, and a string in place of an integer is refused by pyright."""

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
import typing

import pytest

PUBLIC = {
    "theory": (),  # (): what `__all__` names
    "network": (),
    "network.training_config": ("TrainConfig",),
    "verify.manifold_gap": (),
    "verify.generator_defect": (),
    "verify.ablation": (),
    "verify.reduction": (),
    "verify.compare": (),
    "verify.claim": (),
    "verify.cells": (),
    "verify.observe": ("Observation", "get_observer", "is_continuous", "is_sampled", "list_observers"),
    "verify.fits": ("Fit", "get_fit", "list_fits", "takes_samples"),
}
GIVEN_BACK = {"theory.SimulationError.result", "verify.cells.CellResult.result"}  # results of any kind, not arguments
LOOSE = ("Any", typing.Any, inspect.Parameter.empty)


def functions(value):
    """Name -> function of what a user calls: the value itself, or the constructor and the public methods of a class."""
    if not inspect.isclass(value):
        return {"": inspect.unwrap(value)} if inspect.isroutine(value) else {}
    members = {name: inspect.unwrap(getattr(one, "__func__", one)) for name, one in vars(value).items()}
    shown = {name: one for name, one in members.items() if not name.startswith("_") or name == "__init__"}
    return {f".{name}".removesuffix(".__init__"): one for name, one in shown.items() if inspect.isfunction(one)}


@pytest.mark.parametrize("package", PUBLIC)
def test_no_public_parameter_is_left_without_a_type(package):
    module = importlib.import_module(package)
    loose = set()
    for name in PUBLIC[package] or module.__all__:
        value = getattr(module, name)
        for place, function in functions(value).items():
            parameters = list(inspect.signature(function).parameters.values())
            loose |= {
                f"{package}.{name}{place}.{one.name}"
                for one in parameters
                if one.annotation in LOOSE and one.name not in ("self", "cls")
            }
        if dataclasses.is_dataclass(value):
            loose |= {f"{package}.{name}.{one.name}" for one in dataclasses.fields(value) if one.type in LOOSE}
    assert loose - GIVEN_BACK == set()


@pytest.mark.slow
def test_pyright_refuses_a_string_for_an_integer(tmp_path):
    file = tmp_path / "misuse.py"
    wrong = (
        'theory.simulate(theory.get_system("two_state"), [1.0, 0.0], [0.0], [0.0, 1.0], 0.1, max_steps="many")',
        'network.FastSlowConfig(period="8")',
        'verify.manifold_gap.measure("two_state", seed="0")',
        'theory.relaxation_times([[-1.0, 1.0], [1.0, -1.0]], k="1")',
    )
    file.write_text("\n".join(["import network", "import theory", "import verify.manifold_gap", *wrong, ""]))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    errors = [one for one in json.loads(found)["generalDiagnostics"] if one["severity"] == "error"]
    assert [one["range"]["start"]["line"] for one in errors] == [3, 4, 5, 6], errors
