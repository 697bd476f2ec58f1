"""The positive control: where a slow variable exists and is worth knowing, the coupling opens and pays; else not.

A verdict of neutrality on a text means nothing unless the same coupling, trained alike, is seen to pay on a source that
is known to have slow structure. There the best possible loss is known too (the Bayes filter), hence the share of the
gap between the dense model and it that is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, EmpiricalClaim, Mutant, NotRun, Profile
from verify.claims._training import not_run, planted_cells, undecided
from verify.statistics.paired import PairedDifference, paired_difference
from verify.statistics.verdict import EmpiricalVerdict

if TYPE_CHECKING:
    from verify.cells import Cell

GAIN = -0.03  # nats per token: what the interval of coupled − dense must lie below, of the 0.07 there are
SHARE = 0.5  # of dense − filter, in each seed
BLIND, NOTHING = 0.002, 0.001  # nats that count as none: another sequence's slow path, and the source without regimes
ARMS = ("dense", "coupled", "blind")


def cells(profile: Profile) -> list[Cell]:
    """Three arms at s = 0.7 and two at s = 0 for each seed; none under `quick`."""
    from verify.trained.control import NULL, control_cells

    if profile.name == "quick":
        return []
    how = {"device": profile.device}
    return control_cells(ARMS, profile.seeds, **how) + control_cells(ARMS[:2], profile.seeds, s=NULL, **how)


def check(profile: Profile) -> Empirical | NotRun:
    """coupled − dense, blind − dense and the share of the Bayes gap over paired seeds, and coupled − dense at s = 0."""
    from verify.trained.control import STRONG, best_loss

    if profile.name == "quick":
        return not_run("paper", "1M")
    count = len(ARMS) * len(profile.seeds)
    return judge(profile.trained[:count], profile.trained[count:], best_loss(STRONG))


def mutant(profile: Profile) -> Empirical:
    """Planted losses of a coupling that closes a fifth of the gap to the filter."""
    return _planted(coupled=2.225)


def _planted(*, coupled: float = 2.18, blind: float = 2.24, null: float = 2.37) -> Empirical:
    strong = planted_cells(dense=2.24, coupled=coupled, blind=blind)
    return judge(strong, planted_cells(dense=2.37, coupled=null), 2.165)


def judge(strong: Sequence[dict[str, Any]], null: Sequence[dict[str, Any]], best: float) -> Empirical:
    """CONSISTENT where it pays and is worth nothing where nothing is.

    INCONSISTENT where it does not pay, or a control's interval lies outside its margin; INCONCLUSIVE where it pays and
    a control is neither shown to be zero nor to be more. best: the filter's loss on the source of `strong`.
    """
    gain = _paired(strong, "coupled", margin=BLIND)
    blind = _paired(strong, "blind", margin=BLIND)
    nothing = _paired(null, "coupled", margin=NOTHING)
    if gain is None or blind is None or nothing is None or gain.interval is None:
        return undecided("at least two paired seeds of dense, coupled and blind, and of the null, are needed")
    losses = {arm: _losses(strong, arm) for arm in ("dense", "coupled")}
    shares = [
        (losses["dense"][seed] - loss) / (losses["dense"][seed] - best)
        for seed, loss in losses["coupled"].items()
        if seed in losses["dense"]
    ]
    pays = gain.interval[1] < GAIN and min(shares) >= SHARE
    clean = bool(blind.equivalent) and bool(nothing.equivalent)
    verdict = EmpiricalVerdict.INCONCLUSIVE
    if pays and clean:
        verdict = EmpiricalVerdict.CONSISTENT
    elif gain.interval[0] > GAIN or max(shares) < SHARE or _beyond(blind, BLIND) or _beyond(nothing, NOTHING):
        verdict = EmpiricalVerdict.INCONSISTENT
    opened = [c["closed_gate_loss"] - c["validation_loss"] for c in strong if c["arm"] == "coupled"]
    return Empirical(
        quantity="coupled − dense where y is worth knowing, nats per token",
        measured=gain.mean,
        bound=GAIN,
        interval=gain.interval,
        verdict=verdict,
        effect_size=gain.effect_size if gain.effect_size is not None else 0.0,
        reason=f"{gain.seeds} paired seeds: {min(shares):.0%} … {max(shares):.0%} of dense − filter closed, shutting "
        f"the gate costs {min(opened):.3f} … {max(opened):.3f} nats; blind − dense {_told(blind, BLIND)}; without "
        f"regimes coupled − dense {_told(nothing, NOTHING)}",
        details={"cells": [dict(cell) for cell in (*strong, *null)], "shares": shares, "filter": best},
    )


def _losses(trained: Sequence[dict[str, Any]], arm: str) -> dict[int, float]:
    return {cell["seed"]: cell["validation_loss"] for cell in trained if cell["arm"] == arm}


def _paired(trained: Sequence[dict[str, Any]], arm: str, *, margin: float) -> PairedDifference | None:
    own, dense = _losses(trained, arm), _losses(trained, "dense")
    shared = sorted(own.keys() & dense.keys())
    return paired_difference([own[s] - dense[s] for s in shared], margin=margin) if len(shared) > 1 else None


def _beyond(found: PairedDifference, margin: float) -> bool:
    return found.interval is not None and (found.interval[0] > margin or found.interval[1] < -margin)


def _told(found: PairedDifference, margin: float) -> str:
    shown = "equivalent to zero" if found.equivalent else "not shown equivalent to zero"
    return f"{found.mean:+.5f}, {shown} within ± {margin}"


CLAIM = EmpiricalClaim(
    id="coupling_is_seen_where_it_exists",
    statement="Where a slow variable exists and is worth knowing, the coupling opens and closes most of the gap to the "
    "Bayes filter; without content or without slow structure it is worth nothing.",
    source="the positive control of the paper's neutrality; this toolkit's",
    check=check,
    mutant=mutant,
    mutation="losses of a coupling that closes a fifth of the gap to the filter",
    cells=cells,
    mutants=(
        Mutant("shut", "losses of a coupling that stays shut", lambda profile: _planted(coupled=2.24)),
        Mutant("capacity", "losses of a blind arm that gains 0.01 nats as well", lambda profile: _planted(blind=2.23)),
        Mutant("null", "losses that fall by 0.01 nats where there is no regime", lambda profile: _planted(null=2.36)),
    ),
)
