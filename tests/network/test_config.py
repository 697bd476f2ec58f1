"""What a configuration accepts, refuses, and says while refusing."""

import dataclasses
import json

import pytest

from network import FastSlowConfig
from network.config import ALL_ARMS, GATES


def test_the_defaults_are_those_of_the_design():
    assert FastSlowConfig().to_dict() == {
        "vocab_size": 256,
        "block_size": 256,
        "n_layer": 4,
        "n_slow_layer": 1,
        "n_embd": 64,
        "n_head": 4,
        "period": 8,
        "arm": "coupled",
        "gate": "scalar",
        "slow_attention": "block_causal",
        "compute_frozen": False,
        "attention_window": None,
        "gate_start": 0.0,
        "n_slow": 2,
    }


def test_it_is_frozen_and_equal_by_value():
    config = FastSlowConfig(period=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.period = 8  # type: ignore[misc]
    assert config == FastSlowConfig(period=4) and hash(config) == hash(FastSlowConfig(period=4))


@pytest.mark.parametrize("arm", ALL_ARMS)
@pytest.mark.parametrize("gate", GATES)
def test_json_round_trip(arm, gate):
    config = FastSlowConfig(arm=arm, gate=gate, block_size=100, period=7)
    assert FastSlowConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_mapping_of_another_version_shows_the_difference():
    values = FastSlowConfig().to_dict()
    values["dropout"] = values.pop("period")
    with pytest.raises(ValueError, match=r"missing \['period'\], unknown \['dropout'\]"):
        FastSlowConfig.from_dict(values)
    with pytest.raises(ValueError, match="must be a mapping, got list"):
        FastSlowConfig.from_dict([])


def test_a_record_from_before_the_windows_means_no_window():
    values = FastSlowConfig(period=4).to_dict()
    del values["attention_window"], values["gate_start"]
    assert FastSlowConfig.from_dict(values) == FastSlowConfig(period=4)


def test_epsilon_and_the_place_of_the_coupling():
    assert FastSlowConfig(period=16).epsilon == 1 / 16
    assert [FastSlowConfig(n_layer=n).coupling_layer for n in (1, 2, 3, 4, 6)] == [1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"period": 0}, "period must be an integer >= 1, got 0"),
        ({"period": -3}, "period must be an integer >= 1, got -3"),
        ({"period": 2.5}, "period must be an integer >= 1, got 2.5"),
        ({"period": True}, "period must be an integer >= 1, got True"),
        ({"period": 257}, "period = 257 exceeds block_size = 256.*take period <= block_size"),
        ({"vocab_size": 0}, "vocab_size must be an integer >= 1"),
        ({"n_layer": 0}, "n_layer must be an integer >= 1"),
        ({"n_slow_layer": -1}, "n_slow_layer must be an integer >= 0"),
        ({"n_slow_layer": 0}, "arm='local'"),
        ({"n_embd": 65}, "n_embd = 65 must be an even multiple of n_head = 4"),
        ({"n_embd": 12}, "n_embd = 12 must be an even multiple"),
        ({"arm": "sparse"}, "arm must be one of dense, frozen, coupled, blind, local, generator; got 'sparse'"),
        ({"gate": "sigmoid"}, "gate must be one of scalar, channel, projection; got 'sigmoid'"),
        ({"gate": None}, "gate must be one of"),
        ({"gate": "scalar+projection"}, "2 zero factors in a row.*stay zero for ever"),
        ({"slow_attention": "full"}, "reads its own future; take 'block_causal', or 'full_leaking'"),
        ({"slow_attention": "none"}, "slow_attention must be one of"),
        ({"compute_frozen": True}, "compute_frozen=True needs arm='frozen'"),
        ({"compute_frozen": 1}, "compute_frozen must be True or False"),
        ({"attention_window": 0}, "attention_window must be an integer >= 1, .*or None .*got 0"),
        ({"attention_window": 2.0}, "attention_window must be an integer >= 1"),
        ({"attention_window": True}, "attention_window must be an integer >= 1"),
        ({"gate_start": float("nan")}, "gate_start must be a finite number, got nan"),
        ({"gate_start": "0"}, "gate_start must be a finite number"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FastSlowConfig(**change)


def test_block_size_need_not_be_a_multiple_of_the_period():
    assert FastSlowConfig(block_size=250, period=8).block_size == 250
    assert FastSlowConfig(n_slow_layer=0, arm="local").n_slow_layer == 0
    assert FastSlowConfig(slow_attention="full_leaking").slow_attention == "full_leaking"
