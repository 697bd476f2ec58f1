"""The two-variable model of the gate: closed forms, and the path of a real coupling near its saddle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from network import FastSlowConfig, FastSlowLM
from network.evaluate import cross_entropy
from verify.trained.gate_dynamics import GateModel

F64 = torch.float64
SIZE = st.floats(0.05, 4.0)
START = st.floats(-1, 1).filter(lambda z: z == 0 or abs(z) > 1e-30)  # SciPy's step control squares errors


@given(kappa=SIZE, h=st.floats(0, 4), decay=st.floats(0, 4), slope=START, alpha=START)
def test_the_path_is_that_of_an_integrator(kappa, h, decay, slope, alpha):
    def flow(_, z):
        return [-z[1] - h * z[0], -(kappa**2) * z[0] - decay * z[1]]

    t = np.linspace(0, 1.5, 4)
    found = solve_ivp(flow, (0, 1.5), [alpha, slope], t_eval=t, rtol=1e-11, atol=1e-13, method="DOP853")
    a, s = GateModel(kappa, h, decay).path(torch.from_numpy(t), slope, alpha)
    size = math.exp(1.5 * 12)  # what e^{‖A‖t} can make of the integrator's tolerance
    np.testing.assert_allclose(np.stack([a, s]), found.y, rtol=1e-8, atol=1e-13 * size)


@given(kappa=SIZE, h=st.floats(-4, 4), decay=st.floats(0, 4))
def test_the_exponents_are_the_eigenvalues_and_their_sign_is_the_condition(kappa, h, decay):
    model = GateModel(kappa, h, decay)
    eigenvalues = sorted(np.linalg.eigvals(np.array([[-h, -1.0], [-(kappa**2), -decay]])).real, reverse=True)
    np.testing.assert_allclose(model.exponents, eigenvalues, rtol=1e-9, atol=1e-12 * (1 + abs(h) + decay + kappa**2))
    if abs(kappa**2 - h * decay) > 1e-9:
        assert model.escapes == (kappa**2 > h * decay)


def test_it_escapes_when_it_says_and_closes_where_the_signal_decays_faster_than_it_is_trained():
    model = GateModel(kappa=1.0, h=0.5)
    when = model.escape_time(slope=1e-4, size=0.1)
    alpha, _ = model.path(torch.tensor([when]), slope=1e-4)
    assert abs(float(alpha)) == pytest.approx(0.1, rel=1e-3)
    shut = GateModel(kappa=0.5, h=1.0, decay=0.5)
    assert not shut.escapes and shut.escape_time(1e-4, 0.1) == math.inf
    alpha, s = shut.path(torch.tensor([200.0]), slope=0.3, alpha=0.2)
    assert abs(float(alpha)) < 1e-8 and abs(float(s)) < 1e-8
    assert GateModel(1.0).escape_time(0.0, 0.1) == math.inf
    with pytest.raises(ValueError, match="kappa must be finite and >= 0, got"):
        GateModel(-1.0)


class Trained:
    """A coupled model in float64 whose coupling alone moves: its loss, its slope at a shut gate, and gradient flow."""

    def __init__(self, seed):
        config = FastSlowConfig(vocab_size=9, block_size=24, n_layer=2, n_embd=8, n_head=2, period=4)
        self.model = FastSlowLM(config, generator=torch.Generator().manual_seed(seed)).double()
        tokens = torch.randint(9, (4, 25), generator=torch.Generator().manual_seed(seed + 1))
        self.inputs, self.targets = tokens[:, :-1], tokens[:, 1:]
        self.model.requires_grad_(False)
        coupling = self.model.coupling
        self.alpha = coupling.gate.alpha.requires_grad_()
        self.theta = [p.requires_grad_() for p in (*coupling.slow.parameters(), *coupling.phi_theta.parameters())]

    def gradients(self):
        loss = cross_entropy(self.model(self.inputs), self.targets)
        found = torch.autograd.grad(loss, [self.alpha, *self.theta])
        return found[0], found[1:]

    def at(self, alpha):
        with torch.no_grad():
            self.alpha.fill_(alpha)
        return self.gradients()

    def constants(self, step=1e-4):
        """s, κ and h: the gradient of θ is α ∇s + O(α²), that of α is s + h α + O(α²)."""
        (up, above), (down, below) = self.at(step), self.at(-step)
        slope = float(self.at(0.0)[0])
        kappa = math.sqrt(sum(float(((a - b) / (2 * step)).square().sum()) for a, b in zip(above, below, strict=True)))
        return slope, kappa, float((up - down) / (2 * step))

    def start_at(self, slope):
        """Move the bias of φ_θ so that s is `slope`; s is linear in it."""
        bias = self.model.coupling.phi_theta.out.bias
        _, above = self.at(1e-4)
        _, below = self.at(-1e-4)
        direction = ((above[-1] - below[-1]) / 2e-4).detach()
        assert direction.shape == bias.shape
        now = float(self.at(0.0)[0])
        with torch.no_grad():
            bias += (slope - now) / float(direction.square().sum()) * direction

    def flow(self, time, steps):
        """α after gradient flow by the midpoint rule."""
        h = time / steps
        variables = [self.alpha, *self.theta]
        for _ in range(steps):
            start = [v.detach().clone() for v in variables]
            for size in (h / 2, h):
                slope, others = self.gradients()
                with torch.no_grad():
                    for v, at, g in zip(variables, start, (slope, *others), strict=True):
                        v.copy_(at - size * g)
        return float(self.alpha.detach())


@pytest.mark.numerical
def test_a_real_coupling_leaves_its_saddle_along_the_path_of_the_model():
    ratios = []
    for slope in (1e-1, 2.5e-2):
        run = Trained(seed=3)
        run.start_at(slope)
        measured_slope, kappa, h = run.constants()
        assert measured_slope == pytest.approx(slope, rel=1e-6)
        run.at(0.0)
        model = GateModel(kappa, h)
        assert model.escapes
        time = 1.2 / model.exponents[0]
        predicted, _ = model.path(torch.tensor([time]), slope)
        ratios.append(run.flow(time, 30) / float(predicted) - 1)
    # The leading term at the saddle: a start four times nearer to it is some four times nearer to the path.
    assert abs(ratios[1]) < 0.5 * abs(ratios[0]) and abs(ratios[1]) < 0.02, ratios


def test_an_objective_of_its_own_leaves_no_saddle():
    # s held at s_own by what trains c: α̇ = −s_own − hα has one rest point, and it is not 0.
    h, own, alpha = 2.0, -0.3, 0.0
    for _ in range(4000):
        alpha += 0.005 * (-own - h * alpha)
    assert alpha == pytest.approx(-own / h)
