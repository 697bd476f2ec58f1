"""A true generator block under the same measurement as a trained one: what the figures are where the identity holds.

Channel axis: the Euler residual block F(x; y) = h A(y) x of a random generator with as many states as the network has
channels, h = 1/(2 max exit rate), at slow states of the token clock with period P; φ_θ is fitted to pairs (y_k, x̄_k) of
that clock. Its defects are 0, iteration reaches p_st(y), and φ_θ differs from it by the gap of order 1/P that the
headline measures. Token axis: bare causal attention F = (W − I)x, whose C is W − I. Both Jacobians come from torch.func
and not from the formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from theory import spectral_gap, stationary_distribution, total_variation
from theory.systems import random_exponential
from theory.systems.attention import attention_weights
from verify.fits import get_fit
from verify.generator_defect.block import BlockDefect, iterate, update_defect
from verify.generator_defect.jacobian import jacobians
from verify.observe import get_observer

PAIRS, POINTS = 1200, 8
ITERATIONS = 20_000  # a generator block relaxes at h · gap, far slower than one matrix product costs


@dataclass(frozen=True)
class Reference:
    """The figures of a true generator block with `n_states` states at period P.

    block: as of a trained block. gap: the smallest spectral gap of h A(y), the rate of attraction on the simplex.
    phi_tv: mean TV(φ_θ(y), p_st(y)). endpoint_tv: mean TV of where the iteration ends to p_st(y).
    """

    period: int
    n_states: int
    block: BlockDefect
    gap: float
    phi_tv: float
    endpoint_tv: float


def generator_block(n_states: int, *, seed: int = 0) -> torch.Tensor:
    """The mean Jacobian [n, n] over slow states of the Euler block F(x; y) = h A(y) x: itself a generator."""
    system = random_exponential.system(n_states=n_states, n_slow=2, seed=seed)
    A = system.A(system.uniform(POINTS, seed=seed))
    return 0.5 / float(-A.diagonal(dim1=-2, dim2=-1).min()) * A.mean(0)


def measure_reference(period: int, *, n_states: int = 64, seed: int = 0) -> Reference:
    """The reference at one period, deterministic in `seed` (of the system, the points and the fit)."""
    system = random_exponential.system(n_states=n_states, n_slow=2, seed=seed)
    exits = -system.A(system.uniform(2000, seed=seed)).diagonal(dim1=-2, dim2=-1)
    step = 0.5 / float(exits.max())
    observe = get_observer("clock")
    pairs = observe(system, period, step=step, kernel="euler", count=PAIRS, seed=2 * seed)
    fresh = observe(system, period, step=step, kernel="euler", count=POINTS, seed=2 * seed + 1)
    phi = get_fit("varpro")(pairs.y, pairs.x, seed=seed).phi_theta
    y, x = fresh.y, fresh.x[:, None]  # one token a sequence: the tokens of a generator block do not meet
    A = system.A(y)

    def update(states: torch.Tensor) -> torch.Tensor:
        return step * torch.einsum("bij,btj->bti", A, states)

    channel = torch.stack(
        [jacobians(lambda u, rates=rates: step * u @ rates.T, state)[0] for rates, state in zip(A, x, strict=True)]
    )
    attention = [
        jacobians(lambda u, W=W: W @ u - u, torch.ones(len(W), 2, dtype=W.dtype))[1]
        for W in attention_weights(system.uniform(POINTS, seed=seed), causal=True)
    ]
    with torch.no_grad():
        learned = phi(y)
    block = update_defect(
        channel,
        torch.stack(attention),
        update,
        x,
        phi=learned[:, None],
        hears=torch.ones(x.shape[:2], dtype=torch.bool),
        iterations=ITERATIONS,
        seed=seed,
        block=0,
        coupled=True,
    )
    p = stationary_distribution(A)
    end, _, _ = iterate(update, x, ITERATIONS)
    return Reference(
        period,
        n_states,
        block,
        float(step * spectral_gap(A).min()),
        float(total_variation(learned, p).mean()),
        float(total_variation(end[:, 0], p).mean()),
    )
