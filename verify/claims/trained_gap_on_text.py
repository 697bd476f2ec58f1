"""On real text a trained network's φ_θ misses p_st of its own A_θ: by how much, and by which parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Gap, GapClaim, Profile
from verify.claims._generator_network import states, trained_network

if TYPE_CHECKING:
    from network import GeneratorLM
    from verify.trained.identity.rooms import Room

RESOLUTION = 1e-9  # a φ_θ that is p_st measures rounding


def check(profile: Profile) -> Gap:
    """The gap of the network as trained, at its own P, with its parts; beyond `quick` re-solved for each P too."""
    run = trained_network(profile)
    return _gap(_room(profile, run.model))


def mutant(profile: Profile) -> Gap:
    """φ_θ replaced by p_st(A_θ(y))."""
    import copy

    import torch

    from theory import stationary_distribution

    model = copy.deepcopy(trained_network(profile).model)

    class Stationary(torch.nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return stationary_distribution(model.generator(y))

    broken = copy.deepcopy(model)
    del broken.phi_theta
    broken.add_module("phi_theta", Stationary())
    return _gap(_room(profile, broken, resolve=False))


def _gap(room: Room) -> Gap:
    row = room.facts["as_trained"]
    resolved = "" if room.slope is None else f"re-solved per P: {room.reason}; "
    return Gap(
        quantity="TV(φ_θ(y), p_st(A_θ(y))) of the network as trained, at held-out text",
        measured=row["gap_tv"],
        bound=RESOLUTION,
        reason=f"{resolved}as trained, P = {row['period']}: boundary {row['predicted_tv']:.1e}, calibration "
        f"{row['calibration_tv']:.1e}, rest {row['residual']:.1e}; to another y's p_st {row['other_gap_tv']:.1e}",
        details={"rows": room.rows, "as_trained": row},
    )


def _room(profile: Profile, model: GeneratorLM, *, resolve: bool = True) -> Room:
    from verify.trained.identity.room_text import text_room

    quick = profile.name == "quick"
    seen = states(profile, 60 if quick else 400)
    return text_room(model, seen.tokens, seen.training, seen.held_out, resolve=resolve and not quick)


CLAIM = GapClaim(
    id="trained_gap_on_text",
    statement="On real text the trained φ_θ is not p_st of the trained A_θ: the gap is a boundary part in ε = 1/P, a "
    "calibration part of the kernel, and what φ_θ has not learned.",
    source="the identity block by block (docs, the identity on any stream of tokens); the paper's gap-marked mapping",
    check=check,
    mutant=mutant,
    mutation="φ_θ replaced by p_st of A_θ",
)
