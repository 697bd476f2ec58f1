"""python -m network.generate RUN --prompt TEXT: let a trained model go on with a text.

    python -m network.generate runs/coupled --prompt "To be, or not"  --tokens 400 --temperature 0.8

Each new token costs one step of the fast path, and one of the slow path every P tokens (decoder.py). A text longer than
the model's block_size is seen through a window that hops by half of it. The text ends early where the model ends the
document. Without a prompt the model begins a document. One seed, one text.

Exit codes: 0 done; 2 usage or input; 3 logits that are not finite; 130 interrupted, after printing what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from network.command_line import RunParser, exit_code, load_run, seed_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from network.model import FastSlowLM


def stream(
    model: FastSlowLM,
    tokens: Any,
    *,
    temperature: Any = 1.0,
    top_k: Any = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """The tokens[B] that follow tokens[B, L], one position after the other, without end.

    temperature: 0 takes the most likely token, 1 samples from the model. top_k: sample among the k most likely only.
    generator: source of the samples (torch's own if None), on the model's device.

    Raises `ValueError` for a temperature below 0 or not finite and for top_k below 1, `RuntimeError` naming the
    position for logits that are not finite.
    """
    import torch

    from network.decoder import Decoder, window_start

    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be finite and >= 0, got {temperature!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be >= 1, got {top_k!r}")
    block_size = model.config.block_size
    decoder, begin, unread = Decoder(model), 0, tokens
    while True:
        start = window_start(tokens.shape[1], block_size)
        if start > begin:
            decoder, begin, unread = Decoder(model), start, tokens[:, start:]
        logits = decoder.read(unread)[:, -1]
        if not bool(torch.isfinite(logits).all()):
            raise RuntimeError(f"the logits after {tokens.shape[1]} tokens are not finite: the weights have diverged")
        unread = _choose(logits, temperature, top_k, generator)[:, None]
        yield unread[:, 0]
        tokens = torch.cat([tokens, unread], 1)


def generate(model: FastSlowLM, tokens: Any, count: int, **options: Any) -> Tensor:
    """tokens[B, L] followed by `count` new ones: [B, L + count]; options and errors are those of `stream`."""
    import torch

    if count < 0:
        raise ValueError(f"count must be >= 0, got {count!r}")
    new = [token for token, _ in zip(stream(model, tokens, **options), range(count), strict=False)] if count else []
    return torch.cat([tokens, torch.stack(new, 1)], 1) if new else tokens


def _choose(logits: Tensor, temperature: Any, top_k: Any, generator: Any) -> Tensor:
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.double() / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        least = scaled.topk(top_k, -1).values[..., -1:]
        scaled = scaled.masked_fill(scaled < least, -math.inf)
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = RunParser("python -m network.generate", __doc__ or "")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the text to go on with (default: a new document)")
    parser.add_argument("--tokens", type=_count, default=256, metavar="N", help="new tokens at most (default 256)")
    parser.add_argument("--temperature", type=_temperature, default=1.0, metavar="X", help="0: most likely; default 1")
    parser.add_argument("--top-k", type=_count, metavar="K", help="sample among the K most likely tokens")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the samples, 0 … 2^63 − 1; default 0")
    parser.add_argument("--json", action="store_true", help="print prompt, text and token ids as JSON")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _generate(options), parser.prog)


def _generate(options: argparse.Namespace) -> int:
    import torch

    from network.tokenizer import SEPARATOR, load_tokenizer

    model = load_run(options.run, options.device)
    device = model.embedding.weight.device
    tokenizer = load_tokenizer(_run_folder(options.run))
    # A document begins where another one ends.
    prompt = [SEPARATOR, *(int(t) for t in tokenizer.encode(options.prompt))]
    tokens = torch.tensor([prompt], device=device)
    source = torch.Generator(device).manual_seed(options.seed)
    new: list[int] = []
    try:
        for token in stream(model, tokens, temperature=options.temperature, top_k=options.top_k, generator=source):
            if int(token) == SEPARATOR:
                break
            new.append(int(token))
            if len(new) == options.tokens:
                break
    except KeyboardInterrupt:
        _print(options, tokenizer.decode(new), new)
        raise
    _print(options, tokenizer.decode(new), new)
    return 0


def _print(options: argparse.Namespace, text: str, new: list[int]) -> None:
    if options.json:
        print(json.dumps({"run": options.run, "prompt": options.prompt, "text": text, "tokens": new}))  # noqa: T201
    elif new:
        print(options.prompt + text)  # noqa: T201


def _run_folder(path: str) -> Any:
    from pathlib import Path

    folder = Path(path)
    return folder.parent.parent if (folder / "checkpoint.json").exists() else folder


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer >= 1")
    return value


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number >= 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
