"""What any model can reach on a `Regimes` source: exact predictive probabilities on the tokens that it is measured on.

All losses are means of −log p(x_{t+1} | what is known) over windows of T inputs, in nats per token:

    known         y is known: −log K_y[x_{t+1}, x_t], the floor
    filter        all tokens of the window up to x_t, y and the phase of the blocks unknown: the Bayes filter
    phase_known   the same filter told where blocks begin; the hazard is then f at block borders and 0 between them
    order_1       x_t alone
    window_m      the last m tokens alone (m = L(w − 1) + 1: what L layers of fast attention of window w can reach)

The filter runs on (regime, phase) with the exact transition, a flip with probability f when a block ends and none
elsewhere, from the stationary law of (regime, phase) given the window's first token. Windows of training begin anywhere
in a block, so a model cannot know the phase: `filter` is what it is held against, `phase_known` is printed beside it.
Loss differences on shared windows are free of the choice of text, as differences between arms are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from verify.corpus.regimes import Regimes


def bayes_losses(
    source: Regimes, tokens: Tensor, regimes: Tensor, starts: Tensor, reach: tuple[int, ...] = ()
) -> dict[str, float]:
    """The losses above on windows tokens[N, T + 1] (regimes[N, T + 1] with them), window k beginning at stream index
    starts[k] (for the phase); a `window_m` for each m in `reach`."""
    K, law = source.kernels, source.stationary
    now, following = tokens[:, :-1], tokens[:, 1:]
    rows = K[:, following, now].permute(1, 2, 0)  # [N, T, 2]: likelihood of each token under each regime
    phase = (starts[:, None] + torch.arange(tokens.shape[1])) % source.block
    prior = law[:, :, tokens[:, 0]].permute(2, 0, 1)  # [N, 2, block]: of (regime, phase) of the first token
    told = torch.zeros_like(prior).scatter_(2, phase[:, :1, None].expand(-1, 2, 1), 1.0) * prior
    found = {
        "known": mean_loss(rows.gather(2, regimes[:, 1:, None])[..., 0]),
        "filter": mean_loss(_likelihoods(source, rows, prior)),
        "phase_known": mean_loss(_likelihoods(source, rows, told)),
        "order_1": mean_loss(recent(source, now, rows, 1)),
    }
    return found | {f"window_{m}": mean_loss(recent(source, now, rows, m)) for m in reach}


def expected_losses(source: Regimes) -> dict[str, float]:
    """`known` and `order_1` in expectation, from the stationary law: no text, no sampling."""
    K, law = source.kernels, source.stationary
    # the regime that draws the next token, jointly with the token now
    ahead = advance(source, law.permute(2, 0, 1)).sum(2).T  # [2, n]
    joint = ahead[:, None, :] * K  # [2, n next, n now]
    mixed = joint.sum(0)
    return {
        "known": -float((joint * K.log()).sum()),
        "order_1": -float((mixed * (mixed / mixed.sum(0)).log()).sum()),
    }


def advance(source: Regimes, q: Tensor) -> Tensor:
    """The law of (regime, phase) of the next token from that of this one, q[..., 2, block]."""
    f = float(source.f)
    moved = q.roll(1, -1)
    border = moved[..., 0]
    moved = moved.clone()
    moved[..., 0] = (1 - f) * border + f * border.flip(-1)
    return moved


def filtered(source: Regimes, rows: Tensor, prior: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """At each of T tokens p(x_{t+1} | x_0 … x_t) [N], and the law of (regime, phase) given x_0 … x_t [N, 2, block],

    from likelihoods rows[N, T, 2] and the prior[N, 2, block] at t = 0.
    """
    q = prior / prior.sum((1, 2), keepdim=True)
    found, beliefs = [], []
    for t in range(rows.shape[1]):
        beliefs.append(q)
        q = advance(source, q) * rows[:, t, :, None]
        p = q.sum((1, 2))
        q = q / p[:, None, None]
        found.append(p)
    return found, beliefs


def _likelihoods(source: Regimes, rows: Tensor, prior: Tensor) -> Tensor:
    return torch.stack(filtered(source, rows, prior)[0], 1)


def recent(source: Regimes, now: Tensor, rows: Tensor, m: int) -> Tensor:
    """p(x_{t+1} | the last m tokens up to x_t, fewer where the window has fewer) [N, T]."""
    law = source.stationary.permute(2, 0, 1)  # [n, 2, block]
    length = now.shape[1]
    if m >= length:
        return _likelihoods(source, rows, law[now[:, 0]])
    head = _likelihoods(source, rows[:, : m - 1], law[now[:, 0]]) if m > 1 else rows[:, :0, 0]
    # Every t >= m − 1 at once: start from token t − m + 1 and take m steps, the last of which predicts.
    q = law[now[:, : length - m + 1]]
    q = q / q.sum((-2, -1), keepdim=True)
    p = q.new_empty(0)
    for step in range(m):
        q = advance(source, q) * rows[:, step : step + length - m + 1, :, None]
        p = q.sum((-2, -1))
        q = q / p[..., None, None]
    return torch.cat([head, p], 1)


def mean_loss(p: Tensor) -> float:
    """−mean log p, nats per token."""
    return -float(p.log().mean())
