"""Trajectories against solutions that are known: closed form at 30 digits, and another algorithm two orders finer."""

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import theory
from theory.errors import Status
from theory.flow import list_methods
from theory.flow.methods import collocation

pytestmark = pytest.mark.numerical

T = torch.tensor([0.0, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
STIFF = ["collocation", "rodas5p", "lsoda"]


def two_state_exact(x1, y, eps, times):
    """(x₁, y) of the two-state system, whose equations are linear: ε x₁' = 1 + y − 3 x₁, y' = x₁ − y."""
    with mpmath.workdps(40):
        e = mpmath.mpf(float(eps))
        M = mpmath.matrix([[-3 / e, 1 / e], [1, -1]])
        rest = mpmath.lu_solve(M, mpmath.matrix([-1 / e, 0]))
        values, vectors = mpmath.eig(M)
        weights = mpmath.lu_solve(vectors, mpmath.matrix([float(x1), float(y)]) - rest)
        rows = []
        for t in times:
            modes = mpmath.matrix([w * mpmath.exp(v * float(t)) for w, v in zip(weights, values, strict=True)])
            rows.append([float(mpmath.re(c)) for c in vectors * modes + rest])
    return np.array(rows)


def radau_reference(system, x0, y0, t, eps, rtol=1e-10):
    """SciPy's Radau, with a Jacobian by reverse mode."""
    n = system.n_states

    def field(u):
        x, y = u[:n], u[n:]
        return torch.cat([system.generator(y) @ x / eps, system.slow(x, y)])

    def jac(_t, u):
        return torch.func.jacrev(field)(torch.from_numpy(u)).numpy()

    start = np.concatenate([x0, y0])
    solution = solve_ivp(
        lambda _t, u: field(torch.from_numpy(u)).numpy(),
        (float(t[0]), float(t[-1])),
        start,
        "Radau",
        t_eval=t.numpy(),
        rtol=rtol,
        atol=1e-3 * rtol,
        jac=jac,
    )
    assert solution.status == 0
    return solution.y.T


def spike_start(system, count, seed=0):
    rng = np.random.default_rng(seed)
    x0 = torch.from_numpy(rng.dirichlet(np.full(system.n_states, 0.5), count))
    middle = 0.5 * (system.low + system.high)
    return x0, middle + 0.5 * (system.uniform(count, seed=seed) - middle)


@pytest.mark.parametrize("method", STIFF)
@pytest.mark.parametrize("name", theory.list_systems())
def test_every_method_on_every_system(method, name):
    system = theory.get_system(name)
    x0, y0 = spike_start(system, 1)
    eps = 1 / 64
    if name not in _references:
        _references[name] = radau_reference(system, x0[0].numpy(), y0[0].numpy(), T, eps, rtol=1e-8)
    rtol = 1e-6
    result = theory.simulate(system, x0[0], y0[0], T, eps, rtol=rtol, atol=1e-2 * rtol, method=method)
    assert result.status is Status.SUCCESS
    reference = torch.from_numpy(_references[name])
    y_size = reference[:, system.n_states :].abs().max().clamp_min(1.0)
    assert (result.x - reference[:, : system.n_states]).abs().max() <= 10 * rtol
    assert (result.y - reference[:, system.n_states :]).abs().max() <= 10 * rtol * y_size
    assert (result.x.sum(-1) - 1).abs().max() <= 1e-12


_references: dict[str, np.ndarray] = {}


@pytest.mark.parametrize("method, rtol", [("collocation", 1e-6), ("collocation", 1e-9), ("collocation", 1e-12)])
def test_two_state_closed_form_from_16_to_1e8(method, rtol):
    system = theory.get_system("two_state")
    periods = torch.tensor([16.0, 256.0, 65536.0, 1e8], dtype=torch.float64)
    x0 = torch.tensor([0.9, 0.1], dtype=torch.float64)
    result = theory.simulate(system, x0, [0.2], T, 1 / periods, rtol=rtol, atol=rtol, method=method)
    for i, period in enumerate(periods):
        exact = torch.from_numpy(two_state_exact(0.1, 0.2, 1 / period, T))
        assert (result.x[i, :, 1] - exact[:, 0]).abs().max() <= 3 * rtol
        assert (result.y[i, :, 0] - exact[:, 1]).abs().max() <= 3 * rtol


def test_the_boundary_layer_is_resolved():
    system = theory.get_system("two_state")
    eps = 1e-6
    t = torch.cat([torch.zeros(1, dtype=torch.float64), eps * torch.logspace(-2, 1.2, 12, dtype=torch.float64)])
    x0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    exact = torch.from_numpy(two_state_exact(0.0, 0.3, eps, t))
    for method in STIFF:
        result = theory.simulate(system, x0, [0.3], t, eps, rtol=1e-8, atol=1e-10, method=method)
        assert (result.x[:, 1] - exact[:, 0]).abs().max() <= 1e-7


def test_explicit_cross_check_at_large_eps():
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 3)
    kwargs: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
    explicit = theory.simulate(system, x0, y0, T, 0.1, method="dopri5", **kwargs)
    implicit = theory.simulate(system, x0, y0, T, 0.1, **kwargs)
    assert explicit.stats.method == "dopri5" and implicit.stats.method == "collocation"
    assert (explicit.x - implicit.x).abs().max() < 1e-8
    assert (explicit.y - implicit.y).abs().max() < 1e-8


@pytest.mark.parametrize("method", ["collocation", "rodas5p"])
def test_a_batch_gives_what_its_trajectories_give_alone(method):
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 6)
    eps = torch.logspace(-1, -5, 6, dtype=torch.float64)
    together = theory.simulate(system, x0, y0, T, eps, method=method)
    for i in range(6):
        alone = theory.simulate(system, x0[i], y0[i], T, float(eps[i]), method=method)
        assert alone.x.shape == (len(T), system.n_states)
        assert (together.x[i] - alone.x).abs().max() < 1e-6
        assert (together.y[i] - alone.y).abs().max() < 1e-6


def test_a_large_batch_is_evaluated_in_parts(monkeypatch):
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 7)
    whole = theory.simulate(system, x0, y0, T, 1e-3)
    monkeypatch.setattr(collocation, "_MOST_NUMBERS", 2 * 5 * 25)
    parts = theory.simulate(system, x0, y0, T, 1e-3)
    assert (parts.x - whole.x).abs().max() < 1e-6 and (parts.y - whole.y).abs().max() < 1e-6


def test_batches_broadcast_and_keep_their_shape():
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 3)
    eps = torch.tensor([[0.1], [0.01]], dtype=torch.float64)
    result = theory.simulate(system, x0, y0, T, eps)
    assert result.x.shape == (2, 3, len(T), 5) and result.y.shape == (2, 3, len(T), 2)
    assert result.end.shape == (2, 3) and result.statuses.shape == (2, 3) and result.eps.shape == (2, 3)
    torch.testing.assert_close(result.x[0, :, 0], x0, rtol=0, atol=0)
    assert result.stats.steps > 0 and result.stats.evaluations > 0 and result.stats.seconds > 0


def test_cost_hardly_depends_on_eps():
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 16)
    cost = [theory.simulate(system, x0, y0, T, 1 / P).stats.evaluations for P in (16.0, 65536.0)]
    assert cost[1] <= 1.5 * cost[0]


def test_error_follows_the_tolerance():
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 8)
    fine = theory.simulate(system, x0, y0, T, 1e-3, rtol=1e-12, atol=1e-13)
    for method, tolerances in (("collocation", (1e-4, 1e-6, 1e-8, 1e-10)), ("rodas5p", (1e-4, 1e-6))):
        for rtol in tolerances:
            result = theory.simulate(system, x0, y0, T, 1e-3, rtol=rtol, atol=rtol, method=method)
            assert (result.x - fine.x).abs().max() < 5 * rtol
            assert (result.y - fine.y).abs().max() < 5 * rtol


@pytest.mark.parametrize("rtol", [1e-6, 1e-9, 3e-10])
def test_the_worst_of_a_mixed_batch_is_within_ten_tolerances(rtol):
    """At 1e-9 or at 3e-10, as the processor rounds, one long step of one trajectory was off by 24 between its nodes."""
    queue = theory.get_system("birth_death")
    x0 = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(16), 128))
    y0, eps = queue.uniform(128, seed=1), 2.0 ** -torch.linspace(4, 16, 128, dtype=torch.float64)
    times = torch.linspace(0.0, 2.0, 21, dtype=torch.float64)
    fine = theory.simulate(queue, x0, y0, times, eps, rtol=1e-12, atol=1e-14)
    result = theory.simulate(queue, x0, y0, times, eps, rtol=rtol, atol=1e-2 * rtol)
    assert (result.x - fine.x).abs().max() < 10 * rtol
    assert (result.y - fine.y).abs().max() < 10 * rtol


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name, count, rtol",
    [
        ("driven_cycle", 2, 1e-6),
        ("attention_causal", 2, 1e-6),
        pytest.param("driven_cycle", 6, 1e-8, marks=pytest.mark.slow),
        pytest.param("gene_switch", 4, 1e-6, marks=pytest.mark.slow),
        pytest.param("sodium_channel", 4, 1e-6, marks=pytest.mark.slow),
    ],
)
def test_mixed_batches_of_other_systems_are_within_ten_tolerances_of_radau(name, count, rtol):
    system = theory.get_system(name)
    x0, y0 = spike_start(system, count, seed=3)
    eps = torch.logspace(-1.2, -4.8, count, dtype=torch.float64)
    times = torch.linspace(0.0, 2.0, 21, dtype=torch.float64)
    result = theory.simulate(system, x0, y0, times, eps, rtol=rtol, atol=1e-2 * rtol)
    for i in range(count):
        start = x0[i].numpy(), y0[i].numpy()
        reference = torch.from_numpy(radau_reference(system, *start, times, float(eps[i]), rtol=1e-2 * rtol))
        x, y = reference[:, : system.n_states], reference[:, system.n_states :]
        assert (result.x[i] - x).abs().max() <= 10 * rtol
        assert (result.y[i] - y).abs().max() <= 10 * rtol * y.abs().max().clamp_min(1.0)


def test_start_time_is_only_a_label():
    system = theory.get_system("two_state")
    x0, y0 = spike_start(system, 2)
    here = theory.simulate(system, x0, y0, T, 1e-4)
    there = theory.simulate(system, x0, y0, T + 1024.0, 1e-4)
    assert (here.x[:, 3:] - there.x[:, 3:]).abs().max() < 1e-6
    assert there.end.tolist() == [1026.0, 1026.0]


def test_a_long_decay_returns_to_rest():
    system = theory.get_system("two_state")
    x0, y0 = spike_start(system, 2)
    result = theory.simulate(system, x0, y0, [0.0, 50.0], 1e-3, rtol=1e-9)
    assert (result.y[:, -1] - 0.5).abs().max() < 1e-8


def test_methods_are_found_by_name():
    assert list_methods() == ["collocation", "dopri5", "lsoda", "rodas5p"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_other_devices_take_the_method_that_runs_there():
    system = theory.get_system("driven_cycle")
    x0, y0 = spike_start(system, 4)
    there = theory.simulate(system, x0.cuda(), y0.cuda(), T, 1e-3)
    here = theory.simulate(system, x0, y0, T, 1e-3)
    assert there.stats.method == "rodas5p" and there.x.is_cuda
    assert (there.x.cpu() - here.x).abs().max() < 1e-5
