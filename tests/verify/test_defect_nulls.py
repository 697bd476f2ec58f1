"""What a block's distance to a generator is held against: its own signs, its initialisation, rotations that LayerNorm
allows."""

import pytest
import torch

from network.config import FastSlowConfig
from theory import from_rates
from verify.generator_defect.distance import mean_figures, ranges, rotations
from verify.generator_defect.layers import layers
from verify.generator_defect.measurement import initial_defects
from verify.generator_defect.nulls import (
    axis_nulls,
    correlation_with_attention,
    layer_norm_null,
    rotations_that_keep_the_mean,
)
from verify.statistics.paired import t_interval

pytestmark = pytest.mark.numerical

SIZE = 24


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def behind_layer_norm(seed):
    """J = diag(γ_out) S diag(γ_in) − I, S = P G P: both norms take the mean off; and the gains."""
    P = torch.eye(SIZE, dtype=torch.float64) - 1.0 / SIZE
    into, out = (torch.exp(0.5 * normal(SIZE, seed=100 * seed + k)) for k in (1, 2))
    S = 3.0 * P @ normal(SIZE, SIZE, seed=seed) @ P
    return out[:, None] * S * into - torch.eye(SIZE, dtype=torch.float64), into, out


def test_rotations_behind_layer_norm_keep_its_mean_and_its_gains_and_plain_ones_do_not():
    J, into, out = behind_layer_norm(0)
    one, identity = torch.ones(SIZE, dtype=torch.float64), torch.eye(SIZE, dtype=torch.float64)
    Q = rotations_that_keep_the_mean(SIZE, samples=6, seed=3)
    assert torch.allclose(Q.mT @ Q, identity, rtol=0, atol=1e-13)
    assert torch.allclose(Q @ one, one, rtol=0, atol=1e-13)
    turned = out[:, None] * (Q @ ((J + identity) / out[:, None] / into) @ Q.mT) * into - identity
    plain = rotations(SIZE, samples=6, seed=3)
    for members, kept in ((turned, True), (plain @ J @ plain.mT, False)):
        # the norm before the block hears nothing of 1/γ_in, the norm behind it says nothing along 1/γ_out
        unheard, unsaid = (members + identity) @ (1.0 / into), (1.0 / out) @ (members + identity)
        size = 1e-12 * float(members.abs().sum(-1).max())
        assert (float(unheard.abs().max()) < size and float(unsaid.abs().max()) < size) == kept
    found = layer_norm_null(J, samples=6, seed=3, gain_in=into, gain_out=out)
    assert found == ranges(turned)


def test_a_gain_of_zero_lets_no_rotation_pass():
    J, into, _ = behind_layer_norm(0)
    with pytest.raises(ValueError, match=r"gain_in must be \[24\] without a zero"):
        layer_norm_null(J, samples=2, seed=0, gain_in=into * (torch.arange(SIZE) > 0))


def test_a_generator_is_far_below_its_own_signs_at_random_and_turned_it_is_farthest():
    A = from_rates(torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    nulls = axis_nulls(A, samples=50, seed=0)
    own, chance, turned = mean_figures(A), nulls.sign_flip["shifted_distance"], nulls.negated
    assert own.shifted_distance < 1e-12 < 0.5 < chance.low
    assert chance.high < turned.shifted_distance


def test_what_is_a_multiple_of_the_attention_weights_correlates_with_them():
    W = torch.rand(9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert correlation_with_attention(-0.3 * W, W) == pytest.approx(-1.0)
    assert abs(correlation_with_attention(normal(9, 9), W)) < 0.7  # 36 pairs: four standard errors
    assert correlation_with_attention(torch.zeros(9, 9, dtype=torch.float64), W) == 0.0


def test_intervals_of_shares_end_at_0_and_1():
    assert t_interval([0.1, 0.5, 0.9], within=(0.0, 1.0)) == (0.0, 1.0)
    low, high = t_interval([0.1, 0.5, 0.9])
    assert low < 0.0 and high > 1.0


def test_every_layer_carries_its_nulls_and_one_initialisation_a_draw():
    config = FastSlowConfig(vocab_size=17, block_size=8, n_layer=1, n_embd=8, n_head=2, period=4)
    own, *drawn = (one.blocks for one in initial_defects(config, torch.arange(8)[None], seeds=(0, 1)))
    told = layers(own, drawn)
    assert [one["layer"] for one in told] == [0]
    for one, block, *others in zip(told, own, *drawn, strict=True):
        assert one["channel"].keys() == {"shifted_distance", "init", "sign_flip"}
        assert one["token"].keys() == {"shifted_distance", "init", "sign_flip", "negated"}
        for axis in ("channel", "token"):
            assert one[axis]["shifted_distance"] == getattr(block, axis).shifted_distance
            assert one[axis]["init"] == [getattr(other, axis).shifted_distance for other in others]
            assert 0.0 <= one[axis]["sign_flip"][0] <= one[axis]["sign_flip"][1] <= 1.0
        assert one["correlation_with_attention"] == block.correlation_with_attention
