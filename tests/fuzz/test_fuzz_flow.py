"""Fuzz: the flow on systems with invariant faces, at tiny ε and large times, with user functions that misbehave."""

import math
from functools import cache

import torch
from fuzz_inputs import F64, attempt, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from theory import FastSlowSystem, Status, from_rates, reduced_flow, simulate

SHAPES = {  # ẏ; y(t) from y₀ where it is known, and how it magnifies an error of y₀: ∂y(t)/∂y₀
    "logistic": (
        lambda x, y: y * (1 - y),
        lambda y, t: y * math.exp(t) / (1 - y + y * math.exp(t)),
        lambda y, t: math.exp(t) / (1 - y + y * math.exp(t)) ** 2,
    ),
    "decay": (lambda x, y: -y, lambda y, t: y * math.exp(-t), lambda y, t: math.exp(-t)),
    "drift": (lambda x, y: torch.full_like(y, 0.25), lambda y, t: y + 0.25 * t, lambda y, t: 1.0),
    "pushed": (lambda x, y: x[..., 1:2] - y, None, None),
}
ATOL = 1e-9  # in parts of the width
SPOILS = {
    "none": lambda y: y,
    "detach": lambda y: y.detach(),
    "tolist": lambda y: torch.as_tensor(y.tolist(), dtype=y.dtype),
    "in place": lambda y: y.add_(1e-3),
    "nan": lambda y: torch.where(y > 0.6, torch.nan, y),
    "branch": lambda y: y if bool((y >= 0).all()) else -y,
}


@cache  # the machine code of a system is kept with its functions
def build(shape, spoil, width):
    def generator(y):
        z = SPOILS[spoil](y)[..., 0] / width
        rates = torch.stack([torch.stack([0 * z, 1 + z], -1), torch.stack([2 - z, 0 * z], -1)], -2)
        return from_rates(rates)

    def slow(x, y):
        return SHAPES[shape][0](x, y / width) * width

    return FastSlowSystem(generator=generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=width, name="fuzzed")


@fuzzed
@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(["none"] * 6 + sorted(SPOILS)),
    st.sampled_from([1.0, 1.0, 1e-6, 1e6]),
    st.floats(0.0, 1.0),
    st.floats(0.1, 30.0),
    st.sampled_from([0.0, 0.0, -3.0, 1e9]),
    st.sampled_from([0.1, 1e-3, 1e-8, 1e-13, 1e-15]),
    st.sampled_from(["auto"] * 12 + ["rodas5p", "lsoda"]),  # which take eight times as long
)
def test_flow(shape, spoil, width, start, span, t0, eps, method):
    system = build(shape, spoil, width)
    y0 = torch.tensor([start * width], dtype=F64)
    given_y0 = y0.clone()
    t = [t0, t0 + span]
    keywords = {"rtol": 1e-6, "atol": ATOL * min(1.0, width)}

    def full(rtol, atol):
        given = {"method": method, "throw": False, "time_limit": 600.0, "rtol": rtol, "atol": atol}
        return simulate(system, [0.5, 0.5], y0, t, eps, **given)

    run = attempt("theory.simulate (flow)", lambda: full(**keywords), *("generator", "slow", "A", "y"))
    if run is not None and run.status is Status.MASS_DRIFT:
        run = full(1e-9, 1e-12 * min(1.0, width))  # "tighten rtol and atol"
    reduced = attempt(
        "theory.reduced_flow (flow)",
        lambda: reduced_flow(system, y0, t, **keywords),
        *("generator", "slow", "A", "y"),
    )
    assert torch.equal(y0, given_y0)
    if spoil in ("detach", "tolist"):
        assert run is None and reduced is None
        return
    exact, magnified = SHAPES[shape][1:]
    length = t[1] - t[0]
    for found in (run, reduced):
        if found is None or spoil == "nan":
            continue
        if shape == "drift" and start + 0.25 * length > 1 + 1e-4:
            assert found.status is Status.LEFT_DOMAIN
            assert abs(float(found.end) - t[0] - (1 - start) / 0.25) < 1e-3 * max(1.0, length) + 1e-15 * abs(t0)
            continue
        if shape == "drift" and start + 0.25 * length > 1 - 1e-4:
            continue  # within the tolerance of the face
        assert found.status is Status.SUCCESS
        assert bool((found.y >= 0).all() & (found.y <= width).all())
        assert abs(float(found.x[-1].sum()) - 1) < 1e-13 and bool((found.x >= 0).all())
        if exact is not None:
            # an error of atol while y is small may grow as the flow does; the local errors, relative ones, add up
            bound = 1e-4 * max(1.0, length) + 10 * ATOL * magnified(start, length)
            assert abs(float(found.y[-1, 0]) / width - exact(start, length)) < bound
