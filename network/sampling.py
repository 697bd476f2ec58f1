"""How a model goes on with a sequence: `generate`, and `stream`, its token-by-token form.

A token is drawn from softmax(logits/temperature), restricted to the k most likely tokens (top-k), to the smallest set
of most likely tokens that together hold the probability p (the nucleus of Holtzman et al., ICLR 2020: top-p), or to
both, one after the other. Each new token costs one step of the fast path and one of the slow path every P tokens
(decoder.py); beyond block_size the model sees a window that hops by half of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from network.arguments import Integer, Number, Tokens
from network.decoder import decoder_of, window_start
from network.generator_lm import GeneratorLM
from network.model import FastSlowLM


def generate(
    model: FastSlowLM | GeneratorLM,
    tokens: Tokens,
    count: Integer = 256,
    *,
    temperature: Number = 1.0,
    top_k: Integer | None = None,
    top_p: Number | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """tokens[B, L] followed by `count` new ones: [B, L + count]. Options and errors are those of `stream`.

    Examples:
        >>> import torch, network
        >>> config = network.FastSlowConfig(vocab_size=9, block_size=8, n_layer=1, n_embd=8, n_head=2)
        >>> model = network.FastSlowLM(config)
        >>> network.generate(model, torch.tensor([[1, 2], [3, 4]]), 6, temperature=0).shape
        torch.Size([2, 8])
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"count must be an integer >= 0, got {count!r}: how many new tokens to add")
    going_on = stream(model, tokens, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
    new = [token for token, _ in zip(going_on, range(count), strict=False)] if count else []
    return torch.cat([tokens, torch.stack(new, 1)], 1) if new else tokens


def stream(
    model: FastSlowLM | GeneratorLM,
    tokens: Tokens,
    *,
    temperature: Number = 1.0,
    top_k: Integer | None = None,
    top_p: Number | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """The tokens[B] that follow tokens[B, L], one position after the other, without end.

    temperature: 0 takes the most likely token, 1 samples from the model. top_k: sample among the k most likely only.
    top_p: among the fewest most likely ones that hold the probability p. generator: source of the samples (torch's own
    if None), on the model's device.

    Raises `ValueError` for a temperature below 0 or not finite, top_k below 1 and top_p outside (0, 1], `RuntimeError`
    naming the position for logits that are not finite.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be finite and >= 0, got {temperature!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be >= 1, got {top_k!r}; None samples among all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p!r}; None samples among all tokens")
    block_size = model.config.block_size
    decoder, begin, unread = decoder_of(model), 0, tokens
    while True:
        start = window_start(tokens.shape[1], block_size)
        if start > begin:
            decoder, begin, unread = decoder_of(model), start, tokens[:, start:]
        logits = decoder.read(unread)[:, -1]
        if not bool(torch.isfinite(logits).all()):
            raise RuntimeError(f"the logits after {tokens.shape[1]} tokens are not finite: the weights have diverged")
        unread = _choose(logits, temperature, top_k, top_p, generator)[:, None]
        yield unread[:, 0]
        tokens = torch.cat([tokens, unread], 1)


def _choose(
    logits: Tensor, temperature: Number, top_k: Integer | None, top_p: Number | None, generator: torch.Generator | None
) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.double() / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        least = scaled.topk(top_k, -1).values[..., -1:]
        scaled = scaled.masked_fill(scaled < least, -math.inf)
    p = scaled.softmax(-1)
    if top_p is not None and top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        # A token stays while those before it hold less than top_p: the most likely one always does.
        spare = ordered.cumsum(-1) - ordered >= top_p
        p = p.masked_fill(torch.zeros_like(spare).scatter(-1, order, spare), 0.0)
    return torch.multinomial(p, 1, generator=generator)[:, 0]
