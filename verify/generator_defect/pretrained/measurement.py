"""A pretrained transformer layer by layer: its distance to a generator on both axes, its nulls, its attention chain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from network.arguments import Integer
from verify.command_line import strict_json
from verify.generator_defect.layers import FIGURE, layer
from verify.generator_defect.pretrained.source import check_precision, check_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from verify.generator_defect.pretrained.replay import Recorded

NULL_SAMPLES = 50


@dataclass(frozen=True)
class PretrainedDefect:
    """What was found of one model on one text. layers: a dictionary each (`layers.layer`, with the figures of the
    attention chain: means over heads). settings: how it was measured.

    Examples:
        >>> from verify.generator_defect import PretrainedDefect
        >>> PretrainedDefect("small", 8, [], {}).to_json().splitlines()[1]
        '  "model": "small",'
    """

    model: str
    length: int
    layers: list[dict[str, Any]]
    settings: dict[str, Any]

    def to_json(self) -> str:
        """Strict JSON."""
        return strict_json(asdict(self))

    def table(self) -> str:
        """A line per layer."""
        from verify.generator_defect.pretrained.table import layer_table

        return layer_table(asdict(self))


def measure_pretrained(
    model: torch.nn.Module,
    tokens: Tensor,
    *,
    layers: Sequence[int] | None = None,
    init_seeds: Integer = 8,
    dtype: torch.dtype | None = None,
    spectrum: Integer | None = None,
    seed: int = 0,
    name: str = "",
    finished: Callable[[PretrainedDefect], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> PretrainedDefect:
    """Measure blocks of a model of transformers (decoder or encoder) at the states that tokens[T] drive it through.

    layers: which, default all. init_seeds: random initialisations of the same configuration beside it, with seeds 0, 1,
    …; 0 leaves that null out. dtype: of the Jacobians, torch.float64 (default) or torch.float32. spectrum: at how many
    tokens, evenly spread, the eigenvalues are taken (default: all). seed: of the sign-flip null. name: of the model,
    for tables. finished: is given the result so far after each model, progress a line before each block. The model is
    left as it is.

    Raises `ValueError` before anything expensive where the weights are neither float32 nor float64, the tokens are not
    the model's, or a block is no update by one softmax attention.

    Examples:
        >>> import torch
        >>> from transformers import GPT2Config, GPT2Model
        >>> from verify.generator_defect import measure_pretrained
        >>> config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, bos_token_id=0, eos_token_id=0)
        >>> found = measure_pretrained(GPT2Model(config), torch.arange(6), init_seeds=2)
        >>> found.layers[0]["token"].keys() >= {"shifted_distance", "init", "negated", "sign_flip"}
        True
    """
    import torch

    from verify.generator_defect.pretrained.replay import blocks_of, check, promoted, record

    dtype = torch.float64 if dtype is None else dtype
    check_precision(model, dtype)
    check_tokens(model, tokens)
    for what, value in (("init_seeds", init_seeds), ("spectrum", len(tokens) if spectrum is None else spectrum)):
        least = 0 if what == "init_seeds" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{what} must be an integer >= {least}, got {value!r}")
    count = len(blocks_of(model))
    chosen = list(range(count)) if layers is None else sorted({int(n) for n in layers})
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ValueError(f"layers {chosen} are not all among the {count} of the model: take numbers 0 … {count - 1}")
    tokens = tokens.to(next(model.parameters()).device)
    recorded = record(model, tokens, chosen)
    floors = [check(promoted(one, dtype)) for one in recorded]

    settings = {
        "architecture": type(model).__name__,
        "init_seeds": list(range(init_seeds)),
        "initializer_range": getattr(model.config, "initializer_range", None),
        "dtype": str(dtype).removeprefix("torch."),
        "tokens_with_eigenvalues": min(len(tokens), spectrum or len(tokens)),
        "null_samples": NULL_SAMPLES,
        "seed": seed,
    }
    blocks: list[dict[str, Any]] = []
    draws: list[list[dict[str, Any]]] = []

    def result() -> PretrainedDefect:
        told = [
            layer(block, [draw[k] for draw in draws]) | _chains(block, [draw[k] for draw in draws])
            for k, block in enumerate(blocks)
        ]
        return PretrainedDefect(name or settings["architecture"], len(tokens), told, settings)

    def say(line: str) -> None:
        if progress is not None:
            progress(line)

    for one, floor in zip(recorded, floors, strict=True):
        say(f"layer {one.layer}")
        blocks.append(_block(promoted(one, dtype), seed=seed, spectrum=spectrum) | {"float32_floor": floor})
        if finished is not None:
            finished(result())
    del recorded
    for number, drawn in enumerate(_initialisations(model, init_seeds)):
        found = []
        for one in record(drawn, tokens, chosen):
            say(f"initialisation {number}, layer {one.layer}")
            found.append(_drawn(promoted(one, dtype)))
        draws.append(found)
        if finished is not None:
            finished(result())
    return result()


def _initialisations(model: torch.nn.Module, seeds: int) -> Iterator[torch.nn.Module]:
    """The same configuration as drawn from each seed, one after the other; the global generator is left as it is."""
    import torch

    first = next(model.parameters())
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn: torch.nn.Module = type(model)(copy.deepcopy(model.config))
        yield drawn.to(device=first.device, dtype=first.dtype).eval()


def _axes(recorded: Recorded) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """J_tt[T, d, d], its mean and Cᵀ in float64 on the CPU, W[H, T, T], and the error of one direction."""
    from verify.generator_defect.pretrained.replay import measured_jacobians

    channel, token, weights, apart = measured_jacobians(recorded)
    return channel, channel.mean(0).double().cpu(), token.double().cpu().mT, weights.double().cpu(), apart


def _drawn(recorded: Recorded) -> dict[str, Any]:
    from verify.generator_defect.distance import figures
    from verify.generator_defect.nulls import correlation_with_attention

    _, channel, token, weights, _ = _axes(recorded)
    return {
        "channel": {FIGURE: float(figures(channel, spectrum=False)[FIGURE])},
        "token": {FIGURE: float(figures(token, spectrum=False)[FIGURE])},
        "correlation_with_attention": correlation_with_attention(token.mT, weights.mean(0)),
        **_chain(weights),
    }


def _block(recorded: Recorded, *, seed: int, spectrum: int | None) -> dict[str, Any]:
    import torch

    from verify.generator_defect.block import below_but_one
    from verify.generator_defect.distance import mean_figures
    from verify.generator_defect.nulls import axis_nulls, correlation_with_attention

    every, channel, token, weights, apart = _axes(recorded)
    at = torch.linspace(0, len(every) - 1, min(len(every), spectrum or len(every))).round().long()
    some = every[at.to(every.device)].double()
    rounding = some.shape[-1] * torch.finfo(every.dtype).eps * torch.linalg.matrix_norm(some)
    real = torch.linalg.eigvals(some).real
    nulls = {"channel": channel, "token": token}
    return {
        "block": recorded.layer,
        "channel": asdict(mean_figures(channel)),
        "token": asdict(mean_figures(token)),
        **{f"{axis}_nulls": asdict(axis_nulls(M, samples=NULL_SAMPLES, seed=seed)) for axis, M in nulls.items()},
        "correlation_with_attention": correlation_with_attention(token.mT, weights.mean(0)),
        "attracting": below_but_one(real[None], 0.0, rounding[None]),
        "abscissa": float(real.max()),
        "jacobian_check": apart,
        **_chain(weights),
    }


def _chain(weights: Tensor) -> dict[str, Any]:
    """The chain of each head's attention (theory.attention_chain): means over the heads, and the most of one head."""
    from theory import attention_chain

    chain = attention_chain(weights)
    return {
        "weight_on_first": float(chain.weight_on_first.mean()),
        "weight_on_first_largest": float(chain.weight_on_first.max()),
        "steps_to_first": float(chain.steps_to_first.mean()),
        "gap": float(chain.gap.mean()),
        "restarted_first": float(chain.stationary[..., 0].mean()),
    }


CHAIN = ("weight_on_first", "weight_on_first_largest", "steps_to_first", "gap", "restarted_first")
OWN = ("abscissa", "jacobian_check", "float32_floor")


def _chains(block: dict[str, Any], drawn: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `layers.layer` does not tell: the attention chain, as measured and as initialised."""
    initial = {name: [draw[name] for draw in drawn] for name in (*CHAIN, "correlation_with_attention")}
    return {name: block[name] for name in (*CHAIN, *OWN) if name in block} | {"init": initial}
