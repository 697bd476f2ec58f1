"""Frozen tables of neutral values: what a configuration that does not name a field means by it.

A run folder or a finished cell written before a field existed says nothing of it, and must mean what it meant: so the
tables are frozen. A new field of `FastSlowConfig` or `TrainConfig` gets a row in `ADDED_…` with the value at which it
changes nothing; the defaults of the dataclasses may move, a row here never does.

Whatever changes the arithmetic of training at equal configurations raises `TRAINING_VERSION`: results made under
another version are then made again. A pinned tiny run (tests/network/test_training_version.py) fails where it was
forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

TRAINING_VERSION = 1
COUPLING_LOSS_VERSION = 2  # of runs with a `coupling_loss` alone; 2: its gradient ends at the slow path and φ_θ

FIRST_MODEL: Mapping[str, Any] = MappingProxyType(
    {
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
    }
)
FIRST_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "tokens": 500_000,
        "batch_size": 4,
        "micro_batch": None,
        "learning_rate": 6e-3,
        "warmup": 0.4,
        "final": 0.0,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "clip": 1.0,
        "seed": 0,
        "evaluations": 4,
        "eval_tokens": 65_536,
        "checkpoint_every": 100,
        "dtype": "float32",
        "compile": False,
    }
)
ADDED_MODEL: Mapping[str, Any] = MappingProxyType({"attention_window": None, "gate_start": 0.0, "n_slow": 2})
ADDED_TRAINING: Mapping[str, Any] = MappingProxyType({"gate_rate": 1.0, "gate_warmup": 0, "coupling_loss": 0.0})


def filled(kind: Any, values: Any, first: Mapping[str, Any], added: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`values` of the dataclass `kind` with the fields that came after its first version filled in.

    Raises `ValueError`, naming `what`, for anything but a mapping that has every field of the first version and none
    that `kind` does not have.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} must be a mapping, got {type(values).__name__}")
    known = {field.name: field.default for field in dataclasses.fields(kind)}
    missing = [name for name in first if name not in values]
    extra = [name for name in values if name not in known]
    if missing or extra:
        raise ValueError(f"not {what} of this version: missing {missing}, unknown {extra}")
    return {name: values.get(name, added.get(name, default)) for name, default in known.items()}


def differing(record: Any, first: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that differ from their neutral value: a field added later leaves the others alone."""
    neutral = {**first, **added}
    values = {field.name: (getattr(record, field.name), field.default) for field in dataclasses.fields(record)}
    return {name: value for name, (value, default) in values.items() if value != neutral.get(name, default)}
