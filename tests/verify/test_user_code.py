"""What comes from a user's file is checked before anything is computed; the message names the file and the cause."""

import re

import numpy as np
import pytest
import torch

from theory import get_system, stationary_distribution
from verify.command_line import UsageError
from verify.manifold_gap.user_code import check_phi_theta, load_factory, load_system

SYSTEM = """
import torch
from theory import FastSlowSystem, from_rates

def system(slow=lambda x, y: 0.5 - y):
    return FastSlowSystem(
        generator=lambda y: from_rates(torch.stack([0 * y, y, 1 - y, 0 * y], -1).reshape(*y.shape[:-1], 2, 2)),
        slow=slow, n_states=2, n_slow=1, low=0.1, high=0.9)

def infinite():
    return system(lambda x, y: 1.0 / (y - y))
"""


@pytest.mark.parametrize("spec", ["", "mine.py", ":f", "mine.py:"])
def test_a_spec_without_file_or_factory(spec):
    with pytest.raises(UsageError, match=r"is not of the form FILE\.py:FACTORY"):
        load_factory(spec)


def test_a_file_that_python_does_not_import(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("def f(): return 1\n")
    with pytest.raises(UsageError, match=r"mine\.txt: not a Python file"):
        load_factory(f"{file}:f")
    with pytest.raises(UsageError, match=r"nothing\.py: no such file"):
        load_factory(f"{tmp_path / 'nothing.py'}:f")


def test_a_system_is_loaded_and_one_whose_g_is_not_finite_is_refused(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(SYSTEM)
    system = load_system(f"{file}:system")
    y = torch.tensor([[0.25]], dtype=torch.float64)
    assert torch.equal(system.A(y)[0], torch.tensor([[-0.75, 0.25], [0.75, -0.25]], dtype=torch.float64))
    with pytest.raises(UsageError, match=r"mine.py:infinite: g\(x, y\) is not finite at y = \[0\."):
        load_system(f"{file}:infinite")


NO_GENERATOR = """
import torch, theory

def system(matrix):
    def generator(y):
        A = matrix(y[..., None], torch.eye(3, dtype=y.dtype).expand(*y.shape[:-1], 3, 3))
        return FOLLOWED
    return theory.FastSlowSystem(
        generator=generator, slow=lambda x, y: x[..., :1] - y, n_states=3, n_slow=1, low=0.1, high=0.4)

P = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
C = torch.tensor([[0.0, 6.0, 2.0], [3.0, 1.0, 0.0], [1.0, 1.0, 4.0]], dtype=torch.float64)

def rows():
    return system(lambda y, one: (1 - y) * one + y * P)

def columns():
    return system(lambda y, one: (1 - y) * one + y * P.mT)

def counts():
    return system(lambda y, one: one @ C)

def laplacian():
    return system(lambda y, one: y * (one - P))

def rate_matrix():
    return system(lambda y, one: y * (P - one))
"""
JUMP_CHAIN = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
COUNTED = np.array([[0.0, 6.0, 2.0], [3.0, 1.0, 0.0], [1.0, 1.0, 4.0]])


def left_null_vector(rates):
    """p with p Q = 0 by SVD, of off-diagonal rates by rows."""
    p = np.linalg.svd((rates - np.diag(rates.sum(1))).T)[2][-1]
    return p / p.sum()


@pytest.mark.parametrize(
    "factory, by_row",
    [
        ("rows", [JUMP_CHAIN]),
        ("columns", [JUMP_CHAIN]),
        ("laplacian", [JUMP_CHAIN]),
        ("rate_matrix", [JUMP_CHAIN]),
        ("counts", [COUNTED / COUNTED.sum(1)[:, None], (COUNTED / COUNTED.sum(0)).T, COUNTED.T, COUNTED]),
    ],
)
def test_what_is_no_generator_names_the_door_and_the_door_taken_is_right(factory, by_row, tmp_path):
    """The call that the message names, put into the user's own function, which is given y one by one and in batches."""
    file = tmp_path / "mine.py"
    file.write_text(NO_GENERATOR.replace("FOLLOWED", "A"))
    with pytest.raises(UsageError, match=rf"mine\.py:{factory}: GeneratorError: A\(y\) of system") as caught:
        load_system(f"{file}:{factory}")
    calls = re.findall(r"theory\.from_\w+\([^()]*\)", str(caught.value))
    assert len(calls) == len(by_row), str(caught.value)
    y = torch.tensor([[0.15], [0.3]], dtype=torch.float64)
    for call, rates in zip(calls, by_row, strict=True):
        file.write_text(NO_GENERATOR.replace("FOLLOWED", call))
        system = load_system(f"{file}:{factory}")
        for p in (*stationary_distribution(system.A(y)), stationary_distribution(system.A(y[0]))):
            np.testing.assert_allclose(p, left_null_vector(rates), rtol=1e-12)


@pytest.mark.parametrize(
    "phi, message",
    [
        (None, "returned NoneType, not a function of y"),
        (lambda y: 1.0, r"gave float for y \[8, 1\]; \[8, 2\] is needed"),
        (lambda y: torch.full((8, 3), 1 / 3, dtype=y.dtype), r"gave \[8, 3\] for y"),
        (lambda y: torch.full((8, 2), 0.5), r"has dtype torch.float32; float64 is needed"),
    ],
)
def test_a_phi_theta_that_is_no_distribution_over_the_states(phi, message):
    with pytest.raises(UsageError, match=f"mine.py:phi: .*{message}"):
        check_phi_theta(phi, get_system("two_state"), "mine.py:phi", "cpu")
