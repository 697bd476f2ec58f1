"""Systems as machine code: A, g and their derivatives as autograd has them, for the processor numba is told."""

import dataclasses

import numpy as np
import pytest
import torch
from numba.core import config

from theory import FastSlowSystem
from theory.captured import captured, native
from theory.captured.native import compile_graph
from theory.captured.scalars import Graph
from theory.systems import get_system, list_systems

EPS = float(np.finfo(float).eps)
pytestmark = pytest.mark.numerical


def branching(y):
    fast = torch.stack([-y[..., 0], y[..., 0]], -1)
    A = torch.stack([fast, -fast], -1)
    return A if float(y.sum()) > 0 else 2 * A


def two_state(generator=None):
    def rates(y):
        up, down = 1 + y[..., 0] ** 2, torch.exp(-y[..., 0])
        return torch.stack([torch.stack([-up, down], -1), torch.stack([up, -down], -1)], -2)

    return FastSlowSystem(
        generator=generator or rates, slow=lambda x, y: x[..., 1:] - y, n_states=2, n_slow=1, low=[0.1], high=[2.0]
    )


@pytest.mark.parametrize("name", list_systems())
def test_values_and_derivatives_are_those_of_torch(name):
    system = get_system(name)
    code = captured(system)
    assert code is not None, "a built-in system runs as machine code"
    draw = torch.Generator().manual_seed(5)
    y = system.low + (system.high - system.low) * torch.rand(2, system.n_slow, generator=draw, dtype=torch.float64)
    x = torch.rand(2, system.n_states, generator=draw, dtype=torch.float64)
    x = x / x.sum(-1, keepdim=True)
    A, g = code.values(x, y)
    dA, dx, dy = code.derivatives(x, y)
    for i in range(2):
        pairs = [(A[i], system.generator(y[i])), (g[i], system.slow(x[i], y[i]))]
        pairs.append((dA[i], torch.func.jacfwd(system.generator)(y[i]).movedim(-1, 0)))
        theirs = torch.func.jacfwd(system.slow, argnums=(0, 1))(x[i], y[i])
        pairs += [(dx[i], theirs[0]), (dy[i], theirs[1])]
        for mine, other in pairs:
            scale = max(float(other.abs().max()), float(A[i].max()))
            # some dozen operations for an entry, each with one rounding, on terms no larger than the largest rate
            assert np.abs(mine - other.numpy()).max() <= 200 * EPS * scale


def switched(x, y):
    """Truth values as numbers: in products and sums, turned, joined, compared, chosen between, and converted."""
    above, below = y > 0.3, y < 0.5
    both = above & below
    chosen = torch.where(both, y, above)
    return (
        x[..., 1:] * above
        + below.to(y) * y
        - (~above).double()
        + chosen
        + (both == below) * x[..., :1]
        - (1 - below * y)
    )


@pytest.mark.parametrize("value", [0.2, 0.4, 0.7])
def test_truth_values_are_numbers_in_arithmetic(value):
    system = dataclasses.replace(two_state(), slow=switched)
    code = captured(system)
    assert code is not None
    x, y = torch.tensor([[0.25, 0.75]], dtype=torch.float64), torch.tensor([[value]], dtype=torch.float64)
    assert code.values(x, y)[1][0, 0] == pytest.approx(float(switched(x, y)[0, 0]), rel=8 * EPS, abs=0)
    _, dx, dy = code.derivatives(x, y)
    theirs = torch.autograd.functional.jacobian(switched, (x[0], y[0]))
    np.testing.assert_allclose(dx[0], theirs[0].numpy(), rtol=8 * EPS)
    np.testing.assert_allclose(dy[0], theirs[1].numpy(), rtol=8 * EPS)


def test_what_asks_for_a_number_or_computes_in_single_precision_is_left_to_torch():
    assert captured(two_state(branching)) is None
    single = lambda x, y: y + 0.8 * (y > 0.3)  # noqa: E731  0.8 times a truth value is 0.800000012 for torch
    assert captured(dataclasses.replace(two_state(), slow=single)) is None
    either = lambda x, y: y * ((y > 0.3) + (y > 0.5))  # noqa: E731  1 where both hold, for torch, and not 2
    assert captured(dataclasses.replace(two_state(), slow=either)) is None


def test_a_compiler_that_fails_is_said_once(monkeypatch):
    def fails(functions):
        raise AttributeError("module 'llvmlite.binding' has no attribute 'create_pipeline_tuning_options'")

    monkeypatch.setattr(native, "compile_graph", fails)
    system = two_state()
    with pytest.warns(RuntimeWarning, match="cannot be compiled .*create_pipeline_tuning_options.*more slowly"):
        assert captured(system) is None
    assert captured(system) is None  # a second warning would be an error here


def test_it_is_compiled_for_the_processor_that_numba_is_told(monkeypatch):
    """On a processor without fused multiply-add, (1 + u)(1 − u) − 1 is 0 for u = 2^-30; fused it is −2^-60."""
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    monkeypatch.setattr(config, "CPU_FEATURES", "")
    graph = Graph(3, 100)
    a, b, c = graph.inputs
    code = compile_graph({"f": (graph, [graph.binary("add", graph.binary("mul", a, b), c)], 3, 0)})
    out = np.empty((1, 1))
    code.call("f", np.array([[1 + 2.0**-30, 1 - 2.0**-30, -1.0]]), out)
    assert out[0, 0] == 0.0
