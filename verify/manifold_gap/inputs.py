"""What a measurement was given, as its JSON holds it: the box, the sizes, the samples, and the user's own files."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import theory

if TYPE_CHECKING:
    from theory import FastSlowSystem


def inputs(system: FastSlowSystem, samples: int | None, phi_theta: Callable[..., Any] | None) -> dict[str, Any]:
    """n_states, n_slow, low and high of the box, samples, and path and sha256 of the files that system and φ_θ are
    written in; None for built-in ones and for what was typed into an interpreter."""
    box = {
        name: torch.as_tensor(end, dtype=torch.float64).expand(system.n_slow).tolist()
        for name, end in (("low", system.low), ("high", system.high))
    }
    return {
        "n_states": system.n_states,
        "n_slow": system.n_slow,
        **box,
        "samples": samples,
        "system_file": source_file(system.generator),
        "phi_theta_file": None if phi_theta is None else source_file(phi_theta),
    }


def source_file(function: Any) -> dict[str, str] | None:
    """Path and sha256 of the file that a function, or what an object does when called, is written in; None for that of
    an installed package and of this one."""
    own = function if inspect.isroutine(function) else getattr(function, "forward", type(function).__call__)
    try:
        found = inspect.getsourcefile(own)
    except TypeError:  # of a built-in
        return None
    if found is None or not Path(found).is_file():
        return None
    path = Path(found).resolve()
    packages = Path(theory.__file__).resolve().parents[1]
    if "site-packages" in path.parts or any(
        path.is_relative_to(packages / name) for name in ("theory", "network", "verify")
    ):
        return None
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
