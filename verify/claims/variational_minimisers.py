"""What a variational φ_θ is drawn to: p_st is the minimiser of two objectives, and the limit of the third's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Mutant, Profile, Structural, StructuralClaim
from verify.claims._donsker_varadhan import donsker_varadhan
from verify.claims._learned import judged, judged_cross_entropy, learned_by_objective, learned_by_residual
from verify.claims._minimised import (
    POINTS,
    TOLERANCE,
    minimise,
    minimise_cross_entropy,
    minimise_rate,
    residual_argmin,
    transposed_argmin,
)
from verify.claims._systems import OnSystem, over_systems

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from theory import FastSlowSystem

LEARNED = 8  # states: a φ_θ of more has too many unknowns for this check
QUANTITY = "1 − TV between the minimiser and p_st; for the cross-entropy, its TV to p_st over the predicted one"


def check(profile: Profile) -> Structural:
    """On every built-in system: minimise each objective at fixed y over softmax logits, from two starts, and over a
    φ_θ of y, held against p_st at fresh y and against its certificate."""
    from theory import get_system, list_systems

    found = []
    for name in list_systems():
        system = get_system(name)
        found += [minimise(system, "residual", residual_argmin, profile.seed)]
        found += [minimise_rate(system, profile.seed)]
        found += [minimise_cross_entropy(system, profile.seed)]
        found += _learned(system, profile.seed)
    return over_systems(QUANTITY, found)


def mutant(profile: Profile) -> Structural:
    """The residual is that of Aᵀ, whose minimiser is the uniform distribution."""
    from theory import get_system

    wrong = minimise(get_system("driven_cycle"), "residual", transposed_argmin, profile.seed)
    return over_systems(QUANTITY, [wrong])


def _learned(system: FastSlowSystem, seed: int) -> list[OnSystem]:
    """φ_θ by residual, by Donsker–Varadhan rate and by cross-entropy."""
    labels = [f"{system.name}, φ_θ by {name}" for name in ("residual", "Donsker–Varadhan", "cross-entropy")]
    if system.n_states > LEARNED:
        reason = f"not tried: {system.n_states} states, {LEARNED} is the most that a φ_θ is trained for here"
        return [OnSystem(label, 1.0, None, None, reason, TOLERANCE) for label in labels]
    from theory import stationary_distribution

    if not bool((stationary_distribution(system.A(system.uniform(POINTS, seed=seed + 1))) > 0).all()):
        reason = "p_st lies on the boundary of the simplex, which a softmax reaches at infinity only"
        return [OnSystem(label, 1.0, None, None, reason, TOLERANCE) for label in labels]
    return [
        judged(system, labels[0], learned_by_residual(system, lambda A: A, seed), seed=seed),
        judged(system, labels[1], *learned_by_objective(system, donsker_varadhan, seed), seed=seed),
        judged_cross_entropy(system, labels[2], seed),
    ]


def _on_the_ring(learn: Callable[[FastSlowSystem, int], OnSystem]) -> Callable[[Profile], Structural]:
    """The check of one φ_θ on the driven ring."""

    def run(profile: Profile) -> Structural:
        from theory import get_system

        return over_systems(QUANTITY, [learn(get_system("driven_cycle"), profile.seed)])

    return run


def _one_rate(A: Any) -> Any:
    """A[k, n, n] with the rate 0 → 1 one per cent larger, tensor or array."""
    changed = A.clone() if hasattr(A, "clone") else A.copy()
    changed[:, 1, 0] += 0.01 * A[:, 1, 0]
    changed[:, 0, 0] -= 0.01 * A[:, 1, 0]
    return changed


def _rate_learned(objective: Callable[..., Any]) -> Callable[[FastSlowSystem, int], OnSystem]:
    def learn(system: FastSlowSystem, seed: int) -> OnSystem:
        return judged(system, "driven_cycle", *learned_by_objective(system, objective, seed), seed=seed)

    return learn


def _residual_learned(weights: Callable[[Tensor], Tensor]) -> Callable[[FastSlowSystem, int], OnSystem]:
    def learn(system: FastSlowSystem, seed: int) -> OnSystem:
        return judged(system, "driven_cycle", learned_by_residual(system, weights, seed), seed=seed)

    return learn


def _rate_of_one_more(A: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return donsker_varadhan(_one_rate(A), q)


def _without_inner_minimum(A: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The closed form that holds under detailed balance alone: Σ q_i|A_ii| − Σ_{i≠j} √(q_i q_j A_ij A_ji)."""
    import numpy as np

    own = np.arange(q.shape[1])
    both = np.sqrt(A * A.transpose(0, 2, 1))
    both[:, own, own] = 0.0
    root = np.sqrt(q)
    gradient = -A[:, own, own] - np.einsum("kij,kj->ki", both, root) / np.maximum(root, 1e-150)
    return (q * gradient).sum(-1), gradient


def _entropy_of(seen_as: Callable[[Any], Tensor]) -> Callable[[FastSlowSystem, int], OnSystem]:
    return lambda system, seed: judged_cross_entropy(system, "driven_cycle", seed, seen_as)


def _at_the_end(seen: Any) -> Tensor:
    """p_st(y): what the state at the end of a settled block is."""
    from theory import get_system, stationary_distribution

    return stationary_distribution(get_system("driven_cycle").A(seen.y))


def _mirrored(seen: Any) -> Tensor:
    """2 p_st − x̄: the gap with the other sign."""
    return 2.0 * _at_the_end(seen) - seen.x


def _sharpened(seen: Any) -> Tensor:
    """x̄ to the power 1.01, normalised."""
    powered = seen.x**1.01
    return powered / powered.sum(-1, keepdim=True)


CLAIM = StructuralClaim(
    id="variational_minimisers",
    statement="A learned φ_θ is a variational approximation of p_st: p_st alone minimises the residual ½‖A φ‖² and the "
    "Donsker–Varadhan rate, and the cross-entropy on fast states, the language-model loss, is minimised by p_ε, which "
    "tends to p_st with ε.",
    source="the paper's reading of φ_θ; Donsker & Varadhan, Comm. Pure Appl. Math. 28 (1975) 1; Gibbs' inequality",
    check=check,
    mutant=mutant,
    mutation="the residual is that of Aᵀ, whose minimiser is the uniform distribution",
    mutants=tuple(
        Mutant(name, breaks, _on_the_ring(learn))
        for name, breaks, learn in (
            ("residual_one_rate", "the residual's generator has one rate 1 % larger", _residual_learned(_one_rate)),
            ("rate_one_rate", "Donsker–Varadhan's generator has one rate 1 % larger", _rate_learned(_rate_of_one_more)),
            (
                "inner_minimum",
                "Donsker–Varadhan by its closed form for detailed balance",
                _rate_learned(_without_inner_minimum),
            ),
            (
                "smoothed",
                "cross-entropy on labels smoothed by 1 %",
                _entropy_of(lambda s: 0.99 * s.x + 0.01 / s.x.shape[-1]),
            ),
            ("end_of_block", "cross-entropy on the states at the ends of blocks", _entropy_of(_at_the_end)),
            ("mirrored", "cross-entropy on means on the other side of p_st", _entropy_of(_mirrored)),
            ("sharpened", "cross-entropy on means to the power 1.01", _entropy_of(_sharpened)),
        )
    ),
)
