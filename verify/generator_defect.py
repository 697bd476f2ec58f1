"""How far the fast blocks of a trained network are from a generator. `python -m verify.generator_defect RUN…`

The identity φ(y) = p_st(y) needs f(x, y) = A(y)x with A(y) a generator. A trained block is a general map; this
measures, for each fast block and at the states that real text drives it through, by how much it is not one. What is
measured of an update is in block_defect.py, the figures and their nulls in defect_figures.py.

The update of a fast block is F(x; y) = block(x) − x; where the coupling enters, block(x + u(y)) − x with the slow
signal u held. RMSNorm makes the attention half of F depend on the direction of x alone, so nothing in the architecture
bounds the stream, and a fixed point is not to be expected before it is seen.

With several runs that differ in their seed alone, the mean over them stands with Student's 95 % interval. Beside the
network stands a true generator block under the same measurement, at the periods of the runs (defect_reference.py).

Exit codes: 0 measured; 2 usage or input; 3 a stream that is not finite, or another numerical failure; 130 interrupted.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from network.command_line import seed_number
from verify.command_line import Parser, UsageError, check_device, positive_integer, run, strict_json

if TYPE_CHECKING:
    from torch import Tensor

    from network import FastSlowLM
    from verify.block_defect import BlockDefect
    from verify.defect_figures import Null

NULL_SAMPLES = 200


@dataclass(frozen=True)
class GeneratorDefect:
    """Every fast block, and the Gaussian nulls of the two axes at the same sizes."""

    blocks: tuple[BlockDefect, ...]
    channel_null: dict[str, Null]
    token_null: dict[str, Null]
    settings: dict[str, Any]

    def to_json(self) -> str:
        """Strict JSON."""
        return strict_json(asdict(self))

    def table(self) -> str:
        """A line per block and axis with the nulls beside them, then attraction and fixed points."""
        from verify.defect_table import defect_table

        return defect_table(self)


def measure_defect(
    model: FastSlowLM, tokens: Any, *, iterations: Any = None, null_samples: Any = NULL_SAMPLES, seed: int = 0
) -> GeneratorDefect:
    """Measure every fast block of `model` at the states that tokens[B, T] drive it through; float64 throughout.

    iterations: at most so many updates towards a fixed point (default 500). null_samples, seed: of the Gaussian null;
    the random bases take the same seed. The model is left as it is. Raises `ValueError` for tokens that the model
    refuses, and `RuntimeError` where its stream is not finite.
    """
    import torch

    from verify.block_defect import ITERATIONS, ROTATIONS, block_defect
    from verify.defect_figures import gaussian_null
    from verify.update_jacobian import block_jacobians

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
            block_defect(
                torch.stack([channel for channel, _ in pairs]),
                torch.stack([token for _, token in pairs]),
                update,
                z - signal,
                phi=phi if coupled else None,
                hears=hears,
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


def validation_tokens(source: dict[str, Any], sequences: int, length: int, corpus: Sequence[str] | None = None) -> Any:
    """tokens[B, T] at even distances over the validation split of the data that a run's description names.

    corpus: where the texts lie now, if they have moved. Raises `ValueError` where they are not those of the run, or
    hold too few tokens.
    """
    import numpy as np
    import torch

    from network.corpus import open_corpus
    from network.data import load_data

    data = load_data(open_corpus(corpus or source["corpus"]), bpe_vocab=source["bpe"])
    if data.sha256 != source["sha256"]:
        raise UsageError(
            f"the texts {list(corpus or source['corpus'])} are not those of the run; name them by --corpus"
        )
    last = len(data.validation) - length
    if last < sequences - 1:
        raise UsageError(f"{len(data.validation)} validation tokens do not hold {sequences} windows of {length}")
    starts = np.linspace(0, last, sequences).astype(int)
    return torch.from_numpy(np.stack([data.validation[s : s + length] for s in starts]).astype(np.int64))


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(prog="python -m verify.generator_defect", description=__doc__)
    p.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or of single checkpoints")
    p.add_argument(
        "--length", type=positive_integer, metavar="T", help="tokens a sequence; default min(block_size, 64)"
    )
    p.add_argument("--sequences", type=positive_integer, default=4, metavar="B", help="default %(default)s")
    p.add_argument(
        "--iterations", type=positive_integer, default=500, help="towards a fixed point; default %(default)s"
    )
    p.add_argument("--corpus", nargs="+", help="where the texts of the runs lie now; default as recorded")
    p.add_argument("--seed", type=seed_number, default=0, help="of the nulls, 0 … 2^63 − 1; default %(default)s")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    p.add_argument("--json", action="store_true", help="print JSON on stdout instead of tables")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    return run(partial(_command, p.parse_args(argv)), p.prog)


def _command(arguments: Any) -> int:
    device = check_device(arguments.device)

    from network.checkpoint import load_checkpoint
    from network.command_line import load_run
    from verify.defect_reference import measure_reference
    from verify.defect_table import reference_table, spread_table
    from verify.provenance import provenance

    # Every run is opened before the first is measured: a typing error in the last name must not cost minutes.
    opened = [(name, load_checkpoint(name), load_run(name, device)) for name in arguments.runs]
    measured: list[dict[str, Any]] = []
    results: list[GeneratorDefect] = []
    for name, checkpoint, model in opened:
        print(f"{name}: step {checkpoint.step}", file=sys.stderr)  # noqa: T201
        length = arguments.length or min(model.config.block_size, 64)
        tokens = validation_tokens(checkpoint.config["data"], arguments.sequences, length, arguments.corpus)
        defect = measure_defect(model, tokens.to(device), iterations=arguments.iterations, seed=arguments.seed)
        results.append(defect)
        texts = {key: checkpoint.config["data"][key] for key in ("sha256", "bpe")}  # wherever they lie
        training = checkpoint.config["training"]
        measured.append({"run": name, "step": checkpoint.step, "training": training, "data": texts, **asdict(defect)})
    sizes = sorted({(model.config.period, model.config.n_embd) for _, _, model in opened})
    references = [measure_reference(period, n_states=width, seed=arguments.seed) for period, width in sizes]
    if arguments.json:
        made_with = provenance(seed=arguments.seed, device=device)
        content = {"runs": measured, "references": [asdict(r) for r in references], "provenance": made_with}
        print(strict_json(content))  # noqa: T201
        return 0
    for record, defect in zip(measured, results, strict=True):
        print(f"{record['run']}, step {record['step']}\n{defect.table()}\n")  # noqa: T201
    for line in (spread_table(measured), reference_table(references)):
        print(line)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
