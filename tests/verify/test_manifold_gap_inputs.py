"""The JSON of a measurement says what it was given: box, sizes, samples, and the user's own files by their hash."""

import hashlib
import importlib.util

import theory
from verify.manifold_gap.inputs import inputs, source_file

SYSTEM = """
import torch
from theory import FastSlowSystem, from_rates

def A(y):
    up = torch.exp(y[..., 0])
    zero = torch.zeros_like(up)
    return from_rates(torch.stack([torch.stack([zero, up], -1), torch.stack([up, zero], -1)], -2))

def mine():
    return FastSlowSystem(generator=A, slow=lambda x, y: -y, n_states=2, n_slow=1, low=-1.0, high=2.0, name="mine")

class Phi:
    def __call__(self, y):
        return y
"""


def test_box_sizes_and_the_files_of_the_user(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SYSTEM)
    specification = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    own = {"path": str(path.resolve()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    found = inputs(module.mine(), 5000, module.Phi())
    assert found == {
        "n_states": 2,
        "n_slow": 1,
        "low": [-1.0],
        "high": [2.0],
        "samples": 5000,
        "system_file": own,
        "phi_theta_file": own,
    }


def test_built_in_systems_have_no_file_of_the_user():
    system = theory.get_system("driven_cycle")
    found = inputs(system, None, None)
    assert found["system_file"] is None and found["phi_theta_file"] is None and found["samples"] is None
    assert found["low"] == system.low.tolist() and len(found["high"]) == system.n_slow
    assert source_file(len) is None
