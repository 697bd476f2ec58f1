"""A saved φ_θ comes back as it was; a file that is damaged, foreign or dishonest about its size is refused by path."""

import json

import pytest
import torch

from network import PhiTheta
from theory import certificate, get_system
from verify.command_line import UsageError, check_device
from verify.manifold_gap.phi_theta_file import load_phi_theta, phi_theta_bytes
from verify.manifold_gap.user_code import check_phi_theta

pytestmark = pytest.mark.numerical

F64 = torch.float64


@pytest.fixture
def phi():
    made = PhiTheta(2, 3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    made.standardise([0.5, -0.5], [2.0, 3.0])
    return made


def saved(weights, header):
    from safetensors.torch import save

    return save(weights, None if header is None else {"phi_theta": header, "period": "8"})


def test_there_and_back(phi, tmp_path):
    file = tmp_path / "phi.safetensors"
    file.write_bytes(phi_theta_bytes(phi, 8))
    state = torch.get_rng_state()
    back = load_phi_theta(file, "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    y = torch.rand(4, 2, dtype=F64)
    assert torch.equal(back(y), phi(y)) and (back.width, back.depth, back.activation) == (5, 2, "tanh")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "nonsense",
        "null",
        "[]",
        "{}",
        '{"n_slow": 2}',
        {"width": 10**9},
        {"depth": 10**9},
        {"n_states": 4},
        {"n_slow": 1},
        {"head": "softmax"},
        {"activation": None},
        {"more": 1},
        {"width": "5"},
    ],
)
def test_a_header_that_does_not_describe_the_weights(phi, tmp_path, header):
    """A width of 10⁹ must not be allocated before the weights are looked at."""
    if isinstance(header, dict):
        names = ("n_slow", "n_states", "width", "depth", "head", "activation")
        header = json.dumps({name: getattr(phi, name) for name in names} | header)
    file = tmp_path / "phi.safetensors"
    file.write_bytes(saved({k: v.contiguous() for k, v in phi.state_dict().items()}, header))
    with pytest.raises(UsageError, match=str(file)):
        load_phi_theta(file, "cpu")


@pytest.mark.parametrize("spoil", ["empty", "missing", "integers", "extra"])
def test_weights_that_do_not_fit(phi, tmp_path, spoil):
    names = ("n_slow", "n_states", "width", "depth", "head", "activation")
    header = json.dumps({name: getattr(phi, name) for name in names})
    weights = {name: tensor.contiguous() for name, tensor in phi.state_dict().items()}
    if spoil == "empty":
        weights = {}
    elif spoil == "missing":
        del weights["out.bias"]
    elif spoil == "integers":
        weights = {name: tensor.long() for name, tensor in weights.items()}
    else:
        weights["hidden.2.weight"] = torch.zeros(5, 5, dtype=F64)
    file = tmp_path / "phi.safetensors"
    file.write_bytes(saved(weights, header))
    with pytest.raises(UsageError, match="do not fit its header"):
        load_phi_theta(file, "cpu")


def test_what_is_no_such_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_phi_theta(tmp_path / "nothing", "cpu")
    cut = tmp_path / "cut"
    cut.write_bytes(b"\x10\x00")
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        load_phi_theta(cut, "cpu")


@pytest.mark.parametrize("name", ["two_state", "sodium_channel", "double_well"])
@pytest.mark.parametrize("ulps", [0, 1, 20, 40, 47, 49, 60, 200, 10**4])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_phi_is_accepted_at_the_start_where_the_certificate_accepts_it(name, ulps, sign):
    """Mass off by so many units of 2^-53; two states may be off by 48."""
    system = get_system(name)
    n = system.n_states

    def phi(y):
        x = torch.full((*y.shape[:-1], n), 1.0 / n, dtype=F64)
        x[..., 0] += sign * ulps * 2.0**-53
        return x

    y = system.uniform(8, seed=0)

    def accepts(check):
        try:
            check()
        except ValueError:
            return False
        return True

    at_the_start = accepts(lambda: check_phi_theta(phi, system, "mine.py:phi", "cpu"))
    assert at_the_start == accepts(lambda: certificate(system.A(y), phi(y)))
    assert at_the_start or ulps
    assert not at_the_start or ulps < 10**4


@pytest.mark.parametrize(
    "name, reason", [("gpu", "not a device"), ("meta", "has no float64"), ("cuda:99", "no such CUDA")]
)
def test_devices_that_cannot_be_used(name, reason):
    with pytest.raises(UsageError, match=f"--device {name}: {reason}"):
        check_device(name)
