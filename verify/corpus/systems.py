"""Tokens emitted by a fast-slow system: its fast states, one a token, while y follows the token clock.

A text is many trajectories, one after the other, each begun at a y drawn uniformly from the system's box: a single one
would settle, and a slow variable that stands still can teach nothing. In block k of `period` tokens y_k is held and the
state jumps by K(y_k) = e^{hA(y_k)} once a token; y_{k+1} is the token clock's own, driven by the block mean and not by
the sampled states (`theory.token_clock`). With y known the loss of a token is −log K(y_k)[x_{t+1}, x_t]; the best that
is possible without it has no closed form here, and none is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from network.arguments import Integer, Number, Text

if TYPE_CHECKING:
    import numpy as np

LENGTH = 1_399_990


@dataclass(frozen=True)
class SystemText:
    """Tokens of the built-in system `system`: `blocks` blocks of `period` tokens a trajectory, token step `step`.

    seed: of starts and states. length: tokens of the text. Raises `ValueError` naming the field, value and remedy.

    Examples:
        >>> from verify.corpus import SystemText
        >>> SystemText("driven_cycle").period
        8
    """

    system: Text
    period: Integer = 8
    blocks: Integer = 64
    step: Number = 0.05
    seed: Integer = 0
    length: Integer = LENGTH

    def __post_init__(self) -> None:
        from theory import list_systems

        if self.system not in list_systems():
            raise ValueError(f"unknown system {self.system!r}; the built-in ones are {', '.join(list_systems())}")
        for name, least in (("period", 1), ("blocks", 1), ("seed", 0), ("length", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if isinstance(self.step, bool) or not isinstance(self.step, int | float) or not 0 < self.step < float("inf"):
            raise ValueError(f"step must be positive and finite, got {self.step!r}")

    @property
    def name(self) -> str:
        """What `open_corpus` takes: `system:NAME`, with what differs from the defaults behind."""
        usual = SystemText(self.system)
        fields = ("period", "blocks", "step", "seed", "length")
        rest = [f"{name}={getattr(self, name)}" for name in fields if getattr(self, name) != getattr(usual, name)]
        return ",".join([f"system:{self.system}", *rest])

    def sample(self) -> tuple[np.ndarray, float]:
        """Tokens [length], and the mean loss with y known, in nats per token."""
        import numpy as np
        import torch

        from theory import get_system, token_clock

        system = get_system(self.system)
        rng = np.random.default_rng([self.seed, 1])
        rows = -(-self.length // (self.period * self.blocks))
        low, high = system.low, system.high
        y0 = low + (high - low) * torch.from_numpy(rng.random((rows, system.n_slow)))
        x0 = torch.full((rows, system.n_states), 1.0 / system.n_states, dtype=torch.float64)
        clock = token_clock(system, x0, y0, period=self.period, n_blocks=self.blocks, step=float(self.step))
        if not bool(clock.inside.all()):
            raise ValueError(f"{self.name}: a trajectory leaves the system's box; take a smaller step or fewer blocks")
        state = rng.integers(system.n_states, size=rows)
        tokens = np.empty((rows, self.blocks * self.period), dtype=np.int64)
        spent = 0.0
        for k in range(self.blocks):
            K = torch.linalg.matrix_exp(float(self.step) * system.generator(clock.y[:, k])).clamp_min(0.0)
            K = (K / K.sum(-2, keepdim=True)).mT.contiguous().numpy()  # [rows, from, to]
            cumulative = K.cumsum(-1)
            cumulative[..., -1] = 1.0
            for t in range(self.period):
                here = cumulative[np.arange(rows), state]
                new = (here <= rng.random((rows, 1))).sum(1)
                spent -= float(np.log(K[np.arange(rows), state, new]).sum())
                tokens[:, k * self.period + t] = state = new
        return tokens.reshape(-1)[: self.length], spent / tokens.size
