"""The fast-slow system: ε dx/dt = A(y) x, dy/dt = g(x, y), with y in a stated box.

x[..., n] is a probability vector (the fast state), y[..., m] the slow variable. `generator` maps y[..., m] to A[...,
n, n] in column convention and `slow` maps (x, y) to dy/dt[..., m]; both are torch functions over any leading batch
shape. The box [low, high] is where y is meant to live: trajectories that leave it are reported, and the headline
draws its test points from it.

A built-in system also carries what is known of it exactly (its closed-form p_st(y), its spectral gap, whether it has
detailed balance), so that a test can hold the general algorithms against it.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

from theory.arguments import check_integer, to_tensor
from theory.errors import FastSlowSystemError, GeneratorError
from theory.generators.checks import check_generator, check_one_of_many
from theory.kinds import Corner, Field, Integer, Phases, Size, Velocity

ROUNDING = 1e-12  # of the width of the box: a y no further beyond it than this counts as inside


@dataclass(frozen=True, kw_only=True, eq=False)
class FastSlowSystem:
    """A(y), g(x, y) and the box of y.

    generator: y[..., m] -> A[..., n, n], rates per unit of the system's own time.
    slow: (x[..., n], y[..., m]) -> dy/dt[..., m].
    low, high: the corners of the box, [m] (a scalar is repeated); kept as float64 tensors.
    stationary: y[..., m] -> p_st[..., n] in closed form, where one is known.
    spectral_gap: y[..., m] -> gap[...] in closed form, where one is known.
    reversible: whether detailed balance holds for every y in the box (None: not stated).
    periodic: the slow variables that are phases, by index or as one bool each (True: all): their box is one period,
    which they never leave. A and g see a phase within its period, and must join there smoothly; trajectories give it
    as it went on, without jumps, and `wrapped` brings it back.
    remarks: what a user should know before reading its numbers (time unit, where it relaxes, the source).

    Raises `FastSlowSystemError` for sizes below one, a box that is not finite or not low < high, or callables that
    are not.

    Examples:
        >>> import theory, torch
        >>> def generator(y):
        ...     up, down = torch.exp(y[..., 0]), torch.exp(-y[..., 0])
        ...     return torch.stack([torch.stack([-up, down], -1), torch.stack([up, -down], -1)], -2)
        >>> system = theory.FastSlowSystem(
        ...     generator=generator, slow=lambda x, y: x[..., 1:] - y, n_states=2, n_slow=1, low=0.0, high=1.0
        ... )
        >>> theory.stationary_distribution(system.A(torch.tensor([0.0], dtype=torch.float64)))
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    generator: Field
    slow: Velocity
    n_states: Size
    n_slow: Size
    low: Corner
    high: Corner
    name: str = "user system"
    stationary: Callable[[Tensor], Tensor] | None = None
    spectral_gap: Callable[[Tensor], Tensor] | None = None
    reversible: bool | None = None
    remarks: str = ""
    periodic: Phases = ()  # pyright: ignore[reportAssignmentType]
    _boxes: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        for field in ("generator", "slow"):
            if not callable(getattr(self, field)):
                raise FastSlowSystemError(f"{field} must be a function, got {type(getattr(self, field)).__name__}")
        for field in ("n_states", "n_slow"):
            value = getattr(self, field)
            try:
                size = 0 if isinstance(value, bool) else operator.index(value)
            except TypeError:
                size = 0
            if size < 1:
                raise FastSlowSystemError(f"{field} must be an integer >= 1, got {value!r}")
            object.__setattr__(self, field, size)
        for field in ("low", "high"):
            try:
                given = to_tensor(getattr(self, field))
            except (TypeError, ValueError, RuntimeError, OverflowError):
                raise FastSlowSystemError(f"{field} must hold numbers, got {getattr(self, field)!r}") from None
            if given.is_complex() or given.dtype == torch.bool or given.layout != torch.strided:
                raise FastSlowSystemError(f"{field} must hold real numbers, got {getattr(self, field)!r}")
            corner = given.detach().to(torch.float64, copy=True)
            if corner.ndim == 0:
                corner = corner.repeat(self.n_slow)
            if corner.shape != (self.n_slow,) or not bool(torch.isfinite(corner).all()):
                raise FastSlowSystemError(
                    f"{field} must hold n_slow = {self.n_slow} finite numbers, got {corner.tolist()}"
                )
            object.__setattr__(self, field, corner)
        if not bool((self.low < self.high).all()):
            raise FastSlowSystemError(
                f"low must lie below high in each slow variable, got {self.low.tolist()} and {self.high.tolist()}"
            )
        object.__setattr__(self, "periodic", self._phases(self.periodic))
        home = (self.low, self.high, ROUNDING * (self.high - self.low), self.periodic)
        self._boxes[self.low.device, self.low.dtype] = home

    def _phases(self, given: Any) -> Tensor:
        """`periodic` as bool[m]."""
        found = torch.zeros(self.n_slow, dtype=torch.bool)
        values = given.tolist() if isinstance(given, (Tensor, np.ndarray)) else given
        if isinstance(values, bool):
            return found | values
        values = (
            [values] if isinstance(values, int) else list(values) if isinstance(values, (list, tuple, set)) else None
        )
        if values is not None and all(isinstance(v, bool) for v in values) and len(values) in (0, self.n_slow):
            return found | torch.tensor(values, dtype=torch.bool) if values else found
        if values is None or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise FastSlowSystemError(
                f"periodic must hold indices of slow variables, or n_slow = {self.n_slow} bools; got {given!r}"
            )
        for index in values:
            if not -self.n_slow <= index < self.n_slow:
                raise FastSlowSystemError(f"periodic names slow variable {index}; there are {self.n_slow}, from 0 on")
            found[index] = True
        return found

    def A(self, y: Tensor) -> Tensor:
        """A(y)[..., n, n]; raises `FastSlowSystemError` naming y where shape, dtype or device are not those of y.

        A y beyond the box by rounding alone, which `inside` accepts, is evaluated on the box: A need not be a generator
        a round-off beyond it. Phases are brought into their period.
        """
        y = self._without_rounding(y)
        try:
            value = self.generator(y)
        except GeneratorError as error:
            raise self._own_error(y, error) from error
        except RuntimeError as error:
            raise self._explained("generator", error) from error
        expected = (*y.shape[:-1], self.n_states, self.n_states)
        _agrees("generator(y) (the matrix A)", value, expected, y, y)
        return value

    def g(self, x: Tensor, y: Tensor) -> Tensor:
        """g(x, y)[..., m]; raises `FastSlowSystemError` naming g where its shape, dtype or device are wrong."""
        y = self.wrapped(y)
        try:
            value = self.slow(x, y)
        except RuntimeError as error:
            raise self._explained("slow", error) from error
        expected = (*torch.broadcast_shapes(x.shape[:-1], y.shape[:-1]), self.n_slow)
        _agrees("slow(x, y) (the map g)", value, expected, y, y)
        return value

    def wrapped(self, y: Tensor) -> Tensor:
        """y[..., m] with its phases brought into their period [low, high)."""
        low, high, _, phases = self._box(y)
        if not self._has_phases:
            return y
        return torch.where(phases, y - (high - low) * torch.floor((y.detach() - low) / (high - low)), y)

    @property
    def _has_phases(self) -> bool:
        return bool(self.periodic.any())

    def _explained(self, function: str, error: RuntimeError) -> Exception:
        """`error` of a user's function as it is, or as what is behind it."""
        if "numpy()" in str(error) or "Cannot access data pointer" in str(error):
            return FastSlowSystemError(
                f"{function} of system {self.name!r} leaves torch for NumPy, through which no derivative comes: write "
                f"it with torch functions (torch.exp for np.exp, torch.stack for np.array). It said: {error}"
            )
        return error

    def _own_error(self, y: Tensor, error: GeneratorError) -> GeneratorError:
        """What the user's own construction of A refused, with the system and the y."""
        for point in y.detach().reshape(-1, self.n_slow):
            try:
                self.generator(point)
            except GeneratorError as own:
                return GeneratorError(f"A(y) of system {self.name!r} at y = {point.tolist()}: {own}")
        return GeneratorError(f"A(y) of system {self.name!r}: {error}")

    def check_at(self, y: Tensor) -> Tensor:
        """A(y)[..., n, n]; raises `GeneratorError` naming y[..., m] at the first point where that is no generator."""
        flat = y.reshape(-1, self.n_slow)
        A = self.A(flat)
        try:
            check_generator(A)
        except GeneratorError:
            for point, matrix in zip(flat, A, strict=True):
                try:
                    check_one_of_many(matrix)
                except GeneratorError as error:
                    where = "" if bool(self.inside(point)) else ", which lies outside the stated box"
                    raise GeneratorError(
                        f"A(y) of system {self.name!r} at y = {point.tolist()}{where}: {error}"
                    ) from None
            raise
        return A.reshape(*y.shape[:-1], self.n_states, self.n_states)

    def uniform(self, count: Integer, *, seed: Integer, device: torch.device | str = "cpu") -> Tensor:
        """`count` points y[count, m], uniform in the box, float64, from a generator of their own (no global seed)."""
        count, seed = check_integer(count, "count"), check_integer(seed, "seed")
        rng = torch.Generator("cpu").manual_seed(seed)
        unit = torch.rand(count, self.n_slow, generator=rng, dtype=torch.float64, device="cpu")
        low, high = self.low.cpu(), self.high.cpu()
        return (low + (high - low) * unit).to(device)

    def inside(self, y: Tensor) -> Tensor:
        """Whether y[..., m] lies in the closed box, up to rounding, phases anywhere: bool[...]."""
        low, high, slack, phases = self._box(y)
        within = (y >= low - slack) & (y <= high + slack)
        if self._has_phases:
            within = within | (phases & torch.isfinite(y))
        return within.all(-1)

    def held(self, y: Tensor) -> Tensor:
        """y[..., m] where it lies in the box, else the point of the box next to it: where a method can always evaluate
        A and g, for its trial steps beyond the box. Phases are brought into their period."""
        low, high, _, _ = self._box(y)
        y = self.wrapped(y)
        return torch.where(self.inside(y)[..., None], y, y.clamp(low, high))

    def leaves(self, y: Tensor, move: Tensor) -> Tensor:
        """Whether `move` carries y[..., m] through a face of the box, or onto one up to rounding: bool[...]."""
        low, high, slack, phases = self._box(y)
        end = y + move
        through = ((move > 0) & (end >= high - slack)) | ((move < 0) & (end <= low + slack))
        return (through & ~phases).any(-1)

    def _without_rounding(self, y: Tensor) -> Tensor:
        low, high, slack, _ = self._box(y)
        y = self.wrapped(y)
        value = y.detach()
        edge = value.clamp(low, high)
        # y − value is zero, and keeps the derivative in y: a clamp has none beyond its limits
        return torch.where((value - edge).abs() <= slack, edge + (y - value), y)

    def _box(self, y: Tensor) -> tuple[Tensor, ...]:
        """(low, high, what counts as rounding, which are phases), each [m], in the dtype and on the device of y."""
        key = (y.device, y.dtype)
        box = self._boxes.get(key)
        if box is None:
            home = self._boxes[self.low.device, self.low.dtype]
            box = (*(corner.to(device=y.device, dtype=y.dtype) for corner in home[:3]), home[3].to(y.device))
            if not any(map(is_functorch_wrapped_tensor, box)):  # which would outlive the transform that made them
                self._boxes[key] = box  # moving them to another device waits for it
        return box


def _agrees(what: str, value: Any, expected: tuple[int, ...], like: Tensor, y: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise FastSlowSystemError(f"{what} returned {type(value).__name__}, not a tensor of shape {list(expected)}")
    wrong = None
    if tuple(value.shape) != tuple(expected):
        wrong = f"shape {list(value.shape)} where {list(expected)} is needed"
    elif value.dtype != like.dtype:
        wrong = f"dtype {value.dtype} where y has {like.dtype}"
    elif value.device != like.device:
        wrong = f"device {value.device} where y is on {like.device}"
    if wrong:
        first = y.detach().reshape(-1, y.shape[-1])[:1].tolist()
        raise FastSlowSystemError(f"{what} returned {wrong}; the first y of the batch is {first}")
