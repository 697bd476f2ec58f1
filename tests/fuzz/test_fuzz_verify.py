"""Fuzz: the headline's arguments, the slope and its verdict, saved φ_θ, strict JSON."""

import json
import math
import random

import numpy as np
import pytest
import torch
from fuzz_inputs import F64, attempt, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from network import PhiTheta
from theory import get_system, stationary_distribution
from verify.command_line import strict_json
from verify.manifold_gap import measurement as manifold_gap
from verify.manifold_gap.error_budget import Row
from verify.manifold_gap.judgement import Circumstances, judge, slope_and_ratios
from verify.manifold_gap.phi_theta_file import load_phi_theta, phi_theta_bytes
from verify.statistics.convergence import fit_slope, floor_limited
from verify.statistics.verdict import Verdict

TWO_STATE = get_system("two_state")
NAMES = (
    "system",
    "periods",
    "seed",
    "observe",
    "observation",
    "fit",
    "step",
    "kernel",
    "device",
    "samples",
    "φ_θ",
    "h",
)


def exact(y):
    return stationary_distribution(TWO_STATE.A(y))


@fuzzed
@given(
    st.sampled_from(["two_state", TWO_STATE] * 4 + ["", None, 3, [TWO_STATE]]),
    st.sampled_from([[64], (64, 128), [128, 64, 64], np.array([64]), [64.0], {64}] * 2)
    | st.sampled_from([[], None, 64, "64", [0], [-1], [1.5], [math.nan], [math.inf], [True], [None], [[64]], [2**70]]),
    st.sampled_from([0, 1, 2] * 4 + [-1, 1.5, None, "0", True, math.nan]),
    st.sampled_from([None] * 8 + [0.05, 1e-3, 0.0, -1.0, math.nan, math.inf, "0.1", 1j, [0.1], True]),
    st.sampled_from([{}] * 6 + [{"kernel": "euler"}, {"kernel": "rk4"}, {"kernel": None}, {"device": "gpu"}])
    | st.sampled_from([{"device": "cuda:7"}, {"device": "meta"}, {"observe": "nope"}, {"fit": "nope"}, {"samples": 5}])
    | st.sampled_from([{"observe": "jumps", "samples": s} for s in (100, 0, -1, 1.5, None, "5")]),
)
def test_measure(system, periods, seed, step, more):
    """A given φ_θ, exactly p_st, spares the fit: the gap must then be at rounding."""
    result = attempt(
        "verify.manifold_gap.measure",
        lambda: manifold_gap.measure(system, periods, seed=seed, step=step, phi_theta=exact, **more),
        *NAMES,
    )
    if result is None:
        return
    assert [row.period for row in result.rows] == sorted({int(p) for p in periods})
    assert all(row.gap_tv < 1e-14 and row.floor_limited for row in result.rows)
    assert result.slope is None and result.verdict is Verdict.INCONCLUSIVE and result.reason
    assert json.loads(result.to_json())["rows"][0]["period"] == result.rows[0].period


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    monkeypatch.setattr(manifold_gap, "TEST_POINTS", 8)


NUMBERS = st.floats() | st.sampled_from([1.0, 1e300, 1e-300, 5e-324, None, "x", 1j, [1.0], True, 10**400, -0.0])


@fuzzed
@given(
    st.lists(NUMBERS | st.floats(1e-12, 1.0), max_size=8) | st.sampled_from([None, "x", 1.0, [[1.0]]]),
    st.floats(-3, 3),
    st.sampled_from(["power", "power", "same", "short", "junk"]),
    st.sampled_from([None, 0.0, 0.1, 1e300, math.nan, -1.0, "x"]),
)
def test_fit_slope(epsilon, order, kind, noise):
    numbers = isinstance(epsilon, list) and all(isinstance(e, float) and 0 < e < 1e3 for e in epsilon)
    gap = epsilon
    if numbers and kind == "power":  # e ** order within 1e±300
        gap = [math.exp(min(max(order * math.log(e), -690.0), 690.0)) for e in epsilon]
    gap = {"short": [1.0], "junk": [None]}.get(kind, gap)
    spread = None if noise is None else [noise] * (len(epsilon) if isinstance(epsilon, list) else 1)
    fit = attempt(
        "verify.statistics.convergence.fit_slope",
        lambda: fit_slope(epsilon, gap, spread),
        *("epsilon", "gap", "noise", "relative_noise"),
    )
    if fit is None:
        distinct = numbers and len({round(math.log(e), 9) for e in epsilon}) == len(epsilon)
        assert not (distinct and kind == "power" and noise in (None, 0.0, 0.1))
        return
    assert (fit.slope is None) == (fit.interval is None) == bool(fit.reason)
    if fit.slope is not None:
        low, high = fit.interval
        assert low <= fit.slope <= high
        within = all(1e-299 < g < 1e299 for g in gap)
        apart = min(abs(math.log(a) - math.log(b)) for a in epsilon for b in epsilon if a != b) > 1e-3
        if numbers and kind == "power" and within and apart:
            assert abs(fit.slope - order) < 1e-9 * (1 + 1 / min(1.0, abs(math.log(max(epsilon) / min(epsilon)))))


@fuzzed
@given(st.floats(), st.floats())
def test_floor_limited(gap, floor):
    limited = attempt("verify.statistics.convergence.floor_limited", lambda: floor_limited(gap, floor), "gap", "floor")
    assert limited == (gap < 10 * floor)


@fuzzed
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans(), st.booleans()),
        max_size=10,
        unique_by=lambda row: row[0],
    ),
    st.floats(1e-16, 1e-3),
    st.floats(0, 0.1),
)
def test_judge(drawn, floor, noise):
    rows = [
        Row(
            period=2**k,
            epsilon=2.0**-k,
            gap_tv=gap,
            predicted_tv=predicted,
            pooling_tv=gap,
            learning_tv=gap,
            certificate_tv=1.0,
            floor_limited=floor_limited(gap, floor),
            pre_asymptotic=early,
            continuous_tv=predicted,
            sampling_tv=noise,
            gap_error=noise * gap,
            certified=certified,
            converged=converged,
            why_not="early" * early,
        )
        for k, gap, predicted, early, certified, converged in drawn
    ]

    def verdict():
        slope, ratios = slope_and_ratios(rows, floor)
        return judge(rows, slope, ratios, Circumstances(floor, floor))

    decided, reason = attempt("verify.manifold_gap.judgement.judge", verdict, "gap", "epsilon")
    assert isinstance(decided, Verdict) and reason
    usable = [row for row in rows if row.usable]
    if decided is Verdict.HOLDS:
        assert len(usable) >= 3 and all(row.certified for row in rows)
    if not all(row.certified for row in rows):
        assert decided is Verdict.VIOLATED


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    own = torch.Generator().manual_seed(0)
    content = phi_theta_bytes(PhiTheta(1, 2, 3, generator=own, dtype=F64), 8)
    return tmp_path_factory.mktemp("phi") / "phi.safetensors", content


@fuzzed
@given(st.data())
def test_load_phi_theta(saved, data):
    path, content = saved
    rng = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    place, length = rng.randrange(len(content)), int.from_bytes(content[:8], "little")
    how = data.draw(st.sampled_from(["none", "cut", "flip", "flip header", "digit", "empty", "noise", "other"]))
    header = content[8 : 8 + length]
    path.write_bytes(
        {
            "none": lambda: content,
            "cut": lambda: content[:place],
            "flip": lambda: content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :],
            "flip header": lambda: (
                content[: 8 + (h := rng.randrange(length))]
                + bytes([content[8 + h] ^ (1 << rng.randrange(7))])
                + content[9 + h :]
            ),
            "digit": lambda: content[:8] + header.replace(b"3", b"9", rng.randint(1, 3)) + content[8 + length :],
            "empty": lambda: b"",
            "noise": lambda: rng.randbytes(len(content)),
            "other": lambda: _foreign(rng),
        }[how]()
    )
    phi = attempt("verify.manifold_gap.phi_theta_file.load_phi_theta", lambda: load_phi_theta(path, "cpu"), str(path))
    assert phi is not None or how != "none"
    if phi is not None:
        assert phi(torch.zeros(2, phi.n_slow, dtype=phi.center.dtype)).shape == (2, phi.n_states)


def _foreign(rng):
    """A whole safetensors file of something else."""
    from safetensors.torch import save

    weights = rng.choice([{}, {"w": torch.zeros(2)}, {"out.weight": torch.zeros(2, 3, dtype=torch.int64)}])
    header = rng.choice(["{}", "[]", "null", "1", "nonsense", '{"n_slow": 1}', '{"width": 1000000000}'])
    return save(weights, rng.choice([{"phi_theta": header}, {"phi_theta": header, "period": "8"}, {"a": "b"}]))


@fuzzed
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=12,
    )
)
def test_strict_json(value):
    text = attempt("verify.command_line.strict_json", lambda: strict_json(value), "value")

    def plain(item):
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        if isinstance(item, dict):
            return {key: plain(part) for key, part in item.items()}
        return [plain(part) for part in item] if isinstance(item, list | tuple) else item

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == plain(value)
