"""What text does to the slow path: y after each block, where it stands, and the stretch of text that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from network import GeneratorLM

STRETCH = 4096  # tokens: what is drawn anew in a bootstrap, within one document
BATCH = 64


@dataclass(frozen=True, eq=False)
class TextStates:
    """y[N, d] after N blocks, float64; `start`[N]: the place of each block's last token x_0; `stretch`[N]: of text."""

    y: Tensor
    start: Tensor
    stretch: Tensor

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: Tensor) -> TextStates:
        """Those of the given indices, or of a mask."""
        return TextStates(self.y[chosen], self.start[chosen], self.stretch[chosen])

    def sample(self, count: int, seed: int) -> TextStates:
        """At most `count` of them, drawn without replacement."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:count].sort().values.to(self.start.device))


def text_states(model: GeneratorLM, tokens: Tensor, ends: Sequence[int], *, most: int) -> TextStates:
    """The slow states that `model` (float64) has over windows of its block_size of at most `most` tokens[T].

    ends: where the documents end. Windows are spread evenly over the text. Raises `ValueError` without a window.
    """
    size, period = model.config.block_size, model.config.period
    fitting = len(tokens) // size
    if fitting < 1:
        raise ValueError(f"the text holds {len(tokens)} tokens, less than a window of block_size = {size}: add text")
    count = max(1, min(fitting, most // size))
    begins = torch.arange(count, device=tokens.device) * fitting // count * size
    blocks = torch.arange(1, size // period + 1, device=tokens.device) * period - 1
    found = []
    for some in begins.split(BATCH):
        windows = tokens[some[:, None] + torch.arange(size, device=tokens.device)]
        with torch.no_grad():
            found.append(model.slow.blocks(windows).flatten(0, 1))
    start = (begins[:, None] + blocks).flatten()
    return TextStates(torch.cat(found), start, stretches(ends, start))


def stretches(ends: Sequence[int], places: Tensor) -> Tensor:
    """The stretch [N] of each place[N]: each document is cut into as many equal stretches of >= `STRETCH` tokens as fit
    (a shorter one is a stretch)."""
    cuts, begin = [], 0
    for end in ends:
        parts = max(1, (end - begin) // STRETCH)
        cuts += [begin + (end - begin) * k // parts for k in range(1, parts + 1)]
        begin = end
    return torch.searchsorted(torch.tensor(cuts, device=places.device), places, right=True)


def resampled(stretch: Tensor, count: int, seed: int) -> Tensor:
    """Bootstrap weights [count, N]: how often the stretch of each point is drawn, in as many draws as stretches."""
    names, place = stretch.unique(return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return torch.from_numpy(draws).to(stretch.device).double()[:, place]


def clusters(y: Tensor, count: int, *, seed: int = 0, steps: int = 12) -> Tensor:
    """The nearest [N] of `count` centres, found by k-means (Lloyd) on at most 20,000 of y[N, d]."""
    rng = torch.Generator().manual_seed(seed)
    some = y[torch.randperm(len(y), generator=rng)[:20_000].to(y.device)]
    centres = some[:count]
    for _ in range(steps):
        near = torch.cdist(some, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, near, some)
        sizes = torch.bincount(near, minlength=len(centres)).clamp_min(1)[:, None]
        centres = torch.where(sums.abs().sum(-1, keepdim=True) > 0, sums / sizes, centres)
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in y.split(8192)])
