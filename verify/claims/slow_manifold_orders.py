"""Each application of the refinement R to p_st gains one order in ε, by the invariance residual alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verify.claim import Mutant, Profile, Structural, StructuralClaim
from verify.claims._systems import OnSystem, over_systems

if TYPE_CHECKING:
    from collections.abc import Callable

    from theory import FastSlowSystem

ORDERS = (0, 1, 2, 3)
TOLERANCE = 0.05  # what finite ε may add to a slope
# ε: COUNT values, each half of the one before; the largest a fraction of the scale where ε ceases to be small, raised
# where the residual would be rounding.
LARGEST, COUNT = (0.01, 0.08, 0.32), 5
POINTS = 2


def check(profile: Profile) -> Structural:
    """The slope of ‖A h − ε Dh g‖₁ over ε for h = R^k p_st, k = 0 … 3, on every built-in system."""
    from theory import get_system, list_systems

    return over_systems(
        "slope of the invariance residual of R^k p_st over k + 1",
        [one for name in list_systems() for one in _slopes(get_system(name), get_system(name), profile.seed)],
        relative=True,
    )


def mutant(profile: Profile) -> Structural:
    """R is built for g of the wrong sign: the manifold of the time-reversed slow flow."""
    return _refined_for(lambda system: replace(system, slow=lambda x, y: -system.slow(x, y)))(profile)


def _refined_for(change: Callable[[FastSlowSystem], FastSlowSystem]) -> Callable[[Profile], Structural]:
    """The check on the driven ring, with R built from another system than the one that judges it."""

    def run(profile: Profile) -> Structural:
        from theory import get_system

        system = get_system("driven_cycle")
        return over_systems(
            "slope of the invariance residual of R^k p_st over k + 1",
            _slopes(system, change(system), profile.seed, orders=(0, 1, 2)),
            relative=True,
        )

    return run


def _g_at_p(system: FastSlowSystem) -> FastSlowSystem:
    """g is taken at p_st(y) and not at h(y): right to first order alone."""
    from theory import stationary_distribution

    return replace(system, slow=lambda x, y: system.slow(stationary_distribution(system.generator(y)), y))


def _one_rate(system: FastSlowSystem) -> FastSlowSystem:
    """One rate, 0 → 1, is one per cent larger."""
    import torch

    def generator(y: torch.Tensor) -> torch.Tensor:
        A = system.generator(y)
        more = torch.zeros_like(A)
        more[..., 1, 0], more[..., 0, 0] = 0.01, -0.01
        return A + more * A[..., 1, 0][..., None, None]

    return replace(system, generator=generator)


def _slopes(
    system: FastSlowSystem, refined_for: FastSlowSystem, seed: int, *, orders: tuple[int, ...] = ORDERS
) -> list[OnSystem]:
    """A measurement per order; `refined_for` is the system that R is built from, `system` the one that judges it."""
    found = []
    for k in orders:
        rows = _residuals(system, refined_for, k, seed)
        usable = [row for row in rows if not row["floor_limited"]]
        if not usable and k == 0:
            reason = "the residual of p_st itself is rounding: p_st does not move with y, there is no O(ε) term"
            return [OnSystem(system.name, 1.0, None, None, reason, TOLERANCE, rows)]
        found.append(_slope(f"{system.name}, k = {k}", k, rows, usable))
    return found


def _slope(label: str, k: int, rows: list[dict[str, Any]], usable: list[dict[str, Any]]) -> OnSystem:
    from verify.statistics.convergence import fit_slope

    residuals = [row["residual"] for row in usable]
    rounding = [row["rounding"] / row["residual"] for row in usable]
    slope = fit_slope([row["epsilon"] for row in usable], residuals, rounding)
    reason = slope.reason
    if slope.slope is None and len(usable) < len(rows):
        reason = f"{reason}; {len(rows) - len(usable)} of {len(rows)} residuals at the rounding of A p_st"
    return OnSystem(label, k + 1.0, slope.slope, slope.interval, reason, TOLERANCE, rows)


def _residuals(system: FastSlowSystem, refined_for: FastSlowSystem, k: int, seed: int) -> list[dict[str, Any]]:
    """The mean residual at COUNT values of ε, as small as the floor allows."""
    import torch

    from theory import invariance_residual, slow_manifold, stationary_distribution
    from verify.claims._systems import slow_epsilon
    from verify.statistics.convergence import floor_limited

    y = system.uniform(POINTS, seed=seed).expand(COUNT, POINTS, -1)
    A = system.A(y[0])
    rounding = (A @ stationary_distribution(A)[..., None]).abs().sum((-2, -1)).mean()
    floor = float(rounding + 0.5 * torch.finfo(y.dtype).eps * A.abs().sum(-2).amax())
    scale = slow_epsilon(system)
    rows: list[dict[str, Any]] = []
    for largest in LARGEST:
        eps = scale * largest / 2.0 ** torch.arange(COUNT, dtype=y.dtype)
        residual = invariance_residual(system, slow_manifold(refined_for, k), y, eps[:, None]).mean(-1)
        pairs = zip(eps.tolist(), residual.tolist(), strict=True)
        rows = [
            {"epsilon": e, "residual": r, "rounding": floor, "floor_limited": floor_limited(r, floor)} for e, r in pairs
        ]
        if not rows[-1]["floor_limited"] or not bool(residual.any()):
            break
    return rows


CLAIM = StructuralClaim(
    id="slow_manifold_orders",
    statement="The map (R h)(y) = p_st + ε A^# Dh[g(h, y)] gains one order in ε each time it is applied: R^k p_st is "
    "the slow manifold up to O(ε^{k+1}).",
    source="Fenichel, J. Differential Equations 31 (1979) 53; the invariance equation A h = ε Dh[g(h, y)]",
    check=check,
    mutant=mutant,
    mutation="R is built for g of the wrong sign",
    mutants=(
        Mutant(
            "g",
            "R is built with g 1 % too large",
            _refined_for(lambda system: replace(system, slow=lambda x, y: 1.01 * system.slow(x, y))),
        ),
        Mutant(
            "inverse",
            "R is built with A^# 1 % too small",
            _refined_for(lambda system: replace(system, generator=lambda y: 1.01 * system.generator(y))),
        ),
        Mutant(
            "y",
            "R is built at y + 1e-6",
            _refined_for(lambda system: replace(system, generator=lambda y: system.generator(y + 1e-6))),
        ),
        Mutant("one_rate", "one rate of R's generator is 1 % larger", _refined_for(_one_rate)),
        Mutant("g_at_p", "R takes g at p_st and not at h", _refined_for(_g_at_p)),
        Mutant(
            "one_component",
            "one component of g is 1 % too small in R",
            _refined_for(
                lambda system: replace(
                    system, slow=lambda x, y: system.slow(x, y) * y.new_tensor([0.99] + [1.0] * (system.n_slow - 1))
                )
            ),
        ),
    ),
)
