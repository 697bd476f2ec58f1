"""Gates: zero at the start, alive at the first step, dead for good when two stand in a row."""

import pytest
import torch
from torch import nn

from network.gate import ProjectionGate, ScalarGate, build_gate, gate_parameters

pytestmark = pytest.mark.numerical

F64 = torch.float64
KINDS = ("scalar", "channel", "projection")


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_starts_closed_and_is_linear(kind):
    gate = build_gate(kind, 4).double()
    c, e = torch.randn(2, 3, 4, dtype=F64)
    assert torch.equal(gate(c), torch.zeros(3, 4, dtype=F64))
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.copy_(torch.randn_like(parameter))
    torch.testing.assert_close(gate(2 * c - 3 * e), 2 * gate(c) - 3 * gate(e))


def test_the_three_forms_are_nested():
    c = torch.randn(5, 4, dtype=F64)
    scalar, channel, projection = (build_gate(kind, 4).double() for kind in KINDS)
    with torch.no_grad():
        scalar.alpha.fill_(0.7)
        channel.alpha.fill_(0.7)
        projection.weight.copy_(0.7 * torch.eye(4, dtype=F64))
    torch.testing.assert_close(scalar(c), channel(c))
    torch.testing.assert_close(scalar(c), projection(c))


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_gate_hides_no_overflow(kind):
    c = torch.tensor([[1.0, float("inf")]], dtype=F64)
    assert bool(build_gate(kind, 2).double()(c).isnan().any())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gate_moves_first_and_what_feeds_it_second(kind):
    torch.manual_seed(0)
    source, gate = nn.Linear(3, 4, dtype=F64), build_gate(kind, 4).double()
    optimizer = torch.optim.SGD([*source.parameters(), *gate.parameters()], lr=0.1)
    x, target = torch.randn(8, 3, dtype=F64), torch.randn(8, 4, dtype=F64)
    for step in range(2):
        optimizer.zero_grad()
        (gate(source(x)) - target).square().sum().backward()
        assert all(bool((p.grad != 0).any()) for p in gate.parameters())
        assert bool((source.weight.grad != 0).any()) == (step == 1)
        optimizer.step()


def test_two_zero_factors_in_a_row_are_dead_for_good():
    # Why a configuration refuses them: after a hundred steps both are still exactly zero.
    torch.manual_seed(0)
    scalar, projection = ScalarGate(4).double(), ProjectionGate(4).double()
    optimizer = torch.optim.AdamW([*scalar.parameters(), *projection.parameters()], lr=0.1)
    c, target = torch.randn(2, 8, 4, dtype=F64)
    for _ in range(100):
        optimizer.zero_grad()
        (scalar(projection(c)) - target).square().sum().backward()
        optimizer.step()
    assert float(scalar.alpha.detach()) == 0.0 and not bool(projection.weight.any())


def test_unknown_gates_and_gate_parameters():
    with pytest.raises(ValueError, match="gate must be one of scalar, channel, projection; got 'tanh'"):
        build_gate("tanh", 4)
    module = nn.ModuleDict({"gate": ScalarGate(2), "other": nn.Linear(2, 2)})
    assert list(gate_parameters(module)) == ["gate.alpha"]
