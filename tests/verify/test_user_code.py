"""What comes from a user's file is checked before anything is computed; the message names the file and the cause."""

import pytest
import torch

from theory import get_system
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
