"""An infinite entry anywhere in A is refused: on the diagonal as well, by every route to p_st."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch

from theory import GeneratorError, from_rates, stationary_distribution
from theory.stationary.dense.gth import REFUSED, solve

pytestmark = pytest.mark.numerical


def spoiled(n, i, j, value):
    A = from_rates(torch.rand(n, n, dtype=torch.float64) + 0.1)
    A[i, j] = value
    return A


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("n, i, j", [(1, 0, 0), (2, 0, 0), (2, 1, 0), (3, 2, 2), (45, 44, 44), (200, 7, 7)])
def test_one_infinite_entry(n, i, j, value):
    A = spoiled(n, i, j, value)
    kinds = [A, A.numpy(), A.tolist(), A[None], A.clone().requires_grad_(True), scipy.sparse.csc_array(A.numpy())]
    for kind in kinds:
        with pytest.raises(GeneratorError, match=r"A has the (non-finite entry|negative rate)"):
            stationary_distribution(kind)
    assert solve(A.numpy()[None], 2.0**-53)[1].tolist() == [REFUSED]


def test_one_infinite_entry_among_many_small_matrices():
    """Batches of small matrices take the kernel that eliminates them in step."""
    A = from_rates(torch.rand(40, 3, 3, dtype=torch.float64) + 0.1)
    A[17, 1, 1] = -math.inf
    with pytest.raises(GeneratorError, match=r"A has the non-finite entry -inf at \[1, 1\] \(batch element \[17\]\)"):
        stationary_distribution(A)
    p, status = solve(A.numpy(), 2.0**-53)
    assert status[17] == REFUSED and np.isnan(p[17]).all() and (np.delete(status, 17) == 0).all()
