"""One update x ↦ x + F(x; y) at fixed slow state y, held against a generator: Jacobian, attraction, fixed point.

From J_ts = ∂F_t/∂x_s at the state x[B, T, d] (jacobian.py):

* the figures and nulls of distance.py on the channel axis (J_tt averaged over tokens and sequences, and each J_tt
  by itself) and on the token axis (C_ts = tr J_ts / d, in row convention). A generator has 0 throughout; bare attention
  weights W have 0 after the shift c = 1.
* whether x is attracting. For causal F the eigenvalues of J are those of all J_tt: attracting in continuous time if
  every real part is < 0, contracting under the update itself if every |1 + λ| < 1. One eigenvalue may stand on the
  border, Re λ = 0 or |1 + λ| = 1, as that of the conserved total probability of a generator does: a generator with a
  unique equilibrium is attracting, on the simplex.
* the fixed point that iterating the update reaches from x. A token has one if ‖F_t‖ falls to 1e-8 of ‖x_t‖ at the
  start, and so does that of the tokens before it, which it reads.
* φ_θ(y) against that fixed point where there is one, and against x itself: relative distance, and the sine of the
  angle, which the gate's scale cannot change (about √(1 − 1/d) by chance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from network.arguments import Flag, Integer
from verify.generator_defect.distance import DefectFigures, Null, mean_figures, rotated_null
from verify.generator_defect.nulls import AxisNulls, axis_nulls, correlation_with_attention

ITERATIONS, ROTATIONS = 500, 50
TOLERANCE = 1e-8  # of ‖F_t‖ over ‖x_t‖ at the start; a stream that grows for ever stays far above it


@dataclass(frozen=True)
class FixedPoint:
    """Where iterating the update ends.

    reached: fraction of tokens with a fixed point. residual: median ‖F_t‖ at the end over ‖x_t‖ at the start.
    growth: median ‖x_t‖ at the end over that at the start. iterations: how many were taken.
    """

    reached: float
    residual: float
    growth: float
    iterations: int


@dataclass(frozen=True)
class Manifold:
    """φ_θ(y) against some state x*, over `tokens` tokens: medians of ‖φ_θ − x*‖/‖x*‖ and of the sine of the angle."""

    distance: float
    sine: float
    tokens: int


@dataclass(frozen=True)
class BlockDefect:
    """The figures of one update.

    block: which one. coupled: whether the slow signal enters here. channel: of the mean J_tt. channel_each: mean over
    single J_tt. token: mean over sequences, of Cᵀ. rotated: the mean J_tt in random bases (no null behind
    LayerNorm: nulls.py). channel_nulls, token_nulls: of the mean J_tt and of the mean Cᵀ, signs at random and negated.
    correlation_with_attention: of the entries of C below the diagonal and of the mean attention weights (None: not
    given). abscissa, radius: the
    largest Re λ and |1 + λ| over all J_tt. attracting, contracting: fraction of tokens with all Re λ < 0, all
    |1 + λ| < 1, by more than rounding, but for one that may be 0, or 1, within it. phi_state, phi_fixed_point: None
    where no signal enters, or no token that hears it has a fixed point.
    """

    block: int
    coupled: bool
    channel: DefectFigures
    channel_each: DefectFigures
    token: DefectFigures
    rotated: dict[str, Null]
    channel_nulls: AxisNulls
    token_nulls: AxisNulls
    correlation_with_attention: float | None
    abscissa: float
    radius: float
    attracting: float
    contracting: float
    fixed_point: FixedPoint
    phi_state: Manifold | None
    phi_fixed_point: Manifold | None

    def table(self) -> str:
        """A line per axis with its nulls, then attraction and fixed point."""
        from verify.generator_defect.table import block_table

        return block_table(self)


def update_defect(
    channel: Float[Tensor, "B T d d"],
    token: Float[Tensor, "S L L"],
    update: Callable[[Tensor], Tensor],
    x: Float[Tensor, "B T d"],
    *,
    phi: Tensor | None,
    hears: Bool[Tensor, "B T"],
    block: Integer,
    coupled: Flag,
    attention: Tensor | None = None,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> BlockDefect:
    """The figures of the update F(x)[B, T, d] with these Jacobians at x; phi[B, T, d]: φ_θ(y) at tokens of `hears`.

    attention: W[S, L, L], the weights of the sequences of `token`, mean over heads. seed: of the nulls. block,
    coupled: as in `BlockDefect`. (The reference takes its token axis from other sequences than its channel axis, hence
    the separate sizes.)

    Examples:
        >>> import torch
        >>> from verify.generator_defect import jacobians, update_defect
        >>> A = torch.tensor([[-0.5, 0.25], [0.5, -0.25]], dtype=torch.float64)
        >>> x = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]], dtype=torch.float64)
        >>> channel, token = jacobians(lambda x: x @ A.mT, x[0])
        >>> hears = torch.zeros(1, 2, dtype=torch.bool)
        >>> what = {"phi": None, "hears": hears, "block": 0, "coupled": False}
        >>> found = update_defect(channel[None], token[None], lambda x: x @ A.mT, x, **what)
        >>> round(found.channel.distance, 12)  # the update of a generator is one
        0.0
    """
    eigenvalues = torch.linalg.eigvals(channel)
    rounding = channel.shape[-1] * torch.finfo(channel.dtype).eps * torch.linalg.matrix_norm(channel)
    real, size = eigenvalues.real, (1.0 + eigenvalues).abs()
    end, reached, fixed_point = iterate(update, x, iterations)
    mean, tokens = channel.mean((0, 1)), token.mean(0)
    return BlockDefect(
        channel=mean_figures(mean),
        channel_each=mean_figures(channel),
        token=mean_figures(token.mT),
        rotated=rotated_null(mean, samples=ROTATIONS, seed=seed),
        channel_nulls=axis_nulls(mean, samples=ROTATIONS, seed=seed),
        token_nulls=axis_nulls(tokens.mT, samples=ROTATIONS, seed=seed),
        correlation_with_attention=None if attention is None else correlation_with_attention(tokens, attention.mean(0)),
        abscissa=float(real.max()),
        radius=float(size.max()),
        attracting=below_but_one(real, 0.0, rounding),
        contracting=below_but_one(size, 1.0, rounding),
        fixed_point=fixed_point,
        phi_state=against(phi, x, hears),
        phi_fixed_point=against(phi, end, hears & reached),
        block=block,
        coupled=coupled,
    )


def below_but_one(values: Float[Tensor, "B T d"], limit: float, rounding: Float[Tensor, "B T"]) -> float:
    """The fraction of tokens all of whose values are below the limit, of which the largest may also be on it."""
    largest, *next_largest = values.sort(-1, descending=True).values[..., :2].unbind(-1)
    below = largest <= limit + rounding
    for value in next_largest:  # none for a single channel
        below &= value < limit - rounding
    return float(below.double().mean())


def iterate(
    update: Callable[[Tensor], Tensor], x: Float[Tensor, "B T d"], iterations: int = ITERATIONS
) -> tuple[Tensor, Tensor, FixedPoint]:
    """x ← x + F(x) until every token stands still: the end, which tokens have a fixed point [B, T], and the summary."""
    size = x.norm(dim=-1)
    start = torch.where(size > 0, size, 1.0)
    step, taken = update(x), 0
    while taken < iterations and not bool((step.norm(dim=-1) <= TOLERANCE * start).all()):
        x = x + step
        step, taken = update(x), taken + 1
    residual = step.norm(dim=-1) / start
    reached = (residual <= TOLERANCE).long().cummin(-1).values.bool()
    growth = float((x.norm(dim=-1) / start).median())
    return x, reached, FixedPoint(float(reached.double().mean()), float(residual.median()), growth, taken)


def against(phi: Tensor | None, x: Tensor, where: Tensor) -> Manifold | None:
    """φ[B, T, d] against x[B, T, d] at the tokens of where[B, T]; None without φ or without such a token."""
    if phi is None or not bool(where.any()):
        return None
    a, b = phi[where], x[where]
    distance = (a - b).norm(dim=-1) / b.norm(dim=-1)
    unit_a, unit_b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    # What is left of a after its part along b: 1 − cos² would cancel where φ is close.
    sine = (unit_a - (unit_a * unit_b).sum(-1, keepdim=True) * unit_b).norm(dim=-1)
    return Manifold(float(distance.median()), float(sine.median()), len(a))
