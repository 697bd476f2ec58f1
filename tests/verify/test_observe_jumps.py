"""Pairs from sampled tokens: the clock's mean, the predicted scatter, the 1/√N law, and what is refused."""

import numpy as np
import pytest
import torch

import theory
from verify.observe import clock, get_observer, list_observers
from verify.observe.jumps import collect, expected_tv

pytestmark = pytest.mark.numerical

RING = theory.get_system("driven_cycle")
STEP = 0.04


@pytest.mark.parametrize("way", ["independent", "chain"])
def test_frequencies_have_the_mean_of_the_clock_and_the_stated_variance(way):
    pairs = collect(RING, 256, STEP, 400, seed=0, samples=20_000, way=way)
    exact = clock.observe(RING, 256, step=STEP, kernel="exp", count=400, seed=0)
    assert torch.equal(pairs.y, exact.y) and torch.equal(pairs.mean, exact.x)
    assert (pairs.counts.sum(-1) == pairs.tokens).all() and pairs.tokens >= 20_000
    score = (pairs.frequencies - exact.x) / pairs.variance.sqrt()
    assert float(score.mean(0).abs().max()) < 4 / 400**0.5
    assert float(score.square().mean()) == pytest.approx(1.0, abs=0.12)
    seen = float(theory.total_variation(pairs.frequencies, exact.x).mean())
    assert seen == pytest.approx(float(pairs.sampling_tv.mean()), rel=0.05)


def test_correlated_tokens_are_noisier_than_independent_ones():
    tokens = {way: collect(RING, 256, STEP, 50, seed=0, samples=2560, way=way) for way in ("independent", "chain")}
    assert tokens["chain"].tokens == tokens["independent"].tokens == 2560
    assert float(tokens["chain"].sampling_tv.mean()) > 1.5 * float(tokens["independent"].sampling_tv.mean())


def test_the_noise_falls_as_one_over_root_n():
    counts = [10**2, 10**4, 10**6, 10**8]
    seen, stated = [], []
    for samples in counts:
        pairs = collect(RING, 64, STEP, 300, seed=1, samples=samples)
        seen.append(float(theory.total_variation(pairs.frequencies, pairs.mean).mean()))
        stated.append(float(pairs.sampling_tv.mean()))
    assert np.polyfit(np.log(counts), np.log(seen), 1)[0] == pytest.approx(-0.5, abs=0.01)
    np.testing.assert_allclose(np.diff(np.log(stated)) / np.diff(np.log(counts)), -0.5, atol=1e-12)


def test_the_observer_keeps_the_clock_s_terms_and_states_the_noise():
    assert "jumps" in list_observers()
    arguments = {"step": STEP, "kernel": "exp", "count": 40, "seed": 2, "device": "cpu"}
    exact = get_observer("clock")(RING, 128, **arguments)
    seen = get_observer("jumps")(RING, 128, **arguments)
    assert torch.equal(seen.y, exact.y) and not torch.equal(seen.x, exact.x)
    assert torch.equal(seen.leading_term(RING), exact.leading_term(RING))
    assert 0 < seen.sampling_tv < 1e-3 and seen.settled == exact.settled
    assert any("sampled tokens" in note for note in seen.notes)
    again = get_observer("jumps")(RING, 128, **arguments)
    assert torch.equal(seen.x, again.x)


def test_expected_tv_of_normal_noise():
    variance = torch.tensor([0.3, 0.1, 0.2], dtype=torch.float64)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200_000, 3)) * variance.sqrt().numpy()
    assert float(expected_tv(variance)) == pytest.approx(0.5 * np.abs(noise).sum(-1).mean(), rel=5e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be an integer >= 1"),
        ({"samples": 1e6}, "samples must be an integer >= 1"),
        ({"way": "both"}, "way must be one of independent, chain"),
        ({"n_blocks": 1}, "n_blocks must be at least 2"),
        ({"n_pairs": 0}, "n_pairs must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"period": 0}, "period must be an integer >= 1"),
        ({"step": 0.0}, "step must be positive"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"system": RING, "period": 4, "step": STEP, "n_pairs": 3, "seed": 0}
    with pytest.raises(ValueError, match=message):
        collect(**(good | arguments))
