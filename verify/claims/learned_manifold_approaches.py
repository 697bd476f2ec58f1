"""The headline: the learned φ_θ approaches p_st in proportion to ε = 1/P, with the predicted constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.claim import Profile, Structural, StructuralClaim
from verify.claims._systems import OnSystem, over_systems

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = (64, 256, 1024, 4096, 16384)
QUICK_LARGE = (1024, 8192, 65536)  # systems of LARGE states and more
LARGE = 32
SLOPE_TOLERANCE = 0.01  # what finite ε may add to a slope of one


def check(profile: Profile) -> Structural:
    """`verify.manifold_gap` on every built-in system: the slope of the gap over ε, against one."""
    from theory import get_system, list_systems
    from verify.manifold_gap.options import DEFAULT_PERIODS

    found = []
    for name in list_systems():
        periods = DEFAULT_PERIODS
        if profile.name == "quick":
            periods = QUICK_LARGE if get_system(name).n_states >= LARGE else QUICK
        found.append(_slope(name, periods, profile))
    return over_systems("slope of TV(φ_θ, p_st) over ε", found)


def mutant(profile: Profile) -> Structural:
    """φ_θ is never trained."""
    import torch

    from network import PhiTheta
    from theory import get_system

    system = get_system("driven_cycle")
    rng = torch.Generator().manual_seed(profile.seed)
    untrained = PhiTheta(system.n_slow, system.n_states, width=64, depth=1, generator=rng).double()
    return over_systems("slope of TV(φ_θ, p_st) over ε", [_slope(system.name, QUICK, profile, untrained)])


def _slope(
    name: str, periods: tuple[int, ...], profile: Profile, phi_theta: Callable[..., object] | None = None
) -> OnSystem:
    from theory import get_system
    from verify.manifold_gap.measurement import measure
    from verify.observe.clock import default_step, observe

    system = get_system(name)
    longest = observe(
        system, max(periods), step=default_step(system, "exp"), kernel="exp", count=100, seed=profile.seed
    )
    if not longest.settled:  # nor is any shorter period: nothing to fit
        reason = f"no period settles, the longest being P = {max(periods)}: {longest.why_not}"
        return OnSystem(name, 1.0, None, None, reason, SLOPE_TOLERANCE)
    found = measure(name, periods, seed=profile.seed, device=profile.device, phi_theta=phi_theta)  # type: ignore[arg-type]
    keys = ("period", "epsilon", "gap_tv", "predicted_tv", "certificate_tv", "floor_limited", "pre_asymptotic")
    rows = [{key: getattr(row, key) for key in keys} for row in found.rows]
    return OnSystem(
        name, 1.0, found.slope, found.slope_interval, found.reason, SLOPE_TOLERANCE, rows, judged=found.verdict
    )


CLAIM = StructuralClaim(
    id="learned_manifold_approaches",
    statement="The learned φ_θ approaches p_st as ε = 1/P shrinks, in proportion to ε and with the constant that "
    "theory predicts.",
    source="the paper's headline; the closed form of the token clock (docs, predicted gap); Fenichel (1979)",
    check=check,
    mutant=mutant,
    mutation="φ_θ is never trained",
)
