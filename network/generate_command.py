"""python -m network.generate RUN --prompt TEXT: let a trained model go on with a text.

    python -m network.generate runs/coupled --prompt "To be, or not"  --tokens 400 --temperature 0.8
    python -m network.generate runs/coupled --samples 3 --top-p 0.9

Each new token costs one step of the fast path, and one of the slow path every P tokens (decoder.py). A text longer than
the model's block_size is seen through a window that hops by half of it. The text ends early where the model ends the
document. Without a prompt the model begins a document. One seed, one text; sample k of --samples is the text of
seed + k.

Exit codes: 0 done; 2 usage or input; 3 logits that are not finite; 130 interrupted, after printing what there is.
"""

from __future__ import annotations

import argparse
import json
import math

from network.command_line import LARGEST_SEED, RunParser, exit_code, positive_integer, seed_number


def parser() -> RunParser:
    """The options of the command."""
    p = RunParser("python -m network.generate", __doc__ or "")
    p.add_argument("--prompt", default="", metavar="TEXT", help="the text to go on with (default: a new document)")
    p.add_argument("--tokens", type=positive_integer, default=256, metavar="N", help="new tokens at most (default 256)")
    p.add_argument("--samples", type=positive_integer, default=1, metavar="N", help="how many texts (default 1)")
    p.add_argument("--temperature", type=_temperature, default=1.0, metavar="X", help="0: most likely; default 1")
    p.add_argument("--top-k", type=positive_integer, metavar="K", help="sample among the K most likely tokens")
    p.add_argument(
        "--top-p", type=_probability, metavar="P", help="sample among the fewest that hold the probability P"
    )
    p.add_argument("--seed", type=seed_number, default=0, help="of the first sample, 0 … 2^63 − 1; default 0")
    p.add_argument("--json", action="store_true", help="print prompt, text and token ids as JSON")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    options = p.parse_args(arguments)
    if options.seed + options.samples - 1 > LARGEST_SEED:
        p.error(f"argument --seed: {options.samples} samples from {options.seed} on pass 2^63 − 1; take a smaller one")
    return exit_code(lambda: _generate(options), p.prog)


def _generate(options: argparse.Namespace) -> int:
    import torch

    from network.run_folder import load_run
    from network.sampling import stream
    from network.tokenizer import SEPARATOR, load_tokenizer

    model = load_run(options.run, options.device)
    device = model.device
    tokenizer = load_tokenizer(options.run)
    # A document begins where another one ends.
    prompt = torch.tensor([[SEPARATOR, *(int(t) for t in tokenizer.encode(options.prompt))]], device=device)
    choice = {"temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p}
    texts: list[list[int]] = []
    try:
        for sample in range(options.samples):
            source = torch.Generator(device).manual_seed(options.seed + sample)
            texts.append([])
            for token in stream(model, prompt, generator=source, **choice):
                if tokenizer.ends_documents and int(token) == SEPARATOR:
                    break
                texts[-1].append(int(token))
                if len(texts[-1]) == options.tokens:
                    break
    except KeyboardInterrupt:
        _print(options, tokenizer, texts)
        raise
    _print(options, tokenizer, texts)
    return 0


def _print(options: argparse.Namespace, tokenizer: object, texts: list[list[int]]) -> None:
    told = [{"text": tokenizer.decode(new), "tokens": new} for new in texts]  # type: ignore[attr-defined]
    if options.json:
        head = {"run": options.run, "prompt": options.prompt}
        several = {"samples": told} if options.samples > 1 else {}
        print(json.dumps({**head, **(told[0] if told else {"text": "", "tokens": []}), **several}))  # noqa: T201
        return
    for number, one in enumerate(told, start=1):
        if one["tokens"]:
            title = f"--- sample {number}, seed {options.seed + number - 1}\n" if options.samples > 1 else ""
            print(f"{title}{options.prompt}{one['text']}")  # noqa: T201


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number >= 0: 0 takes the most likely token")
    return value


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability in (0, 1]; 1 leaves every token in")
    return value
