"""Reading a sequence piece by piece: what the two paths keep, so that a new token costs one step and not a full pass.

The fast path keeps the keys and values of every block. The slow path keeps those of its own blocks (one position per P
tokens), the stream of the block of tokens that is not complete yet, and the signal in force: a new token adds to the
incomplete block, and the token that completes it triggers one slow step. The logits are those of the full forward pass
over the same tokens, up to rounding.

A model reads at most block_size tokens. A longer text is seen through a window that hops: `window_start` says where
the window of a text of a given length begins. It hops by half a block_size, so the caches serve that many tokens before
they are built anew, and it depends on the length alone, however the text came to be.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from network.fast_path import KeyValueCache
from network.generator_lm import GeneratorLM
from network.model import Coupling, FastSlowLM


def window_start(length: int, block_size: int) -> int:
    """The first token that a model sees of `length` ones: 0 up to block_size, then the next multiple of half of it."""
    hop = max(1, block_size // 2)
    return hop * -(-max(0, length - block_size) // hop)


def decoder_of(model: FastSlowLM | GeneratorLM) -> Decoder | GeneratorDecoder:
    """A decoder of `model` that has read nothing yet."""
    return GeneratorDecoder(model) if isinstance(model, GeneratorLM) else Decoder(model)


def check_fits(length: int, block_size: int) -> None:
    """Raise `ValueError` where a decoder would have read more than block_size tokens."""
    if length > block_size:
        raise ValueError(f"{length} tokens exceed block_size = {block_size}: begin a new Decoder at window_start")


class GeneratorDecoder:
    """The state of a `GeneratorLM` after the tokens read so far: y, and the tokens of the block that is incomplete."""

    model: GeneratorLM
    length: int

    def __init__(self, model: GeneratorLM) -> None:
        self.model, self.length = model, 0
        self._incomplete = self._y = torch.empty(0)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Logits[B, t, V] at the next t tokens[B, t]; `ValueError` where they do not fit into block_size."""
        model, start, period = self.model, self.length, self.model.config.period
        model.check_tokens(tokens)
        end = start + tokens.shape[1]
        check_fits(end, model.config.block_size)
        if start == 0:
            self._incomplete, self._y = tokens[:, :0], model.base.new_zeros(len(tokens), model.config.n_slow)
        pending, states = torch.cat([self._incomplete, tokens], 1), self._y[:, None]
        if pending.shape[1] >= period:
            states = torch.cat([states, model.slow.states(model.slow.drive(pending), self._y)], 1)
        newest = torch.arange(start + 1, end + 1, device=tokens.device) // period - start // period
        complete = pending.shape[1] // period * period
        self._incomplete, self._y, self.length = pending[:, complete:], states[:, -1], end
        return model.logits(tokens, states[:, newest])


class Decoder:
    """The state of `model` after the tokens read so far; `read` goes on from there, without gradients.

    Raises `ValueError` for slow_attention 'full_leaking': each new block there changes what earlier tokens have read.
    """

    model: FastSlowLM
    length: int

    def __init__(self, model: FastSlowLM) -> None:
        config = model.config
        self.model, self.length = model, 0
        self._coupling = model.coupling if model.coupled else None
        if self._coupling is not None and config.slow_attention == "full_leaking":
            raise ValueError(
                "slow_attention 'full_leaking' cannot be read token by token: every new block changes the signals of "
                "earlier tokens; train with 'block_causal' to generate"
            )
        self._fast = [KeyValueCache(config.block_size) for _ in model.fast]
        self._slow = [KeyValueCache(config.block_size // config.period) for _ in range(config.n_slow_layer)]
        self._incomplete = self._signal = torch.empty(0)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Logits[B, t, V] at the next t tokens[B, t]; `ValueError` where they do not fit into block_size."""
        model, start = self.model, self.length
        model.check_tokens(tokens)
        end = start + tokens.shape[1]
        check_fits(end, model.config.block_size)
        couple = None if self._coupling is None else self._couple(self._coupling)
        logits = model.logits(tokens, model.rotary[start:end], couple, self._fast)
        self.length = end
        return logits

    def _couple(self, coupling: Coupling) -> Callable[[Tensor], Tensor]:
        period, start = self.model.config.period, self.length

        def couple(x: Tensor) -> Tensor:
            if start == 0:
                self._incomplete, self._signal = x[:, :0], x.new_zeros(x.shape[0], 1, x.shape[2])
            done = start // period
            pending, signals = torch.cat([self._incomplete, x], 1), self._signal
            complete = pending.shape[1] // period
            if complete:
                caches = None if coupling.slow is None else self._slow
                signals = torch.cat([signals, coupling.signal(pending, self.model.rotary[done:], caches)], 1)
            self._incomplete, self._signal = pending[:, complete * period :], signals[:, -1:]
            newest = torch.arange(start + 1, start + 1 + x.shape[1], device=x.device) // period - done
            return signals[:, newest]

        return couple
