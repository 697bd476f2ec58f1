"""One trained model as a cell: what the claims, the ablation and the studies share, so that none trains it twice.

The key is the model, the training, the texts by their sha256, the device, the code that trains and the version of
torch. What an arm does not use is set aside first: `dense` has no period and no slow layers, so one dense run serves
every P, and `local` has no slow layers.

The last evaluation reads `FINAL_TOKENS` of the validation split, those along the way `TrainConfig.eval_tokens`. The
windows are the same for every seed and arm, so a difference between two arms is free of the choice of text. Cells
compute on one thread, whoever runs them: the order of a sum, hence the last digit, depends on the number of threads.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from typing import Any

from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.cells import Cell, source_fingerprint

FINAL_TOKENS = 262_144
COMMANDS = ("train", "generate", "leak_check", "command_line")  # modules that no training cell runs


def training_cell(
    model: FastSlowConfig, training: TrainConfig, *, corpus: Sequence[str], sha256: str, device: str = "cpu"
) -> Cell:
    """The cell that trains `model` as `training` says on the texts `corpus`, whose contents have that `sha256`.

    The vocabulary is the corpus's own, whatever `model` names.
    """
    sizes = canonical(model).to_dict()
    del sizes["vocab_size"]
    configuration = {
        "model": sizes,
        "training": training.to_dict(),
        "corpus": [str(name) for name in corpus],
        "sha256": sha256,
        "device": device,
        "torch": metadata.version("torch"),
        "code": source_fingerprint("network", without=COMMANDS),
    }
    clock = "" if model.arm == "dense" else f", P = {model.period}"
    layers = f"{model.n_layer} + {sizes['n_slow_layer']}"
    label = f"{model.arm} {layers}{clock}, seed {training.seed}, {training.tokens:,} tokens"
    return Cell(train_cell, configuration, label)


def canonical(model: FastSlowConfig) -> FastSlowConfig:
    """`model` without what its arm does not use: two models that train alike have one canonical form."""
    unused = {"compute_frozen": False}
    if model.arm == "dense":
        unused |= {"period": 1, "gate": "scalar"}
    if model.arm in ("dense", "local"):
        unused |= {"n_slow_layer": 0, "slow_attention": "block_causal"}
    return replace(model, **unused)


def train_cell(configuration: dict[str, Any]) -> dict[str, Any]:
    """Train one model; its loss at the end and along the way, its gate, its size and the seconds of its steps.

    Raises `ValueError` where the texts are not those of the key, and what `network.training.train` raises.
    """
    from network.corpus import open_corpus
    from network.data import load_data
    from network.distributed import processes
    from network.evaluate import evaluate
    from network.training import train

    corpus = open_corpus(configuration["corpus"])
    if corpus.sha256 != configuration["sha256"]:
        raise ValueError(f"the corpus {corpus.name} holds other texts here: its sha256 is {corpus.sha256}")
    data = load_data(corpus)
    model = FastSlowConfig(**configuration["model"], vocab_size=data.vocab_size)
    training = TrainConfig.from_dict(configuration["training"])
    with one_thread(), processes(configuration["device"]) as group:
        found = train(model, training, data=data, device=configuration["device"])
        last = evaluate(
            found.model,
            data.validation,
            step=training.steps(model.block_size),
            limit=FINAL_TOKENS,
            processes=group,
            dtype=training.dtype,
        )
    per_step = training.batch_size * model.block_size
    return {
        "arm": model.arm,
        "seed": training.seed,
        "tokens": found.tokens,
        "validation_loss": last.validation_loss,
        "closed_gate_loss": last.closed_gate_loss,
        "gate": _mean(last.gates),
        "feedback_ratio": last.feedback_ratio,
        "path": [
            {
                "tokens": one.step * per_step,
                "validation_loss": one.validation_loss,
                "closed_gate_loss": one.closed_gate_loss,
                "gate": _mean(one.gates),
                "feedback_ratio": one.feedback_ratio,
            }
            for one in found.evaluations
        ],
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "seconds": found.seconds,
    }


def _mean(gates: dict[str, float]) -> float | None:
    return statistics.fmean(gates.values()) if gates else None


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the length of a cell; the caller's number comes back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
