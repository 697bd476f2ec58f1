"""In its own world a trained network's φ_θ approaches p_st of its own generator, with slope and constant known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from verify.claim import Mutant, Profile, Structural, StructuralClaim
from verify.claims._broken import replaced
from verify.claims._generator_network import states, trained_network
from verify.statistics.verdict import Verdict

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    Changed = Callable[..., Any]

PAIRS, STARTS, POINTS = 600, 5000, 60  # with `quick`
FEW = (4, 32, 512)  # periods of a mutant


def check(profile: Profile) -> Structural:
    """The own-world room of a generator network trained on text."""
    return _measured(profile, periods=())


def mutant(profile: Profile) -> Structural:
    """p_st and its prediction at another slow state than φ_θ is read at."""
    return _measured(profile, shifted=True)


def _measured(
    profile: Profile,
    *,
    periods: tuple[int, ...] = FEW,
    shifted: bool = False,
    change: tuple[str, Changed] | None = None,
) -> Structural:
    """shifted: theory at the next test state. change: (a function of the room, what a mutant makes of it)."""
    from verify.trained.identity import room_own_world as room

    quick = profile.name == "quick"
    run, seen = trained_network(profile), states(profile, POINTS if quick else 400)
    held_out = seen.held_out
    elsewhere = held_out.take((held_out.start * 0 + 1).cumsum(0) % len(held_out)) if shifted else None
    broken: AbstractContextManager[None] = nullcontext()
    if change is not None:
        broken = replaced(room, change[0], change[1](getattr(room, change[0])))
    with broken:
        found = room.own_world_room(
            run.model,
            seen.tokens,
            seen.training,
            held_out,
            adamw=False,
            theory_at=elsewhere,
            periods=periods,
            sizes=(PAIRS, STARTS) if quick else None,
        )
    return Structural(
        quantity="slope of TV(φ_θ, p_st(A_θ)) over ε",
        measured=found.slope,
        bound=1.0,
        interval=found.slope_interval,
        reason=found.reason,
        details={"rows": found.rows} | found.facts,
        verdict=Verdict(str(found.verdict)),
    )


def _gaps(change: Callable[[Tensor, int], Tensor]) -> Callable[[Profile], Structural]:
    """The predicted gap of each period is change(gap, P)."""

    def changed(honest: Changed) -> Changed:
        def predicted(*given: Any) -> tuple[Tensor, dict[int, Tensor]]:
            p, gaps = honest(*given)
            return p, {period: change(gap, period) for period, gap in gaps.items()}

        return predicted

    return lambda profile: _measured(profile, change=("predicted_gaps", changed))


def _data(change: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[Profile], Structural]:
    """The block mean of each period is change(mean, x_0, P)."""

    def changed(honest: Changed) -> Changed:
        def means(model: Any, y: Tensor, s: Tensor, periods: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
            p, found = honest(model, y, s, periods)
            return p, {period: change(mean, s, period) for period, mean in found.items()}

        return means

    return lambda profile: _measured(profile, change=("block_means", changed))


def _another_start(honest: Changed) -> Changed:
    """The prediction begins each block where the next test state begins it."""
    return lambda model, y, s, periods: honest(model, y, s.roll(1, 0), periods)


def _bound(honest: Changed) -> Changed:
    return lambda *given: 0.99 * honest(*given)


CLAIM = StructuralClaim(
    id="trained_network_approaches",
    statement="A network trained on text in the linear-generator regime has a φ_θ of its own that approaches p_st of "
    "its own generator A_θ(y) as ε = 1/P shrinks, in proportion to ε and with the predicted constant.",
    source="the closed form of the token clock at K_θ(y) and the start law of the text (docs, what φ_θ learns)",
    check=check,
    mutant=mutant,
    mutation="p_st and its prediction taken at another slow state",
    mutants=(
        Mutant("reversed", "the predicted gap has the other sign", _gaps(lambda gap, period: -gap)),
        Mutant("one_per_cent", "the predicted gap is 1 % too large", _gaps(lambda gap, period: 1.01 * gap)),
        Mutant("longer_blocks", "1/(P + 1) in place of 1/P", _gaps(lambda gap, period: gap * period / (period + 1))),
        Mutant(
            "another_start",
            "blocks are predicted from the first token of another slow state",
            lambda profile: _measured(profile, change=("predicted_gaps", _another_start)),
        ),
        Mutant(
            "one_step_early",
            "x_0 is counted into the block mean, and the first step as a whole block",
            _data(lambda mean, start, period: (period * mean + start) / (period + 1)),
        ),
        Mutant(
            "certificate",
            "the certificate is 1 % smaller than it is",
            lambda profile: _measured(profile, change=("certified_gaps", _bound)),
        ),
    ),
)
