"""The routes of the elimination that size decides: blocks of states from n = 192 on, and batches shared by threads."""

import numpy as np
import pytest
import torch

from theory import NotUniqueError, from_rates, stationary_distribution
from theory.stationary.dense import gth

pytestmark = pytest.mark.numerical

F64 = torch.float64


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def birth_death(n, step):
    """Rates up and down in a landscape of slope `step`[n − 1], and ln p by the product form."""
    up, down = np.exp(np.minimum(-step, 0.0)), np.exp(np.minimum(step, 0.0))
    log_p = np.concatenate([[0.0], -np.cumsum(step)])
    return from_rates(torch.from_numpy(np.diag(up, -1) + np.diag(down, 1))), log_p - np.logaddexp.reduce(log_p)


@pytest.mark.parametrize("n", [191, 192, 200, 321])
@pytest.mark.parametrize("depth", [1.0, 600.0])
def test_product_form(n, depth):
    step = depth / n * np.cos(np.arange(n - 1) * 0.3) + np.random.default_rng(n).standard_normal(n - 1)
    A, log_p = birth_death(n, step)
    assert np.abs(np.log(stationary_distribution(A).numpy()) - log_p).max() < 1e-10


@pytest.mark.parametrize("n", [192, 257])
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_blocks_give_what_single_states_give(n, density, monkeypatch):
    rng = np.random.default_rng(n)
    R = np.exp(rng.uniform(-9, 9, (n, n))) * (rng.random((n, n)) < density)
    R[np.arange(1, n), np.arange(n - 1)] = R[np.arange(n - 1), np.arange(1, n)] = 1.0
    A = from_rates(torch.from_numpy(R))
    p = stationary_distribution(A)
    assert float((A @ p).abs().sum()) < 1e-10 * float((A.abs() @ p).sum())
    monkeypatch.setattr(gth, "_LARGE", 10**6)
    torch.testing.assert_close(p, stationary_distribution(A), rtol=1e-12, atol=0)


def test_a_large_chain_that_leaves_the_range_is_done_again():
    step = np.concatenate([np.full(100, -8.0), np.full(99, 8.0)])  # p at the ends is below the smallest double
    A, log_p = birth_death(200, step)
    p = stationary_distribution(A).numpy()
    seen = log_p > -700
    assert np.abs(np.log(p[seen]) - log_p[seen]).max() < 1e-10 and p[~seen].max() < 1e-300


def test_a_large_chain_with_two_classes_or_a_bad_column_is_refused():
    R = torch.rand(200, 200, generator=torch.Generator().manual_seed(0), dtype=F64)
    split = R.clone()
    split[:100, 100:] = split[100:, :100] = 0.0
    with pytest.raises(NotUniqueError, match="2 recurrent classes"):
        stationary_distribution(from_rates(split))
    A = from_rates(R)
    A[7, 7] *= 1 + 1e-9
    with pytest.raises(ValueError, match="column 7"):
        stationary_distribution(A)


def test_threads_share_a_batch_and_change_nothing(two_threads):
    A = from_rates(torch.rand(131, 32, 32, generator=torch.Generator().manual_seed(1), dtype=F64))
    shared = stationary_distribution(A)
    torch.set_num_threads(1)
    assert torch.equal(stationary_distribution(A), shared)
    assert float((A @ shared[..., None]).abs().max()) < 1e-14


def test_each_matrix_of_a_shared_batch_has_its_status(two_threads):
    A = from_rates(torch.rand(131, 32, 32, generator=torch.Generator().manual_seed(2), dtype=F64)).numpy()
    A[3], A[130, 0, 0] = 0.0, 1.0
    p, status = gth.solve(A, 2.0**-53)
    assert (
        status[3] == gth.NOT_UNIQUE and status[130] == gth.REFUSED and (np.delete(status, [3, 130]) == gth.SOLVED).all()
    )
    assert np.isnan(p[[3, 130]]).all() and np.abs(np.delete(p, [3, 130], 0).sum(-1) - 1).max() < 1e-14
