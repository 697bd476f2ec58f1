"""What the slow dynamics adds beyond the local content of the pool: coupled against local and against blind.

Beside the text stands the positive control (`verify.trained.control`, s = 0.5): a source on which the regime is worth
more than one block of P tokens tells. Where the same coupling is not seen to beat `local` there, the text says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, EmpiricalClaim, NotRun, Profile
from verify.claims._training import not_run, paired, paper_cells, planted_cells, undecided
from verify.statistics.paired import MARGIN, PairedDifference
from verify.statistics.verdict import EmpiricalVerdict

if TYPE_CHECKING:
    from verify.cells import Cell

CONTROLS = ("local", "blind")
CONTROL_ARMS = ("coupled", "local")
LEVEL = 1.0 - 0.05 / len(CONTROLS)  # Bonferroni, for two comparisons


def check(profile: Profile) -> Empirical | NotRun:
    """coupled − local and coupled − blind over paired seeds, corrected for two comparisons."""
    if profile.name == "quick":
        return not_run("paper", "500k")
    from verify.trained.control import TOKENS

    # The control trains more tokens than the text, and nothing else in a result tells the two apart.
    control = [cell for cell in profile.trained if cell["tokens"] >= TOKENS]
    return with_control(_judge([cell for cell in profile.trained if cell["tokens"] < TOKENS]), control)


def cells(profile: Profile) -> list[Cell]:
    """Every arm on the text and two arms on the control for each seed; none under `quick`."""
    from verify.trained.control import WEAK, control_cells

    if profile.name == "quick":
        return []
    return paper_cells(profile) + control_cells(CONTROL_ARMS, profile.seeds, s=WEAK, device=profile.device)


def with_control(found: Empirical, control: Sequence[dict[str, Any]]) -> Empirical:
    """`found`; that nothing was seen counts only where coupled − local is shown below zero on the `control`."""
    if found.measured is None:
        return found
    seen = paired(control, "coupled", "local")
    if seen is None or seen.interval is None:
        return undecided(f"{found.reason}; at least two paired seeds of the control are needed beside it")
    low, high = seen.interval
    powerful = high < 0 or found.verdict is EmpiricalVerdict.CONSISTENT
    told = f"{seen.mean:+.4f} in [{low:+.4f}, {high:+.4f}]"
    return replace(
        found,
        verdict=found.verdict if powerful else EmpiricalVerdict.INCONCLUSIVE,
        reason=f"{found.reason}; where a regime is worth more than one block tells, coupled − local = {told} over "
        f"{seen.seeds} seeds" + ("" if powerful else ": not seen there either, so the text says nothing"),
        details=found.details | {"control": [dict(cell) for cell in control]},
    )


def mutant(profile: Profile) -> Empirical:
    """Five planted pairs in which coupled, local and blind all end at the same loss."""
    return _judge(planted_cells(dense=2.1, coupled=2.1, local=2.1, blind=2.1))


def _judge(trained: Sequence[dict[str, Any]]) -> Empirical:
    found: dict[str, PairedDifference] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for control in CONTROLS:
        one = paired(trained, "coupled", control, level=LEVEL)
        if one is None or one.interval is None:
            return undecided(f"at least two paired seeds of coupled and {control} are needed")
        found[control], intervals[control] = one, one.interval
    below = all(high < 0 for _, high in intervals.values())
    nothing = any(low > 0 or (found[control].equivalent and high >= 0) for control, (low, high) in intervals.items())
    verdict = EmpiricalVerdict.INCONCLUSIVE
    if below:
        verdict = EmpiricalVerdict.CONSISTENT
    elif nothing:
        verdict = EmpiricalVerdict.INCONSISTENT
    said = [
        f"coupled − {control} = {one.mean:+.4f} in [{intervals[control][0]:+.4f}, {intervals[control][1]:+.4f}]"
        + (f", equivalent to zero within ± {MARGIN}" if one.equivalent else "")
        for control, one in found.items()
    ]
    local = found["local"]
    return Empirical(
        quantity="coupled − local, nats per token",
        measured=local.mean,
        bound=0.0,
        interval=local.interval,
        verdict=verdict,
        effect_size=local.effect_size,
        reason=f"{local.seeds} paired seeds, intervals at {LEVEL:.1%} for two comparisons: {'; '.join(said)}",
        details={"cells": [dict(cell) for cell in trained]},
    )


CLAIM = EmpiricalClaim(
    id="slow_dynamics_beyond_pooling",
    statement="The slow dynamics adds something beyond the local content of pooling: the coupled model ends below the "
    "local and the blind control.",
    source="implied by the paper's coupling; the controls are this toolkit's",
    check=check,
    mutant=mutant,
    mutation="losses in which coupled, local and blind are equal but for noise",
    cells=cells,
)
