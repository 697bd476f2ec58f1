"""A user's own system or φ_θ, given as FILE.py:FACTORY; every way it can be wrong is named with its file and cause."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theory import (
    FastSlowSystem,
    NotUniqueError,
    recurrent_classes,
    spectral_gap,
    stationary_distribution,
    total_variation,
)
from verify.command_line import UsageError

CLOSED_FORM = 1e-6  # how far a stated closed form may be from what is computed: TV, or relative to the largest rate
RAISED = (Exception, SystemExit)  # sys.exit in a user's file must not decide the exit code


def load_factory(spec: str) -> Callable[..., Any]:
    """The object FACTORY of FILE.py, for 'FILE.py:FACTORY'; raises `UsageError` naming the file and the cause."""
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise UsageError(f"{spec!r} is not of the form FILE.py:FACTORY")
    path = Path(file).resolve()  # tracebacks name it so
    if not path.is_file():
        raise UsageError(f"{file}: no such file")
    module_spec = importlib.util.spec_from_file_location(f"user_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses in the user's file look themselves up there
    try:
        module_spec.loader.exec_module(module)
    except RAISED as error:
        raise UsageError(f"{file}: importing it raised {_told(error, path)}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        found = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UsageError(f"{file}: has no function {name!r}; it defines {', '.join(found) or 'none'}")
    return factory


def load_system(spec: str) -> FastSlowSystem:
    """The `FastSlowSystem` that FILE.py:FACTORY returns, checked at 64 points of its box: A and g there, and that the
    closed forms it states, of p_st and of the spectral gap, are those of its A."""
    system = call(load_factory(spec), spec)
    if not isinstance(system, FastSlowSystem):
        raise UsageError(f"{spec}: returned {type(system).__name__}, not a theory.FastSlowSystem")
    y = system.uniform(64, seed=0)
    x = torch.full((64, system.n_states), 1.0 / system.n_states, dtype=y.dtype)
    try:
        system.check_at(y)
        drift = system.g(x, y)
        _check_closed_forms(system, y, spec)
    except UsageError:
        raise
    except RAISED as error:
        raise UsageError(f"{spec}: {_told(error, _file(spec))}") from error
    if not bool(torch.isfinite(drift).all()):
        bad = y[~torch.isfinite(drift).all(-1)][0].tolist()
        raise UsageError(f"{spec}: g(x, y) is not finite at y = {bad}")
    return system


def _check_closed_forms(system: FastSlowSystem, y: Tensor, spec: str) -> None:
    """Raise `UsageError` where A(y), y[k, m], has no one p_st, or a stated closed form is not that of A(y)."""
    A = system.A(y)
    try:
        p = stationary_distribution(A)
    except NotUniqueError as error:
        several = next(point for point, matrix in zip(y, A, strict=True) if len(recurrent_classes(matrix)) > 1)
        raise UsageError(f"{spec}: at y = {several.tolist()}: {error}") from error
    if system.stationary is not None:
        stated = system.stationary(y)
        wrong = ~(total_variation(stated, p) <= CLOSED_FORM)
        if bool(wrong.any()):
            raise UsageError(
                f"{spec}: stationary(y) is not p_st of A(y) at y = {y[wrong][0].tolist()}: it gives "
                f"{stated[wrong][0].tolist()}, and p_st is {p[wrong][0].tolist()}"
            )
    if system.spectral_gap is not None:
        stated, gap = system.spectral_gap(y), spectral_gap(A)
        wrong = ~((stated - gap).abs() <= CLOSED_FORM * A.abs().amax((-2, -1)))
        if bool(wrong.any()):
            raise UsageError(
                f"{spec}: spectral_gap(y) is not that of A(y) at y = {y[wrong][0].tolist()}: it gives "
                f"{float(stated.detach()[wrong][0]):.6g}, and the gap is {float(gap.detach()[wrong][0]):.6g}"
            )


def call(factory: Callable[..., Any], spec: str, **arguments: Any) -> Any:
    """factory(**arguments), with whatever it raises reported against its file."""
    try:
        return factory(**arguments)
    except RAISED as error:
        raise UsageError(f"{spec}: calling it raised {_told(error, _file(spec))}") from error


def raised_in(spec: str, error: BaseException) -> bool:
    """Whether `error` came up through the file of FILE.py:FACTORY."""
    return bool(_lines(error, _file(spec)))


def measuring_raised(spec: str, error: BaseException) -> UsageError:
    """`error`, which came up through the file of FILE.py:FACTORY while it was measured, as one about that file."""
    return UsageError(f"{spec}: measuring it raised {_told(error, _file(spec))}")


def _file(spec: str) -> Path:
    return Path(spec.rpartition(":")[0]).resolve()


def _lines(error: BaseException, file: Path) -> list[str]:
    """The lines of `file` that `error` came up through, the innermost last."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return [f"line {line} in {code.co_name}" for code, line in frames if Path(code.co_filename) == file]


def _told(error: BaseException, file: Path) -> str:
    lines = _lines(error, file)
    return f"{type(error).__name__}: {error}" + (f" ({lines[-1]})" if lines else "")


def check_phi_theta(phi: Any, system: FastSlowSystem, spec: str, device: str) -> None:
    """Raise `UsageError` unless φ maps y[8, m] to finite x[8, n] of sum one, in float64, within the rounding that
    `theory.certificate` allows: what it would refuse in the middle of a measurement is refused here, by its file."""
    y = system.uniform(8, seed=0, device=device)
    if not callable(phi):
        raise UsageError(f"{spec}: returned {type(phi).__name__}, not a function of y")
    try:
        with torch.no_grad():
            x = phi(y)
    except RAISED as error:
        raise UsageError(f"{spec}: φ_θ(y) raised {_told(error, _file(spec))}") from error
    expected = (8, system.n_states)
    if not isinstance(x, Tensor) or tuple(x.shape) != expected:
        shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError(f"{spec}: φ_θ(y) gave {shape} for y {list(y.shape)}; {list(expected)} is needed")
    if x.dtype != y.dtype:
        raise UsageError(f"{spec}: φ_θ(y) has dtype {x.dtype}; float64 is needed: φ_θ.double()")
    if not bool(torch.isfinite(x).all()):
        bad = y[~torch.isfinite(x).all(-1)][0].tolist()
        raise UsageError(f"{spec}: φ_θ(y) is not finite at y = {bad}")
    unit = 0.5 * torch.finfo(x.dtype).eps
    off, rounding = x.sum(-1) - 1, 16 * unit * (system.n_states * x.abs().sum(-1) + 1)
    if not bool((off.abs() <= rounding).all()):
        raise UsageError(
            f"{spec}: φ_θ(y) must sum to one over states within rounding, {float(rounding.min()):.2g}; the sums less "
            f"one are {off.tolist()}"
        )
