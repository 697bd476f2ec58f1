"""A learned φ_θ as one safetensors file: the weights, and in the header the arguments that rebuild the module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from network import PhiTheta
from verify.command_line import UsageError

_ARGUMENTS = ("n_slow", "n_states", "width", "depth", "head", "activation")


def phi_theta_bytes(phi: PhiTheta, period: int) -> bytes:
    """The file's content: weights of φ_θ, with its arguments and the period P that it was trained at."""
    from safetensors.torch import save

    arguments = {name: getattr(phi, name) for name in _ARGUMENTS}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in phi.state_dict().items()}
    return save(weights, {"phi_theta": json.dumps(arguments), "period": str(period)})


def load_phi_theta(path: Path, device: str) -> PhiTheta:
    """φ_θ from a file of `phi_theta_bytes`; raises `UsageError` with the path for a missing, foreign or truncated
    file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        with safe_open(path, "pt", device="cpu") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: not a whole safetensors file ({error})") from error
    if "phi_theta" not in header:
        raise UsageError(f"{path}: a safetensors file, but not of a φ_θ saved by this tool")
    own = torch.Generator().manual_seed(0)  # the draw is overwritten; the user's global one is left alone
    try:
        arguments = json.loads(header["phi_theta"])
        _check_sizes(arguments, weights)
        phi = PhiTheta(**arguments, generator=own, dtype=weights["out.weight"].dtype, device=device)
        phi.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: its weights do not fit its header: {error}") from error
    return phi


def _check_sizes(arguments: Any, weights: dict[str, Tensor]) -> None:
    """`ValueError` unless the weights have the sizes that the header names: no damaged number decides on memory."""
    if not isinstance(arguments, dict) or set(arguments) != set(_ARGUMENTS):
        raise ValueError(f"the header must give {', '.join(_ARGUMENTS)}; it is {arguments!r:.200}")
    width = arguments["width"]
    for name, shape in (
        ("hidden.0.weight", (width, arguments["n_slow"])),
        ("out.weight", (arguments["n_states"], width)),
    ):
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"{name} has shape {list(weights[name].shape)}, the header says {list(shape)}")
    layers = sum(name.startswith("hidden.") and name.endswith(".weight") for name in weights)
    if layers != arguments["depth"]:
        raise ValueError(f"there are {layers} hidden layers, the header says {arguments['depth']!r}")
