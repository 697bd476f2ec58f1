"""What a variational φ_θ is drawn to: p_st is the minimiser of two objectives, and the limit of the third's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Mutant, Profile, Structural, StructuralClaim
from verify.claims._systems import WIDEST, OnSystem, over_systems

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from theory import FastSlowSystem

    Objective = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]

POINTS, PERIOD = 2, 256
LARGEST = 32  # states: the Donsker–Varadhan rate is an inner minimisation over all of them at every step
LEARNED = 8  # states: a φ_θ of more has too many unknowns for this check
TOLERANCE = 1e-4  # in TV: what the optimiser may leave
POOR = 1e-3  # a φ_θ that misses exact pairs by more cannot say what its objective is drawn to
STEPS = 400
ATTEMPTS = 3
RATIO_TOLERANCE = 0.02
PAIRS, FRESH = 600, 200
QUANTITY = "1 − TV between the minimiser and p_st; for the cross-entropy, its TV to p_st over the predicted one"


def check(profile: Profile) -> Structural:
    """On every built-in system: minimise each objective at fixed y over softmax logits, from two starts, and over a
    φ_θ of y, held against p_st at fresh y and against its certificate."""
    from theory import get_system, list_systems

    found = []
    for name in list_systems():
        system = get_system(name)
        found += [_minimise(system, "residual", _residual_argmin, profile.seed)]
        found += [_rate(system, profile.seed)]
        found += [_cross_entropy(system, profile.seed)]
        found += _learned(system, profile.seed)
    return over_systems(QUANTITY, found)


def mutant(profile: Profile) -> Structural:
    """The residual is that of Aᵀ, whose minimiser is the uniform distribution."""
    from theory import get_system

    wrong = _minimise(get_system("driven_cycle"), "residual", _transposed_argmin, profile.seed)
    return over_systems(QUANTITY, [wrong])


def _learned(system: FastSlowSystem, seed: int) -> list[OnSystem]:
    """φ_θ by residual, by Donsker–Varadhan rate and by cross-entropy."""
    labels = [f"{system.name}, φ_θ by {name}" for name in ("residual", "Donsker–Varadhan", "cross-entropy")]
    if system.n_states > LEARNED:
        reason = f"not tried: {system.n_states} states, {LEARNED} is the most that a φ_θ is trained for here"
        return [OnSystem(label, 1.0, None, None, reason, TOLERANCE) for label in labels]
    from theory import stationary_distribution
    from verify.claims._learned import donsker_varadhan, learned_by_objective, learned_by_residual

    if not bool((stationary_distribution(system.A(system.uniform(POINTS, seed=seed + 1))) > 0).all()):
        reason = "p_st lies on the boundary of the simplex, which a softmax reaches at infinity only"
        return [OnSystem(label, 1.0, None, None, reason, TOLERANCE) for label in labels]
    return [
        _judged(system, labels[0], learned_by_residual(system, lambda A: A, seed), seed=seed),
        _judged(system, labels[1], *learned_by_objective(system, donsker_varadhan, seed), seed=seed),
        _entropy_learned(system, labels[2], seed),
    ]


def _judged(system: FastSlowSystem, label: str, phi: Any, moved: float = 0.0, *, seed: int) -> OnSystem:
    """1 − mean TV(φ_θ(y), p_st(y)) at fresh y. Its doubt is what the same network misses of exact pairs (y, p_st), and
    how far the optimiser was still moving."""
    import torch

    from theory import certificate, stationary_distribution, total_variation
    from verify.claims._learned import learned_from_pairs

    def exact(y: Tensor) -> Tensor:
        return stationary_distribution(system.A(y))

    y = system.uniform(FRESH, seed=seed + 5)
    A, p = system.A(y), exact(y)
    with torch.no_grad():
        q, reached = phi(y), learned_from_pairs(system, exact, seed)(y)
    tv, bound = total_variation(q, p), certificate(A, q)
    floor = float(total_variation(reached, p).mean())
    rows = [{"tv": float(tv.mean()), "certificate_tv": float(bound.mean()), "floor_tv": floor}]
    if bool((tv > bound).any()):
        return OnSystem(label, 1.0, 0.0, (0.0, 0.0), "the gap exceeds its certificate", TOLERANCE, rows)
    if floor > POOR:
        reason = f"this φ_θ misses exact pairs (y, p_st) by {floor:.1e} in TV: too much to see what it is drawn to"
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE, rows)
    measured, doubt = 1.0 - float(tv.mean()), 3.0 * (floor + moved) + TOLERANCE
    return OnSystem(label, 1.0, measured, (measured - doubt, measured + doubt), "", rows=rows)


def _entropy_learned(
    system: FastSlowSystem, label: str, seed: int, seen_as: Callable[[Any], Tensor] = lambda seen: seen.x
) -> OnSystem:
    """φ_θ of the least cross-entropy on the block means of the token clock: its departure from p_st along the
    predicted leading term, 1 if it learns E[x | y] = p_ε(y). seen_as: what a mutant trains on in the place of x̄.

    The figure is the projection ⟨φ_θ − p_st, leading⟩/‖leading‖², so that a departure of another sign or in other
    states does not pass; what is off at right angles widens the interval.
    """
    import torch

    from theory import stationary_distribution
    from verify.fits import get_fit
    from verify.observe.clock import default_step, observe

    step = default_step(system, "exp")
    seen, fresh = (
        observe(system, PERIOD, step=step, kernel="exp", count=count, seed=2 * seed + k)
        for k, count in enumerate((PAIRS, FRESH))
    )
    leading = fresh.leading_term(system)
    size = leading.square().sum()
    if float(size.sqrt()) < 1e-12:
        return OnSystem(label, 1.0, None, None, "no O(ε) term: p_ε is p_st to rounding", RATIO_TOLERANCE)
    if not seen.settled:
        return OnSystem(label, 1.0, None, None, seen.why_not, RATIO_TOLERANCE)
    phi = get_fit("multinomial")(seen.y, seen_as(seen), seed=seed).phi_theta
    p = stationary_distribution(system.A(fresh.y))
    with torch.no_grad():
        away, learned = phi(fresh.y) - p, phi(fresh.y) - fresh.x
    ratio = float((away * leading).sum() / size)
    floor = float((learned.square().sum() / size).sqrt())  # what φ_θ misses of x̄ itself, in the 2-norm
    rows = [{"ratio": ratio, "learning": floor}]
    if seen_as(seen) is seen.x and floor > WIDEST / 2:
        reason = f"this φ_θ misses the block means by {floor:.1e} of the gap: too much to see what it is drawn to"
        return OnSystem(label, 1.0, None, None, reason, RATIO_TOLERANCE, rows)
    doubt = min(floor, 0.01)
    return OnSystem(label, 1.0, ratio, (ratio - doubt, ratio + doubt), "", RATIO_TOLERANCE, rows)


def _residual_argmin(A: Tensor, seed: int) -> Tensor:
    """Of ½‖A q‖²."""
    return _least_squares(A, _scaled(A), seed)


def _transposed_argmin(A: Tensor, seed: int) -> Tensor:
    """Of ½‖Aᵀ q‖²: the mutant."""
    return _least_squares(A, _scaled(A).T, seed)


def _rate_argmin(A: Tensor, seed: int) -> Tensor:
    """Of the Donsker–Varadhan rate."""
    return _argmin(A, _donsker_varadhan, seed)


def _donsker_varadhan(A: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray]:
    """I(q) = Σ q_i |A_ii| − min_v Σ_{i≠j} q_i A_ji e^{v_j − v_i} and its gradient −(Aᵀu)_i / u_i at u = e^v.

    The inner problem is convex; Newton's method with step halving, in the gauge Σ v = 0 (Donsker & Varadhan, Comm. Pure
    Appl. Math. 28 (1975) 1).
    """
    import numpy as np

    n = len(q)
    weights = q[:, None] * A.T
    np.fill_diagonal(weights, 0.0)

    def flows(v: np.ndarray) -> np.ndarray:
        return weights * np.exp(np.clip(v[None, :] - v[:, None], -700.0, 700.0))

    v = np.log(np.maximum(q, 1e-300)) * 0.5
    M = flows(v)
    for _ in range(100):
        slope = M.sum(0) - M.sum(1)
        curvature = np.diag(M.sum(0) + M.sum(1)) - M - M.T + np.full((n, n), M.sum() / n**2)
        step = np.linalg.lstsq(curvature, -slope, rcond=None)[0]
        length = 1.0
        while length > 1e-10 and flows(v + length * step).sum() > M.sum() * (1.0 + 1e-15):
            length *= 0.5
        v = v + length * step - (length * step).mean()
        M = flows(v)
        if np.abs(step).max() < 1e-13 * max(1.0, float(np.abs(v).max())):
            break
    into = M.sum(1) / np.maximum(q, 1e-300)
    gradient = -np.diag(A) - into
    return float(q @ gradient), gradient


def _rate(system: FastSlowSystem, seed: int) -> OnSystem:
    if system.n_states <= LARGEST:
        return _minimise(system, "Donsker–Varadhan", _rate_argmin, seed)
    reason = f"not tried: {system.n_states} states, {LARGEST} is the most that its nested minimisation is made for"
    return OnSystem(f"{system.name}, Donsker–Varadhan", 1.0, None, None, reason, TOLERANCE)


def _minimise(system: FastSlowSystem, name: str, argmin: Callable[[Tensor, int], Tensor], seed: int) -> OnSystem:
    """1 − TV(argmin, p_st) at the worst of POINTS values of y; the spread over two starts is its interval."""
    import torch

    from theory import certificate, stationary_distribution, total_variation

    label = f"{system.name}, {name}"
    y = system.uniform(POINTS, seed=seed + 1)
    A = system.A(y)
    p = stationary_distribution(A)
    if not bool((p > 0).all()):
        reason = "p_st lies on the boundary of the simplex, which a softmax reaches at infinity only"
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE)
    ends = [torch.stack([argmin(a, seed + start) for a in A]) for start in (0, 1)]
    tv = torch.stack([total_variation(q, p) for q in ends])
    bound = torch.stack([certificate(A, q) for q in ends])
    spread = float(total_variation(*ends).max())
    rows = [{"tv": float(t), "certificate_tv": float(b)} for t, b in zip(tv.flatten(), bound.flatten(), strict=True)]
    if bool((tv > bound).any()):
        return OnSystem(label, 1.0, 0.0, (0.0, 0.0), "the gap exceeds its certificate", TOLERANCE, rows)
    if spread > 100 * TOLERANCE:
        reason = (
            f"flat: two starts end {spread:.1e} apart in TV (the wells of a metastable chain hardly see each other)"
        )
        return OnSystem(label, 1.0, None, None, reason, TOLERANCE, rows)
    worst = float(tv.max())
    doubt = spread + TOLERANCE
    return OnSystem(label, 1.0, 1.0 - worst, (1.0 - worst - doubt, 1.0 - worst + doubt), "", rows=rows)


def _argmin(A: Tensor, objective: Objective, seed: int) -> Tensor:
    """The minimiser over softmax logits by BFGS; rates in units of the largest."""
    from scipy import optimize

    scaled = _scaled(A)

    def of_logits(logits: np.ndarray) -> tuple[float, np.ndarray]:
        q = _softmax(logits)
        value, gradient = objective(scaled, q)
        return value, q * (gradient - q @ gradient)

    def end(start: np.ndarray) -> tuple[float, np.ndarray]:
        options = {"gtol": 1e-14, "maxiter": STEPS}
        found = optimize.minimize(of_logits, start, jac=True, method="BFGS", options=options)
        return float(found.fun), found.x

    return _best(end, len(A), seed)


def _least_squares(A: Tensor, weights: np.ndarray, seed: int) -> Tensor:
    """The minimiser of ½‖W q‖² over softmax logits, W[n, n] = `weights`, by Levenberg–Marquardt: it sees W, not WᵀW."""
    import numpy as np
    from scipy import optimize

    def jacobian(logits: np.ndarray) -> np.ndarray:
        q = _softmax(logits)
        return weights * q[None, :] - np.outer(weights @ q, q)

    def end(start: np.ndarray) -> tuple[float, np.ndarray]:
        found = optimize.least_squares(
            lambda logits: weights @ _softmax(logits),
            start,
            jac=jacobian,  # type: ignore[arg-type]
            method="lm",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=10 * STEPS,
        )
        return float(found.cost), found.x

    return _best(end, len(A), seed)


def _best(end: Callable[[np.ndarray], tuple[float, np.ndarray]], n: int, seed: int) -> Tensor:
    """softmax of the best end from ATTEMPTS random logits: one alone may stop at a vertex, where a softmax is flat."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    _, logits = min((end(rng.normal(size=n)) for _ in range(ATTEMPTS)), key=lambda found: found[0])
    return torch.from_numpy(logits).softmax(-1)


def _scaled(A: Tensor) -> np.ndarray:
    return A.numpy() / float(A.abs().max())


def _softmax(logits: np.ndarray) -> np.ndarray:
    import numpy as np

    q = np.exp(logits - logits.max())
    return q / q.sum()


def _cross_entropy(system: FastSlowSystem, seed: int) -> OnSystem:
    """The minimiser of E[−ln φ(x)] is E[x | y] = p_ε(y): its TV to p_st over the predicted pooling gap."""
    import numpy as np
    import torch

    from theory import stationary_distribution, total_variation
    from verify.observe.clock import default_step, observe, relaxation_rate

    label = f"{system.name}, cross-entropy"
    step = default_step(system, "exp")
    seen = observe(system, PERIOD, step=step, kernel="exp", count=POINTS, seed=seed)
    p = stationary_distribution(system.A(seen.y))
    predicted = 0.5 * seen.leading_term(system).abs().sum(-1).mean()
    if float(predicted) < 1e-12:
        return OnSystem(label, 1.0, None, None, "no O(ε) term: p_ε is p_st to rounding", RATIO_TOLERANCE)
    if not seen.settled:
        return OnSystem(label, 1.0, None, None, seen.why_not, RATIO_TOLERANCE)

    def entropy_of(mean: np.ndarray) -> Objective:
        return lambda _, q: (float(-mean @ np.log(np.maximum(q, 1e-300))), -mean / np.maximum(q, 1e-300))

    A = system.A(seen.y)
    ends = [
        torch.stack([_argmin(a, entropy_of(x.numpy()), seed + s) for a, x in zip(A, seen.x, strict=True)])
        for s in (0, 1)
    ]
    spread = float(total_variation(*ends).max() / predicted)
    ratio = float(total_variation(ends[0], p).mean() / predicted)
    # A minimum known to rounding η fixes its place to √η; and the start of the block is not forgotten altogether.
    left = math.sqrt(torch.finfo(p.dtype).eps) / float(predicted)
    doubt = spread + left + math.exp(-PERIOD * step * float(relaxation_rate(system, seen.y).min()))
    rows = [{"tv": float(t)} for t in total_variation(ends[0], p)]
    return OnSystem(label, 1.0, ratio, (ratio - doubt, ratio + doubt), "", RATIO_TOLERANCE, rows)


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
        from verify.claims._learned import learned_by_objective

        return _judged(system, "driven_cycle", *learned_by_objective(system, objective, seed), seed=seed)

    return learn


def _residual_learned(weights: Callable[[Tensor], Tensor]) -> Callable[[FastSlowSystem, int], OnSystem]:
    def learn(system: FastSlowSystem, seed: int) -> OnSystem:
        from verify.claims._learned import learned_by_residual

        return _judged(system, "driven_cycle", learned_by_residual(system, weights, seed), seed=seed)

    return learn


def _rate_of_one_more(A: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from verify.claims._learned import donsker_varadhan

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
    return lambda system, seed: _entropy_learned(system, "driven_cycle", seed, seen_as)


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
