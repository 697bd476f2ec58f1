"""What a slow path of period P can be worth on a `Regimes` source: the best loss of a model that has two views.

At token t it has the last m tokens, which windowed fast attention reads, and what a slow path tells it of the last
complete block: b = P ⌊(t + 1)/P⌋ tokens lie in complete blocks, as `network.pooling` counts them. Of these it knows

    filter    all that they are: the law of (regime, phase) at token b − 1 given all of them
    known     more than they tell: the regime and the phase at token b − 1

and the tokens between, b … t − m, it has not seen; where there are none, `filter` is the Bayes filter. No model with
these views is better in expectation than `filter`, and none whose slow path is told the regime better than `known`.
Before the first complete block there are the last m tokens alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from verify.corpus.bayes import advance, filtered, mean_loss, recent

if TYPE_CHECKING:
    from verify.corpus.regimes import Regimes


def behind_blocks(
    source: Regimes, tokens: Tensor, regimes: Tensor, starts: Tensor, *, period: int, reach: int
) -> dict[str, float]:
    """`filter` and `known` with P = `period` and m = `reach`, nats per token.

    Windows tokens[N, T + 1], regimes[N, T + 1] and starts[N] as `verify.corpus.bayes.bayes_losses` takes them. Raises
    `ValueError` for a period or a reach below 1.
    """
    if period < 1 or reach < 1:
        raise ValueError(f"period and reach must be at least 1 token, got {period} and {reach}")
    K, law = source.kernels, source.stationary
    now, following = tokens[:, :-1], tokens[:, 1:]
    rows = K[:, following, now].permute(1, 2, 0)  # [N, T, 2]: likelihood of each token under each regime
    prior = law[:, :, tokens[:, 0]].permute(2, 0, 1)
    beliefs = torch.stack(filtered(source, rows, prior)[1], 1)  # [N, T, 2, block]: at each token, given those up to it
    phase = (starts[:, None] + torch.arange(now.shape[1])) % source.block
    certain = torch.zeros_like(beliefs)
    certain.view(*now.shape, -1).scatter_(2, (regimes[:, :-1] * source.block + phase)[..., None], 1.0)
    head = recent(source, now, rows, reach)[:, : period - 1]
    return {
        name: mean_loss(torch.cat([head.flatten(), *_after(source, now, rows, belief, period, reach)]))
        for name, belief in (("filter", beliefs), ("known", certain))
    }


def _after(source: Regimes, now: Tensor, rows: Tensor, belief: Tensor, period: int, reach: int) -> list[Tensor]:
    """p(x_{t+1} | …) at every t >= P − 1, in parts by how many tokens t is behind the last complete block."""
    n, length, width = source.n, now.shape[1], 2 * source.block
    ends = torch.arange(period - 1, length, period)  # the last token of each complete block
    step = jump = source.chain
    found = []
    for late in range(period):
        end = ends[ends + late < length]
        q = belief[:, end]  # [N, blocks, 2, block]
        unseen = late - reach
        first, steps = end, late + 1
        if unseen > 0:
            # From the block's end over the unseen tokens to the first token that is seen, which speaks as well.
            jump = step @ jump
            between = jump.view(width, n, width, n).permute(1, 3, 0, 2)
            first, steps = end + unseen + 1, reach
            q = (between[now[:, first], now[:, end]] @ q.flatten(2)[..., None]).view_as(q)
        p = q.sum((-2, -1))
        for k in range(steps):
            q = q / p[..., None, None]
            q = advance(source, q) * rows[:, first + k][..., None]
            p = q.sum((-2, -1))
        found.append(p.flatten())
    return found
