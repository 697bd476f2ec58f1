"""Every arm forward and backward on the `meta` device, which refuses what mixes devices as a GPU would."""

import pytest
import torch

from network import Coupling, FastSlowConfig, FastSlowLM
from network.config import ARMS

SIZES = {"vocab_size": 11, "block_size": 12, "n_layer": 2, "n_embd": 8, "n_head": 2, "period": 4}


@pytest.mark.parametrize("gate", ["scalar", "channel", "projection"])
@pytest.mark.parametrize("arm", ARMS)
def test_forward_and_backward_on_meta(arm, gate):
    for window in (None, 3):
        model = FastSlowLM(FastSlowConfig(arm=arm, gate=gate, attention_window=window, **SIZES)).to("meta")
        for length in (1, 4, 11):
            tokens = torch.zeros(2, length, dtype=torch.int64, device="meta")
            logits = model(tokens)
            assert logits.device.type == "meta" and logits.shape == (2, length, 11)
            logits.sum().backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert trained and all(p.grad is not None and p.grad.device.type == "meta" for p in trained)


def test_mixed_devices_are_refused_on_meta():
    model = FastSlowLM(FastSlowConfig(**SIZES)).to("meta")
    with pytest.raises(ValueError, match=r"tokens are on cpu and the model on meta: move one with \.to\(device\)"):
        model(torch.zeros(2, 8, dtype=torch.int64))


@pytest.mark.parametrize("arm", ["frozen", "coupled", "blind", "local"])
def test_the_coupling_alone_gives_zeros_to_what_is_shorter_than_a_period(arm):
    coupling = Coupling(FastSlowConfig(arm=arm, **SIZES), torch.Generator().manual_seed(0)).requires_grad_(False)
    for gate in coupling.gate.parameters():
        gate.fill_(1.0)
    x = torch.randn(2, 11, 8, generator=torch.Generator().manual_seed(1))
    signal = coupling(x)
    assert signal.shape == x.shape and signal[:, 3:].abs().min() > 0
    for length in (1, 2, 3):
        assert torch.equal(coupling(x[:, :length]), torch.zeros(2, length, 8))
    assert torch.equal(signal[:, :3], torch.zeros(2, 3, 8))
    for length in range(4, 11):  # what is longer leaves alone what was there
        torch.testing.assert_close(coupling(x[:, :length]), signal[:, :length], rtol=1e-5, atol=1e-6)


def test_what_the_coupling_refuses():
    with pytest.raises(ValueError, match="arm='dense' has no coupling; take arm='coupled'"):
        Coupling(FastSlowConfig(arm="dense", **SIZES))
    coupling = Coupling(FastSlowConfig(**SIZES))
    with pytest.raises(ValueError, match="built for 3: build it with block_size >= 16"):
        coupling(torch.zeros(2, 16, 8))
    with pytest.raises(ValueError, match="a batch of 1 has none"):
        Coupling(FastSlowConfig(arm="blind", **SIZES))(torch.zeros(1, 8, 8))
