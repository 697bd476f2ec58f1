"""The gallery of mutants: small faults planted on purpose, each with the claim whose check must see it.

A check that cannot fail is no check, and one that sees only large faults says little. So each `Mutant` breaks one
thing, by a per cent or by its smallest step (one index, one point, one sign), somewhere on the way from the data to the
verdict: the data, the prediction, the pooling, the fit, its floor, a certificate, the statement itself. It plants the
fault by replacing one function for as long as a `Look` lasts, a cheap run of the claim's own check; the same look
without the fault must hold, or the mutant proves nothing.

Every file of this folder that does not begin with an underscore holds a tuple `MUTANTS`. Nothing here imports torch
before a look begins.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = ("data", "prediction", "pooling", "fit", "floor", "certificate", "network", "statistics", "statement")
NOT_RUNNERS = ("gallery",)


@dataclass(frozen=True)
class Look:
    """One run of a claim's check on a small input: `run()` -> (verdict, reason). `name`: the input, in words.

    control: what must hold without the fault, where the look itself brings it; by default the same look.
    """

    name: str
    run: Callable[[], tuple[str, str]]
    control: Look | None = None

    @property
    def honest(self) -> Look:
        """The look at the code without the fault."""
        return self if self.control is None else self.control


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted fault.

    id: unique in the gallery. claim: the id of the claim whose check must see it. breaks: what, in words. part: one of
    `PARTS`. size: how large, "1 %" or "one index". plant: a context in which the fault is there. looks: the inputs on
    which it must be seen, the cheapest first. ends: verdicts that count as seen; a fault of φ_θ is INCONCLUSIVE for
    theory, and that is right.
    """

    id: str
    claim: str
    breaks: str
    part: str
    size: str
    plant: Callable[[], AbstractContextManager[Any]]
    looks: tuple[Look, ...]
    ends: tuple[str, ...] = ("VIOLATED",)

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"mutant {self.id}: part must be one of {', '.join(PARTS)}; got {self.part!r}")
        if not self.looks:
            raise ValueError(f"mutant {self.id}: looks is empty: nothing would look for it")

    def meet(self, look: Look) -> tuple[str, str]:
        """(verdict, reason) of one look with the fault in place; what it raises is an ERROR, and seen."""
        with self.plant():
            try:
                return look.run()
            except (ValueError, RuntimeError, ArithmeticError) as error:
                return "ERROR", f"{type(error).__name__}: {error}"

    def seen_as(self, verdict: str) -> bool:
        """Whether this verdict notices the fault."""
        return verdict in (*self.ends, "ERROR")


@contextmanager
def replaced(*places: tuple[str, Callable[[Any], Any]]) -> Iterator[None]:
    """While it lasts, "module:name" (or "module:Class.name") is what `change` makes of it, for each given pair."""
    changed: list[tuple[Any, str, Any]] = []
    try:
        for place, change in places:
            module, _, path = place.partition(":")
            *parents, name = path.split(".")
            holder: Any = importlib.import_module(module)
            for parent in parents:
                holder = getattr(holder, parent)
            honest = holder.__dict__[name]  # as it stands there: a staticmethod stays one
            changed.append((holder, name, honest))
            setattr(holder, name, change(honest))
        yield
    finally:
        for holder, name, honest in reversed(changed):
            setattr(holder, name, honest)


def discover() -> list[Mutant]:
    """All mutants of the gallery, by file and in the order of each file; `ValueError` for an id given twice."""
    found: list[Mutant] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda one: one.name):
        if module.name.startswith("_") or module.name in NOT_RUNNERS:
            continue
        found.extend(importlib.import_module(f"{__name__}.{module.name}").MUTANTS)
    ids = [mutant.id for mutant in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"mutants given twice: {', '.join(twice)}")
    return found
