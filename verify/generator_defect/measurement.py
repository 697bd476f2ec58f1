"""Every fast block of a network, measured at the states that text drives it through."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from network.arguments import Integer, Tokens
from verify.command_line import strict_json

if TYPE_CHECKING:
    from torch import Tensor

    from network import FastSlowConfig, FastSlowLM
    from verify.generator_defect.block import BlockDefect
    from verify.generator_defect.distance import Null

NULL_SAMPLES = 200


@dataclass(frozen=True)
class GeneratorDefect:
    """Every fast block, and the Gaussian nulls of the two axes at the same sizes.

    Examples:
        >>> from verify.generator_defect import GeneratorDefect
        >>> GeneratorDefect((), {}, {}, {}).to_json().splitlines()[0]
        '{'
    """

    blocks: tuple[BlockDefect, ...]
    channel_null: dict[str, Null]
    token_null: dict[str, Null]
    settings: dict[str, Any]

    def to_json(self) -> str:
        """Strict JSON."""
        return strict_json(asdict(self))

    def table(self) -> str:
        """A line per block and axis with the nulls beside them, then attraction and fixed points."""
        from verify.generator_defect.table import defect_table

        return defect_table(self)


def measure_defect(
    model: FastSlowLM,
    tokens: Tokens,
    *,
    iterations: Integer | None = None,
    null_samples: Integer = NULL_SAMPLES,
    seed: int = 0,
) -> GeneratorDefect:
    """Measure every fast block of `model` at the states that tokens[B, T] drive it through; float64 throughout.

    iterations: at most so many updates towards a fixed point (default 500). null_samples, seed: of the Gaussian null;
    the random bases take the same seed. The model is left as it is. Raises `ValueError` for tokens that the model
    refuses, and `RuntimeError` where its stream is not finite.

    Examples:
        >>> import torch
        >>> from network import FastSlowConfig, FastSlowLM
        >>> from verify.generator_defect import measure_defect
        >>> model = FastSlowLM(FastSlowConfig(block_size=8, n_layer=2, n_embd=8, n_head=2, period=4))
        >>> found = measure_defect(model, torch.zeros(1, 8, dtype=torch.int64), iterations=5, null_samples=5)
        >>> len(found.blocks)
        2
    """
    import torch

    from verify.generator_defect.attention import read_attention
    from verify.generator_defect.block import ITERATIONS, ROTATIONS, update_defect
    from verify.generator_defect.distance import gaussian_null
    from verify.generator_defect.jacobian import block_jacobians

    iterations = ITERATIONS if iterations is None else iterations
    for name, value in (("iterations", iterations), ("null_samples", null_samples)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
    trial = copy.deepcopy(model).double().eval().requires_grad_(False)
    states, u, phi = _states(trial, tokens)
    batch, length, width = states[0].shape
    rotary = trial.rotary[:length]
    hears = (torch.arange(length, device=rotary.device) >= trial.config.period - 1).expand(batch, length)
    blocks = []
    for i, (module, z) in enumerate(zip(trial.fast, states, strict=True)):
        block: Any = module
        coupled = u is not None and i == trial.config.coupling_layer
        signal = u if coupled and u is not None else torch.zeros_like(z)
        pairs = [block_jacobians(block, one, rotary) for one in z]

        def update(x: Tensor, block: Any = block, signal: Tensor = signal) -> Tensor:
            return block(x + signal, rotary) - x

        blocks.append(
            update_defect(
                torch.stack([channel for channel, _ in pairs]),
                torch.stack([token for _, token in pairs]),
                update,
                z - signal,
                phi=phi if coupled else None,
                hears=hears,
                attention=read_attention(lambda block=block, z=z: block(z, rotary))[0].mean(1),
                iterations=iterations,
                seed=seed,
                block=i,
                coupled=coupled,
            )
        )
    settings = {"model": trial.config.to_dict(), "sequences": batch, "length": length}
    settings |= {"iterations": iterations, "null_samples": null_samples, "rotations": ROTATIONS, "seed": seed}
    return GeneratorDefect(
        tuple(blocks),
        gaussian_null(width, samples=null_samples, seed=seed),
        gaussian_null(length, samples=null_samples, seed=seed, causal=True),
        settings,
    )


def initial_defects(
    config: FastSlowConfig, tokens: Any, *, seeds: Any, iterations: Any = 1, null_samples: Any = 2
) -> list[GeneratorDefect]:
    """The null that a trained network brings with it: the same architecture as drawn from each of `seeds`, measured at
    the states that the same tokens[B, T] drive it through."""
    import torch

    from network.model import FastSlowLM

    drawn = []
    for seed in seeds:
        model = FastSlowLM(config, generator=torch.Generator().manual_seed(seed)).to(tokens.device)
        drawn.append(measure_defect(model, tokens, iterations=iterations, null_samples=null_samples, seed=seed))
    return drawn


def _states(model: FastSlowLM, tokens: Any) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """What enters each fast block [B, T, d], the slow signal u and φ_θ(y) at the token rate (None if none is heard)."""
    import torch

    from network.pooling import unpool

    entered: list[Tensor] = []
    signals: list[Tensor] = []
    phis: list[Tensor] = []
    hooks: list[Any] = [
        block.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].clone())) for block in model.fast
    ]
    if model.coupling is not None:
        for module, kept in ((model.coupling, signals), (model.coupling.phi_theta, phis)):
            hooks.append(module.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out)))
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    for i, x in enumerate(entered):
        if not bool(torch.isfinite(x).all()):
            raise RuntimeError(f"the stream that enters fast block {i} is not finite: the weights have diverged")
    if not signals or len(entered) == model.config.coupling_layer:
        return entered, None, None
    return entered, signals[0], unpool(phis[0], model.config.period, entered[0].shape[1])
