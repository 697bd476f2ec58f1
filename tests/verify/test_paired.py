"""Paired differences: SciPy's interval, its coverage, the power and the size of the equivalence test."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from verify.statistics.paired import paired_difference, t_interval

pytestmark = pytest.mark.numerical


@given(pairs=st.lists(st.tuples(st.floats(1, 6), st.floats(-0.1, 0.1)), min_size=2, max_size=9))
def test_the_interval_is_that_of_the_paired_t_test(pairs):
    dense = np.array([loss for loss, _ in pairs])
    coupled = dense + np.array([difference for _, difference in pairs])
    differences = coupled - dense
    assume(np.std(differences) > 1e-6)  # SciPy warns below
    found = paired_difference(differences.tolist())
    expected = stats.ttest_rel(coupled, dense).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert found.mean == pytest.approx(np.mean(differences), abs=1e-12) and found.seeds == len(pairs)
    assert found.effect_size == pytest.approx(np.mean(differences) / np.std(differences, ddof=1), rel=1e-9, abs=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(0.3, 1.0, size=(800, 3))
    covered = sum(low <= 0.3 <= high for low, high in map(t_interval, samples.tolist()))
    assert stats.binomtest(covered, 800, 0.95).pvalue > 1e-3


def test_equivalence_is_the_interval_at_90_percent_inside_the_margin():
    rng = np.random.default_rng(1)
    said = []
    for sample in rng.normal(0.0, 0.008, size=(400, 5)).tolist():
        found = paired_difference(sample, margin=0.01)
        low, high = t_interval(sample, 0.90)
        assert found.equivalent == (low > -0.01 and high < 0.01)
        said.append(found.equivalent)
    assert 0 < sum(said) < 400


def test_equivalence_at_the_margin_is_claimed_wrongly_at_most_one_time_in_twenty():
    samples = np.random.default_rng(2).normal(0.01, 0.002, size=(600, 5)).tolist()
    wrong = sum(paired_difference(sample, margin=0.01).equivalent for sample in samples)
    assert stats.binomtest(wrong, 600, 0.05).pvalue > 1e-3


def test_what_does_not_vary_is_a_point():
    zero = paired_difference([0.0, 0.0, 0.0])
    assert zero.interval == (0.0, 0.0) and zero.equivalent and zero.p_equivalence == 0.0 and zero.effect_size == 0.0
    far = paired_difference([0.5, 0.5])
    assert far.interval == (0.5, 0.5) and far.equivalent is False


def test_one_pair_and_none_conclude_nothing():
    one = paired_difference([0.1])
    assert (one.mean, one.seeds) == (0.1, 1)
    assert one.interval is one.p_equivalence is one.equivalent is one.effect_size is None
    assert paired_difference([]) is None and t_interval([1.0]) is None
    with pytest.raises(ValueError, match="margin must be positive"):
        paired_difference([0.1], margin=-1.0)
