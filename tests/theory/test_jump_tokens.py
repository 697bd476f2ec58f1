"""Sampled tokens against the block mean, and their covariance against the double sum that defines it."""

import re

import numpy as np
import pytest
import torch

import theory
from theory.clock.block_mean import block_mean, propagator
from theory.jumps.tokens import sample_tokens, token_frequency_covariance

pytestmark = pytest.mark.numerical


def kernels(count, n, step=0.3, seed=0):
    rates = torch.from_numpy(np.random.default_rng(seed).random((count, n, n)))
    return propagator(theory.from_rates(rates), step)


@pytest.mark.parametrize("period", [1, 2, 7, 40])
def test_covariance_against_the_double_sum(period):
    K = kernels(1, 4)[0]
    p = theory.stationary_distribution(theory.from_rates(K))
    brute = torch.zeros(4, 4, dtype=torch.float64)
    for s in range(period):
        for t in range(period):
            joint = torch.linalg.matrix_power(K, abs(t - s)) * p  # P(later = i, earlier = j)
            brute += (joint if t >= s else joint.mT) - p[:, None] * p
    torch.testing.assert_close(token_frequency_covariance(K, p, period), brute / period**2, rtol=0, atol=1e-14)


def test_long_blocks_have_the_covariance_of_the_jump_process():
    rates = np.random.default_rng(1).random((5, 5))
    A, step, period = theory.from_rates(rates), 1e-3, 2**26
    tokens = token_frequency_covariance(propagator(A, step), theory.stationary_distribution(A), period)
    torch.testing.assert_close(tokens * period * step, theory.occupation_covariance(A), rtol=1e-4, atol=1e-6)


def test_counts_have_the_block_mean_and_the_predicted_scatter():
    K = kernels(400, 4, seed=2)
    p = theory.stationary_distribution(theory.from_rates(K))
    start = torch.eye(4, dtype=torch.float64)[torch.arange(400) % 4]
    chains, period = 3000, 5
    mean, _ = block_mean(K, start, period)
    frequencies = sample_tokens(K, start, period, chains=chains, seed=3).double() / (chains * period)
    variance = token_frequency_covariance(K, p, period).diagonal(dim1=-2, dim2=-1) / chains
    score = (frequencies - mean) / variance.sqrt()
    assert abs(float(score.mean(0).abs().max())) < 4 / 400**0.5
    # From stationarity the scatter is exactly the predicted one.
    settled = sample_tokens(K, p, period, chains=chains, seed=4).double() / (chains * period)
    score = (settled - p) / variance.sqrt()
    assert float(score.square().mean()) == pytest.approx(1.0, abs=0.12)
    naive = (p * (1 - p) / (chains * period)).sqrt()
    assert float(((settled - p) / naive).square().mean()) > 1.5


def test_tokens_of_a_deterministic_kernel_are_counted_exactly():
    cycle = torch.roll(torch.eye(3, dtype=torch.float64), 1, 0)[None]
    start = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert sample_tokens(cycle, start, 4, chains=2, seed=0).tolist() == [[2, 4, 2]]


def test_one_seed_one_result():
    K = kernels(20, 3)
    start = torch.full((20, 3), 1 / 3, dtype=torch.float64)
    one = sample_tokens(K, start, 10, chains=50, seed=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = sample_tokens(K, start, 10, chains=50, seed=1)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, again) and (one.sum(-1) == 500).all()
    assert not torch.equal(one, sample_tokens(K, start, 10, chains=50, seed=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": torch.ones(2, 3, 3).double()}, "K must be stochastic"),
        (
            {"K": torch.tensor([[[1.5, 0.0], [-0.5, 1.0]]]).double(), "x": torch.full((1, 2), 0.5).double()},
            "an entry is",
        ),
        ({"K": torch.ones(3, 3).double()}, r"K must be \[N, n, n\]"),
        ({"x": torch.full((2, 3), 0.5).double()}, "x must be stochastic"),
        ({"period": 0}, "period must be an integer >= 1"),
        ({"chains": 0.5}, "chains must be an integer >= 1"),
        ({"seed": None}, "seed must be an integer >= 0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"K": kernels(2, 3), "x": torch.full((2, 3), 1 / 3).double(), "period": 3, "chains": 2, "seed": 0}
    good["x"] = torch.full((2, 3), 1.0, dtype=torch.float64) / 3
    with pytest.raises(ValueError, match=message):
        sample_tokens(**(good | arguments))


@pytest.mark.parametrize(
    "rows", [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]]
)  # of the second the inverse exists in rounding
def test_a_kernel_with_two_closed_classes_has_no_covariance(rows):
    K, p = torch.tensor(rows, dtype=torch.float64), torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    with pytest.raises(theory.NumericalError, match="more than one closed class"):
        token_frequency_covariance(K, p, 4)


def test_a_covariance_is_of_a_kernel_and_its_own_law():
    """A for K gave variances of −42; the call that each message names gives the right one."""
    A = theory.from_rates([[0.0, 2.0, 1.0], [1.0, 0.0, 0.5], [3.0, 0.25, 0.0]])
    p, h = theory.stationary_distribution(A), 0.1
    with pytest.raises(ValueError, match=r"K must be a kernel.*pass the kernel of one token") as caught:
        token_frequency_covariance(A, p, 5)
    (call,) = re.findall(r"torch\.linalg\.matrix_exp\(.*?\)", str(caught.value))
    K = eval(call, {"torch": torch, "A": A, "h": h})
    found = token_frequency_covariance(K, p, 5)
    identity, lag = torch.eye(3, dtype=torch.float64), 0.0
    for s in range(1, 5):  # Σ_{s, t} Cov(e_s, e_t)/25, pair by pair
        step = (torch.linalg.matrix_power(K, s) - p[:, None]) * p
        lag = lag + (5 - s) * (step + step.mT)
    torch.testing.assert_close(found, (5 * (identity * p - p[:, None] * p) + lag) / 25, rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match=r"not the stationary law of K.*pass theory") as caught:
        token_frequency_covariance(K, torch.full((3,), 1 / 3, dtype=torch.float64), 5)
    (call,) = re.findall(r"theory\.stationary_distribution\(.*\)", str(caught.value))
    torch.testing.assert_close(eval(call, {"theory": theory, "K": K}), p, rtol=1e-12, atol=0)
    for wrong, message in ((p[:2], "p must|K must be"), (p.float(), "of one dtype"), (2 * p, "probability vector")):
        with pytest.raises(ValueError, match=message):
            token_frequency_covariance(K, wrong, 5)
    with pytest.raises(ValueError, match=r"columns sum to 0\.9"):
        token_frequency_covariance(0.9 * K, p, 5)
