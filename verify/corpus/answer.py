"""The answer that belongs to a made corpus: what is possible on the very windows that a model's loss is measured on.

A loss in nats per token says little; on a source that is known it says how much of what can be known was found. Two
shares are formed, both of differences on the same windows:

    share of the gap (order_1 − filter)    what a model, any model, has found of what the past tells beyond x_t
    share closed     (dense − filter)      what an arm adds to the dense baseline of its seed, of what was left to add
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from verify.corpus.regimes import Regimes
    from verify.corpus.systems import SystemText

EVALUATION = 262_144  # validation tokens that the last evaluation of a trained cell reads at most


def exact_losses(
    source: Regimes | SystemText, *, block_size: int, reach: tuple[int, ...] = (), limit: int = EVALUATION
) -> dict[str, float]:
    """The exact losses of `verify.corpus.bayes` on the validation windows of `block_size` tokens, nats per token.

    reach: how many tokens the windowed predictors see. Of a system's text only `known` has a closed form, and it is the
    mean over the whole text.

    Raises `ValueError` where a window would end on the separator behind the text.
    """
    from verify.corpus.bayes import bayes_losses
    from verify.corpus.regimes import Regimes

    if not isinstance(source, Regimes):
        return {"known": source.sample()[1]}
    return bayes_losses(source, *_measured(source, block_size, limit), reach)


def block_losses(
    source: Regimes, *, block_size: int, period: int, reach: int, limit: int = EVALUATION
) -> dict[str, float]:
    """The exact losses of `verify.corpus.behind_blocks` on the same windows: what a slow path can be worth."""
    from verify.corpus.behind_blocks import behind_blocks

    return behind_blocks(source, *_measured(source, block_size, limit), period=period, reach=reach)


def _measured(source: Regimes, block_size: int, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and regimes [N, block_size + 1] of the windows, and where in the stream each begins."""
    import numpy as np
    import torch

    from network.data import validation_batches

    tokens, regimes = (torch.from_numpy(part) for part in source.sample())
    begin = validation_start(source)
    positions = np.arange(begin, source.length + 1)  # with the separator, as `network.data` keeps it
    parts = list(validation_batches(positions, block_size, len(positions), limit))
    inputs, targets = (torch.cat([part[side] for part in parts]) for side in (0, 1))
    if int(targets.max()) == source.length:
        raise ValueError(
            f"length = {source.length} lets a validation window of {block_size} tokens end on the separator behind the "
            f"text: take length = {source.length + 10}"
        )
    index = torch.cat([inputs, targets[:, -1:]], 1)
    return tokens[index], regimes[index], index[:, 0]


def validation_start(source: Any) -> int:
    """Where the validation split of the text begins: the cut of `network.corpus`, on the text that it reads."""
    from verify.corpus import open_corpus

    _, (held_out,) = open_corpus(source.name).split()
    return held_out.start


def share(loss: float, *, above: float, below: float) -> float | None:
    """(above − loss)/(above − below): the share of that gap which is closed; None where there is no gap."""
    return (above - loss) / (above - below) if above - below > 1e-6 else None
