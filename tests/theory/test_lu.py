"""Factorisations of batches on several threads: right, and one thread only where it must be."""

import subprocess
import sys

import pytest
import torch

from theory import lu

pytestmark = pytest.mark.numerical

# 2 × 160 × 160 in two threads without theory.lu: wrong pivots, or no answer at all (oneMKL, PyTorch 2.13)
TWO_THREADS = """
import torch, theory
torch.set_num_threads(2)
rates = torch.rand(2, 160, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
A = theory.from_rates(rates)
v = rates[..., 0] - rates[..., 0].mean(-1, keepdim=True)
together = theory.group_inverse(A), theory.solve_sum_zero(A, v), torch.func.vmap(theory.solve_sum_zero)(A, v)
alone = torch.stack([theory.group_inverse(one) for one in A])
assert torch.get_num_threads() == 2
# condition 3 or so: n roundings of entries of the size of A^#
assert (together[0] - alone).abs().max() <= 160 * 2.3e-16 * 10 * alone.abs().max()
for z in together[1:]:
    assert (z - (alone @ v[..., None])[..., 0]).abs().max() <= 160 * 2.3e-16 * 10 * alone.abs().max() * v.abs().sum()
"""


def test_a_batch_of_large_matrices_is_right_on_two_threads():
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shape, inside", [((2, 160, 160), 1), ((1, 160, 160), 2), ((160, 160), 2), ((9, 64, 64), 2)])
@pytest.mark.parametrize("name", ["lu_factor", "lu_factor_ex", "inv_ex"])
def test_only_batches_of_large_matrices_go_on_one_thread(name, shape, inside, monkeypatch):
    seen, function, before = [], getattr(torch.linalg, name), torch.get_num_threads()

    def spy(A):
        seen.append(torch.get_num_threads())
        torch.set_num_threads(1)  # what is looked at here is the number, not the fault
        return function(A)

    monkeypatch.setattr(torch.linalg, name, spy)
    A = torch.eye(shape[-1], dtype=torch.float64).expand(shape).contiguous()
    try:
        torch.set_num_threads(2)
        found = getattr(lu, name)(A)
        assert seen == [inside]
        if inside == 1:
            assert torch.get_num_threads() == 2
        assert torch.equal(found[0], A)
    finally:
        torch.set_num_threads(before)
