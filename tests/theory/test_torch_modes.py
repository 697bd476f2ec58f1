"""Modes of torch that must change no result: autocast, default dtype and device, no_grad, a recorded graph, compile."""

import pickle
import subprocess
import sys

import pytest
import sympy
import torch
from scipy.sparse import csc_array

import theory
from theory.errors import NotUniqueError, SimulationError
from theory.flow import list_methods
from verify.fits import get_fit, list_fits
from verify.manifold_gap import measurement as manifold_gap

pytestmark = pytest.mark.numerical

F64 = torch.float64


def rates(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


A = theory.from_rates(rates(20, 5, 5))
DOUBLE = theory.from_rates(A.double())
Q = torch.softmax(rates(20, 5, seed=1).double(), -1).float()
UNDER_AUTOCAST = {
    "certificate": lambda: theory.certificate(A, Q),
    "expected_occupation_tv": lambda: theory.expected_occupation_tv(A, 3.0),
    "group_inverse": lambda: theory.group_inverse(A),
    "kemeny_constant": lambda: theory.kemeny_constant(A),
    "occupation_chi2": lambda: theory.occupation_chi2(A[0], Q, 3.0)[0],
    "occupation_covariance": lambda: theory.occupation_covariance(A),
    "occupation_interval": lambda: theory.occupation_interval(A, Q, 3.0),
    "occupation_mean": lambda: theory.occupation_mean(A, Q, 3.0),
    "propagate": lambda: theory.propagate(A, Q, [0.0, 1.0]),
    "relaxation_radius": lambda: theory.relaxation_radius(A, [1.0]),
    "sensitivity": lambda: theory.sensitivity(A, A.flip(0)),
    "solve_sum_zero": lambda: theory.solve_sum_zero(A, Q - Q.flip(0)),
    "spectral_gap": lambda: theory.spectral_gap(A),
    "stationary_distribution": lambda: theory.stationary_distribution(A),
}


@pytest.mark.parametrize("name", UNDER_AUTOCAST)
def test_autocast_changes_nothing(name):
    outside = UNDER_AUTOCAST[name]()
    with torch.autocast("cpu", torch.bfloat16):
        assert (A[0] @ A[0]).dtype == torch.bfloat16  # autocast is at work
        inside = UNDER_AUTOCAST[name]()
        assert torch.is_autocast_enabled("cpu")
    assert inside.dtype == outside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.fixture
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("default_dtype", [torch.bfloat16, torch.float16, F64], indirect=True)
def test_python_numbers_are_double_whatever_the_default_dtype(default_dtype):
    system = theory.get_system("two_state")
    y = torch.tensor([0.3], dtype=F64)
    assert theory.slow_manifold(system, 1)(y, 0.1).dtype == F64
    assert theory.reduced_flow(system, y, [0.0, 1.0]).y.dtype == F64
    assert theory.propagate(DOUBLE[0], [0.1, 0.2, 0.3, 0.2, 0.2], [0.1]).dtype == F64
    assert theory.stationary_distribution(sympy.Matrix([[-1, 2], [1, -2]])) == sympy.Matrix([2, 1]) / 3


def test_points_are_drawn_on_the_cpu_whatever_the_default_device():
    system = theory.get_system("two_state")
    drawn = system.uniform(3, seed=1)
    with torch.device("meta"):
        again = system.uniform(3, seed=1)
    assert torch.equal(again, drawn)


@pytest.fixture
def every_warning():
    """Of PyTorch too, which warns once a process of a number taken from a tensor that records a graph."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


class Learned(torch.nn.Module):
    """A(y) and g(x, y) with parameters, as a user trains them."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.W = torch.nn.Parameter(torch.randn(9, generator=rng, dtype=F64))
        self.v = torch.nn.Parameter(torch.randn(3, generator=rng, dtype=F64))

    def system(self):
        return theory.FastSlowSystem(
            generator=lambda y: theory.from_rates((1 + y * self.W).square().unflatten(-1, (3, 3)) + 0.1),
            slow=lambda x, y: 0.1 * torch.tanh(x @ self.v)[..., None] - 0.1 * y,
            n_states=3,
            n_slow=1,
            low=-1.0,
            high=1.0,
        )


@pytest.mark.usefixtures("every_warning")
@pytest.mark.parametrize("method", list_methods())
def test_systems_whose_parameters_are_being_trained_are_simulated(method):
    learned = Learned()
    eps, y0, x0 = 0.5, torch.tensor([[0.3], [-0.2]], dtype=F64), torch.full((3,), 1 / 3, dtype=F64)
    followed = theory.simulate(learned.system(), x0, y0, [0.0, 0.5], eps, method=method)
    learned.requires_grad_(False)
    plain = theory.simulate(learned.system(), x0, y0, [0.0, 0.5], eps, method=method)
    assert not followed.y.requires_grad
    # machine code where nothing is followed, torch where something is: the same within the tolerances of either
    within = 2 * 10 * (1e-6 + 1e-9)
    assert torch.allclose(followed.y, plain.y, rtol=0, atol=within)
    assert torch.allclose(followed.x, plain.x, rtol=0, atol=within)


@pytest.mark.thorough
@pytest.mark.usefixtures("every_warning")
@pytest.mark.parametrize("observe", ["clock", "jumps", "ode"])
def test_systems_whose_parameters_are_being_trained_are_measured(observe, monkeypatch):
    monkeypatch.setattr(manifold_gap, "TRAIN_PAIRS", 300)
    monkeypatch.setattr(manifold_gap, "TEST_POINTS", 20)
    learned = Learned()
    followed = manifold_gap.measure(learned.system(), [64, 128], observe=observe)
    learned.requires_grad_(False)
    plain = manifold_gap.measure(learned.system(), [64, 128], observe=observe)
    # trajectories by machine code where nothing is followed, by torch where something is: within 10 × 1e-10 each
    bounds = {"rel": 0, "abs": 2 * 10 * 1e-10} if observe == "ode" else {"rel": 1e-12}
    assert [row.gap_tv for row in followed.rows] == pytest.approx([row.gap_tv for row in plain.rows], **bounds)


def test_a_sparse_generator_propagates_a_start_that_is_followed():
    one = DOUBLE[0].numpy()
    p0 = torch.softmax(torch.zeros(5, dtype=F64, requires_grad=True), 0)
    times = torch.tensor([0.5, 2.0], dtype=F64, requires_grad=True)
    sparse = theory.propagate(csc_array(one), p0, times)
    assert not sparse.requires_grad
    dense = theory.propagate(one, p0.detach(), times.detach())
    assert torch.allclose(sparse, dense, rtol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("fit", list_fits())
def test_fits_train_where_gradients_are_off(fit, mode, monkeypatch):
    monkeypatch.setattr("verify.fits.adamw.STEPS", 100)
    system = theory.get_system("double_well" if fit == "varpro" else "two_state")  # where varpro optimises
    with mode():
        y = system.uniform(400, seed=0)
        x = theory.stationary_distribution(system.A(y))
        off = get_fit(fit)(y, x, seed=0).phi_theta(y)
    y, x = y.clone(), x.clone()
    assert torch.equal(off, get_fit(fit)(y, x, seed=0).phi_theta(y).detach())


@pytest.mark.parametrize(
    "function",
    [
        theory.occupation_covariance,
        lambda A: theory.occupation_mean(A, torch.full_like(A[..., 0], 0.2), 2.0),
        lambda A: theory.occupation_interval(A, torch.full_like(A[..., 0], 0.2), 2.0),
        lambda A: theory.expected_occupation_tv(A, 2.0),
        theory.nearest_generator,
        theory.nearest_generator_shift,
        theory.spectral_gap,
        theory.kemeny_constant,
    ],
)
def test_under_vmap(function):
    assert torch.allclose(torch.func.vmap(function)(DOUBLE), function(DOUBLE), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("error", [NotUniqueError("two classes", [[0], [1]]), SimulationError("stopped", {"y": [1.0]})])
def test_errors_travel_between_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error) and str(back) == str(error) and vars(back) == vars(error)


P_ST_IS_TRACED = """
import torch, theory
R = torch.rand(5, 4, 4, dtype=torch.float64, requires_grad=True)
def f(R):
    return theory.stationary_distribution(theory.from_rates(R))[..., 0].sum()
compiled = torch.compile(f, backend="eager")
value = compiled(R)
slope, = torch.autograd.grad(value, R)
assert torch.equal(value, f(R)) and torch.equal(slope, torch.autograd.grad(f(R), R)[0])
"""
MANIFOLD_IS_TRACED = """
import torch, theory
system = theory.get_system("driven_cycle")
y, phi = system.uniform(3, seed=0), theory.slow_manifold(system, 1)
assert torch.equal(torch.compile(lambda y: phi(y, 0.01), backend="eager")(y), phi(y, 0.01))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("code", [P_ST_IS_TRACED, pytest.param(MANIFOLD_IS_TRACED, marks=pytest.mark.slow)])
def test_torch_compile_calls_the_compiled_kernels_from_its_first_trace_on(code):
    """In a process of its own: the shape checks of these tests cannot be traced."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_torch_is_not_made_to_import_its_compiler():
    code = """
import sys, torch, theory
theory.stationary_distribution(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
