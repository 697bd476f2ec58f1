"""Importing and calling the library changes no global state, and imports nothing heavy before it is needed."""

import subprocess
import sys

import pytest

STATE = """
import random, warnings
import numpy as np, torch
import scipy.special, scipy.sparse, scipy.stats, sympy, numba  # these add filters of their own on import
def state():
    import matplotlib
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(),
            torch.get_rng_state().sum().item(),
            np.random.get_state()[1].sum(), random.getstate(), list(warnings.filters), dict(matplotlib.rcParams),
            matplotlib.get_backend(auto_select=False), torch.is_grad_enabled(), np.geterr())
before = state()
"""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.thorough
def test_importing_and_calling_changes_no_global_state():
    run(
        STATE
        + """
import theory, network
from verify.manifold_gap import measure
from verify.manifold_gap.figure import manifold_gap_figure
result = measure("two_state", [64, 128, 256])
manifold_gap_figure([result])
system = theory.get_system("driven_cycle")
y = system.uniform(4, seed=0)
theory.group_inverse(system.A(y)); theory.slow_manifold(system, 1)(y, 0.1)
after = state()
for a, b in zip(before, after):
    assert a == b, (a, b)
"""
    )


def test_import_theory_leaves_heavy_packages_for_first_use():
    heavy = ("numba", "matplotlib", "scipy", "network", "torchdiffeq", "sympy")
    out = run(
        f"import torch, sys\nbefore = set(sys.modules)\nimport theory\n"
        f"print(*(set({heavy!r}) & (set(sys.modules) - before)))"
    )
    assert out.split() == []


def test_the_headline_parses_its_arguments_without_torch():
    out = run(
        "import sys\nfrom verify.manifold_gap.command import parser\nparser()\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert out.split() == ["False", "False"]
