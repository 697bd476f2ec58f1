"""Fuzz: fast-slow systems, their trajectories, manifolds, token clocks and jump processes."""

import math

import numpy as np
import torch
from fuzz_inputs import F64, attempt, fuzzed, is_generator, spoiled_vectors
from hypothesis import given
from hypothesis import strategies as st

from theory import (
    FastSlowSystem,
    Status,
    first_order,
    from_rates,
    get_system,
    invariance_residual,
    list_systems,
    predicted_gap,
    reduced_flow,
    sample_fast_slow_jumps,
    self_driven_first_order,
    simulate,
    slow_manifold,
    stationary_distribution,
    token_clock,
)

JUNK = [None, "x", 1j, [], [[1.0], [2.0, 3.0]], math.nan, math.inf, -1.0, 0.0, True, np.float16(0.5), 10**400]
JUNK += [np.array([0.5], np.longdouble), torch.tensor([0.5], dtype=torch.float32), torch.eye(2).to_sparse(), object()]
INTEGERS = [1, 2, 3, 8, np.int64(4), 2**60] * 2 + [0, -1, 1.5, True, None, "4", math.nan]
STEPS = [0.05, 1, 0.5, np.float64(0.1), 1e-6] * 2 + [0.0, -0.1, math.nan, math.inf, "0.1", None, True, 10**400]


def chain(n, scale, m=1, low=0.0, high=1.0, transient=False):
    """n states in a ring (or a line into state 0) whose rates turn with y; ẏ falls back to the middle of the box."""

    def generator(y):
        s = (y - low) / (high - low)
        wave = 1.0 + 0.5 * torch.sin(s[..., :1, None] + torch.arange(n * n, dtype=y.dtype).reshape(n, n))
        if transient:
            wave = wave * torch.ones(n, n, dtype=y.dtype).triu()
        return scale * from_rates(wave)

    def slow(x, y):
        return (0.5 * (low + high) - y) * scale + 0.1 * scale * (high - low) * (x[..., :1] - 1.0 / n)

    return FastSlowSystem(
        generator=generator, slow=slow, n_states=n, n_slow=m, low=low, high=high, name=f"chain of {n}"
    )


SYSTEMS = [
    get_system("two_state"),
    get_system("driven_cycle"),
    chain(1, 1.0),
    chain(3, 1e6),
    chain(2, 1e-6, m=2),
    chain(3, 1.0, low=1e6, high=1e6 + 1),
    chain(3, 1.0, transient=True),
]


@st.composite
def starts(draw):
    """(system, x0, y0, whether both are fine)."""
    system = draw(st.sampled_from(SYSTEMS))
    x0 = draw(spoiled_vectors(system.n_states))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.sampled_from(((), (), (1,), (3,), (2, 1), (0,))))
    low, high = system.low.numpy(), system.high.numpy()
    y0 = low + (high - low) * rng.uniform(0.3, 0.7, (*batch, system.n_slow))
    junk = draw(st.sampled_from([None] * 25 + JUNK + [y0[..., :0], y0 + 1e3, y0.astype(np.float32)]))
    usual = draw(st.sampled_from([lambda a: a, torch.from_numpy, np.ndarray.tolist]))
    fine = x0.fine and junk is None and "32" not in str(getattr(x0.value, "dtype", "")) and 0 not in batch
    try:
        np.broadcast_shapes(x0.array.shape[:-1] if x0.array is not None else (), batch)
    except ValueError:
        fine = False
    return system, x0.value, usual(y0) if junk is None else junk, fine


@fuzzed
@given(
    st.sampled_from([3, 2, np.int64(1), 0, -1, 1.5, True, "2", None]),
    st.sampled_from([1, 2, 0, None]),
    st.sampled_from([0.0, [0.0], [0.0, 1.0], np.zeros(1), torch.zeros(1), *JUNK]),
    st.sampled_from([1.0, [1.0], np.ones(1)[::-1], 1e300, *JUNK]),
    st.sampled_from([lambda y: y, None, 3]),
)
def test_system(n_states, n_slow, low, high, function):
    system = attempt(
        "theory.FastSlowSystem",
        lambda: FastSlowSystem(generator=function, slow=function, n_states=n_states, n_slow=n_slow, low=low, high=high),
        *("generator", "slow", "n_states", "n_slow", "low", "high"),
    )
    if system is not None:
        assert system.low.shape == system.high.shape == (n_slow,)
        assert system.low.dtype == F64 and bool((system.low < system.high).all())
        y = system.uniform(5, seed=0)
        assert bool(system.inside(y).all()) and torch.isfinite(y).all()


@fuzzed
@given(st.sampled_from([*list_systems(), "", "nope", None, 3, ["two_state"]]))
def test_get_system(name):
    system = attempt("theory.get_system", lambda: get_system(name), "system")
    assert (system is not None) == (isinstance(name, str) and name in list_systems())
    if system is not None:
        assert is_generator(system.A(system.uniform(3, seed=0)).numpy())


@fuzzed
@given(
    starts(),
    st.sampled_from([[0.0, 0.1], [0.0, 1e-3, 0.2], [-1.0, -0.9], [0.0], [1.0, 0.0], [0.0, math.nan], 1.0, None, "t"]),
    st.sampled_from([0.1, 1.0, 1e-3, 1e-8, 0.0, -1.0, math.nan, [0.1, 0.2], None, "e", True]),
    st.sampled_from(["auto", "auto", "auto", "lsoda", "dopri5", "rodas5p", "euler", None]),
    st.sampled_from([1e-4, 1e-4, 1e-6, 0.0, 1e-16, "r", None, True]),
)
def test_simulate(start, t, eps, method, rtol):
    system, x0, y0, fine = start
    scale = float(system.A(system.uniform(1, seed=0)).abs().max())
    if isinstance(t, list) and scale > 1e3:
        t = [value / scale for value in t]
    run = attempt(
        "theory.simulate",
        lambda: simulate(system, x0, y0, t, eps, method=method, rtol=rtol, throw=False, max_steps=300, time_limit=5.0),
        *("x0", "y0", "t", "eps", "method", "rtol"),
    )
    if run is None:
        usual = t in ([0.0, 0.1], [0.0, 1e-3, 0.2]) and eps in (0.1, 1e-3) and rtol == 1e-4 and eps is not True
        assert not (fine and usual and method == "auto")
        return
    ok = torch.isfinite(run.x).all(-1)
    assert ((run.x.sum(-1) - 1).abs()[ok] < 1e-8).all() and (run.x[ok] > -1e-3).all()
    assert bool(system.inside(run.y[ok]).all())
    assert run.status is not Status.SUCCESS or bool(ok.all())


@fuzzed
@given(
    starts(),
    st.sampled_from([[0.0, 0.1], [0.0, 0.01, 0.2], [0.0], None, [1.0, 0.0]]),
    st.sampled_from([0, 1, 1, 2, True, None, np.array([0, 1]), "1"]),
    st.sampled_from([None, 0.01, 0.01, -1.0, math.nan, [0.1, 0.2], "e"]),
    st.booleans(),
    st.sampled_from([1e-6, 1e-6, 1e-6, 0.0, -1.0, math.nan, None, "r"]),
)
def test_reduced_flow(start, t, order, eps, layer, rtol):
    system, x0, y0, fine = start
    scale = float(system.A(system.uniform(1, seed=0)).abs().max())
    if isinstance(t, list) and scale > 1e3:
        t = [value / scale for value in t]
    run = attempt(
        "theory.reduced_flow",
        lambda: reduced_flow(system, y0, t, order=order, eps=eps, x0=x0 if layer else None, rtol=rtol, atol=1e-9),
        *("x0", "y0", "t", "eps", "order", "rtol", "explicit method", "layer"),
    )
    if run is None:
        plain = isinstance(t, list) and t == [0.0, 0.1] and isinstance(order, int) and order == 0 and eps is None
        assert not (fine and plain and not layer and rtol == 1e-6)
        return
    stayed = torch.isfinite(run.x).all(-1)
    assert bool(stayed.all()) == (run.status is Status.SUCCESS)
    assert ((run.x[stayed].sum(-1) - 1).abs() < 1e-9).all() and torch.isfinite(run.y[stayed]).all()
    assert torch.allclose(run.y[..., 0, :], torch.as_tensor(y0, dtype=F64).expand_as(run.y[..., 0, :])) or order == 1


@fuzzed
@given(
    starts(), st.sampled_from([0, 1, 2, np.int64(1), -1, 1.0, True, None]), st.sampled_from([0.01, [0.1, 0.2], *JUNK])
)
def test_slow_manifold(start, order, eps):
    system, _, y, _ = start
    names = ("y", "eps", "order", "A")
    h = attempt("theory.slow_manifold", lambda: slow_manifold(system, order), *names)
    if h is None:
        return
    x = attempt("theory.slow_manifold (h)", lambda: h(y, eps), *names)
    if x is not None:
        assert torch.isfinite(x).all() and ((x.sum(-1) - 1).abs() < 1e-9).all()
    phi = attempt("theory.first_order", lambda: first_order(system, y), *names)
    if phi is not None and torch.isfinite(torch.as_tensor(y, dtype=F64)).all():
        assert (phi.sum(-1).abs() <= 1e-9 * phi.abs().sum(-1) + 1e-12).all()
    residual = attempt("theory.invariance_residual", lambda: invariance_residual(system, h, y, eps), *names)
    assert residual is None or (residual >= 0).all()


@fuzzed
@given(
    starts(),
    st.sampled_from(INTEGERS),
    st.sampled_from([1, 2, 3, 0, -1, 1.5, True, None, "2"]),
    st.sampled_from(STEPS),
    st.booleans(),
)
def test_token_clock(start, period, n_blocks, step, euler):
    system, x0, y0, fine = start
    names = ("x0", "y0", "period", "n_blocks", "step", "t", "h")
    run = attempt(
        "theory.token_clock",
        lambda: token_clock(system, x0, y0, period=period, n_blocks=n_blocks, step=step, euler=euler),
        *names,
    )
    if run is not None:
        mean, ends = run.mean[run.inside], run.x[run.inside]
        assert ((mean.sum(-1) - 1).abs() < 1e-13).all() and ((ends.sum(-1) - 1).abs() < 1e-13).all()
        assert (mean >= -1e-12).all() and (ends >= -1e-12).all()
        assert run.mean[~run.inside].isnan().all() and run.x[~run.inside].isnan().all()
        assert run.y.shape == (*run.mean.shape[:-1], system.n_slow) and run.y.shape[-2] == n_blocks
        stay = (run.y[..., 1:, :] - run.y[..., :-1, :]) / float(step)
        again = system.g(run.mean, run.y)[..., :-1, :]
        size = again.abs() + run.y[..., 1:, :].abs() / float(step)
        assert ((stay - again).abs() <= 1e-14 * size)[run.inside[..., :-1]].all()
    else:
        assert not (
            fine and period in (1, 2, 3) and period is not True and n_blocks == 2 and step == 0.05 and not euler
        )
    gap = attempt(
        "theory.predicted_gap",
        lambda: predicted_gap(system, y0, y0, period=period, step=step, euler=euler),
        *("y_before", "y", *names),
    )
    if gap is not None and torch.isfinite(gap).all():
        assert gap.abs().max() < 1e-9 if gap.numel() else True  # p_st does not move


@fuzzed
@given(
    starts(),
    st.sampled_from([0, [0, 0, 0], -1, 9, 0.0, None, "0"]),
    st.sampled_from([[0.0, 0.05], 0.02, [0.0], [1.0, 0.0], math.nan, None, "t", 0.0]),
    st.sampled_from([0.1, 1.0, [0.1, 0.2], 0.0, math.nan, None, "e"]),
    st.sampled_from(["mean", "state", "state", "both", None]),
    st.sampled_from([0, 1, -1, 1.5, None]),
    st.sampled_from([1e-6, 1e-6, 0.0, "r", None, math.nan]),
)
def test_sample_fast_slow_jumps(start, state0, t, eps, driven_by, seed, rtol):
    system, x0, y0, _ = start
    scale = float(system.A(system.uniform(1, seed=0)).abs().max())
    if scale > 1e3 and isinstance(t, (list, float)):
        t = [value / scale for value in t] if isinstance(t, list) else t / scale
    run = attempt(
        "theory.sample_fast_slow_jumps",
        lambda: sample_fast_slow_jumps(
            system,
            state0,
            y0,
            t,
            eps,
            seed=seed,
            driven_by=driven_by,
            x0=None if driven_by == "state" or seed == 1 else x0,
            rtol=rtol,
            max_steps=200,
        ),
        *("state0", "x0", "y0", "t", "eps", "seed", "driven_by", "rtol", "max_steps", "y"),
    )
    if run is not None:
        assert ((run.states >= 0) & (run.states < system.n_states)).all()
        assert ((run.occupation.sum(-1) - 1).abs() < 1e-9).all()


@fuzzed
@given(
    starts(),
    st.sampled_from([lambda y: y.sum(-1), lambda y: y, lambda y: y.sum(-1) * math.nan, lambda y: y.sum(-1) * 0]),
)
def test_self_driven_first_order(start, log_density):
    system, _, y, _ = start
    c = attempt(
        "theory.manifold.self_driven_first_order",
        lambda: self_driven_first_order(system, y, log_density),
        *("y", "log_density", "A"),
    )
    if c is not None:
        assert c.shape[-1] == system.n_states and (c.sum(-1).abs() <= 1e-9 * c.abs().sum(-1) + 1e-12).all()


@fuzzed
@given(st.sampled_from(SYSTEMS), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_long_periods_settle_on_p_st(system, seed, log_period):
    """From anywhere, the end of a long enough block is p_st(y), by another route than the elimination."""
    y = system.uniform(2, seed=seed)
    x = torch.full((2, system.n_states), 1.0 / system.n_states, dtype=F64)
    rate = float(system.A(y).abs().max()) or 1.0
    run = token_clock(system, x, y, period=10 ** (3 + log_period), n_blocks=1, step=0.5 / rate)
    p = stationary_distribution(system.A(y))
    assert (run.x[:, 0] - p).abs().max() < 1e-12
