"""The figures of a network layer by layer, each beside its nulls, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify.generator_defect.block import BlockDefect

FIGURE = "shifted_distance"


def layers(blocks: Sequence[BlockDefect], initial: Sequence[Sequence[BlockDefect]] = ()) -> list[dict[str, Any]]:
    """A dictionary for each block: of both axes the distance to the nearest generator at the best multiple of the
    identity, as initialised (`init`, one number a draw of `initial`), with signs at random (`sign_flip`, low and high)
    and, on the token axis, with all signs turned (`negated`); then the correlation of C with the attention weights,
    and the share of the tokens at which the update attracts.

    Examples:
        >>> import torch
        >>> from network import FastSlowConfig
        >>> from verify.generator_defect.layers import layers
        >>> from verify.generator_defect.measurement import initial_defects
        >>> config = FastSlowConfig(block_size=8, n_layer=1, n_embd=8, n_head=2, period=4)
        >>> drawn = initial_defects(config, torch.arange(8)[None], seeds=(0, 1, 2))
        >>> (one,) = layers(drawn[0].blocks, [other.blocks for other in drawn[1:]])
        >>> len(one["token"]["init"]), one["token"]["sign_flip"][0] < one["token"]["sign_flip"][1]
        (2, True)
    """
    return [layer(asdict(block), [asdict(draw[k]) for draw in initial]) for k, block in enumerate(blocks)]


def layer(block: dict[str, Any], initial: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """`layers` of a single block that is plain data already."""
    channel, token = (
        {
            FIGURE: block[axis][FIGURE],
            "init": [draw[axis][FIGURE] for draw in initial],
            "sign_flip": [block[f"{axis}_nulls"]["sign_flip"][FIGURE][end] for end in ("low", "high")],
        }
        for axis in ("channel", "token")
    )
    token["negated"] = block["token_nulls"]["negated"][FIGURE]
    return {
        "layer": block["block"],
        "channel": channel,
        "token": token,
        "correlation_with_attention": block["correlation_with_attention"],
        "attracting": block["attracting"],
    }
