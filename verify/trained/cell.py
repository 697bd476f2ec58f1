"""One trained model as a cell: what the claims, the ablation and the studies share, so that none trains it twice.

The key is the model and the training by what differs from the frozen defaults (network.defaults), the texts by their
sha256, the device, the version of the training arithmetic and of torch: code may move and options may be added without
a cell being lost. What an arm does not use is set aside first: `dense` has no period and no slow layers, so one dense
run serves every P, and `local` has no slow layers.

The last evaluation reads `FINAL_TOKENS` of the validation split, those along the way `TrainConfig.eval_tokens`. The
windows are the same for every seed and arm, so a difference between two arms is free of the choice of text. Cells
compute on one thread, whoever runs them: the order of a sum, hence the last digit, depends on the number of threads.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from network.config import FastSlowConfig
from network.defaults import COUPLING_LOSS_VERSION, FIRST_MODEL, FIRST_TRAINING, TRAINING_VERSION
from network.training_config import TrainConfig
from verify.cells import Cell
from verify.corpus import open_corpus, parse

FINAL_TOKENS = 262_144
NAME = "verify.training_cells:train_cell"  # of every finished cell, wherever the function lives


def training_cell(
    model: FastSlowConfig,
    training: TrainConfig,
    *,
    corpus: Sequence[str],
    sha256: str,
    device: str = "cpu",
    reading: Mapping[str, Any] | None = None,
) -> Cell:
    """The cell that trains `model` as `training` says on the texts `corpus`, whose contents have that `sha256`.

    The vocabulary is the corpus's own, whatever `model` names. reading: `exclude`, `skip_undecodable`, `bpe` and
    `letters`, where they are given.
    """
    used, training = canonical(model), canonical_training(training, model.arm)
    sizes = used.differing()
    sizes.pop("vocab_size", None)
    configuration = {
        "model": sizes,
        "training": training.differing(),
        "corpus": [str(name) for name in corpus],
        "sha256": sha256,
        "device": device,
        "torch": public_version("torch"),
        "training_version": TRAINING_VERSION,
        **({"coupling_loss_version": COUPLING_LOSS_VERSION} if training.coupling_loss else {}),
        **({"reading": dict(reading)} if reading else {}),
    }
    clock = "" if used.arm == "dense" else f", P = {used.period}"
    layers = f"{used.n_layer} + {used.n_slow_layer}"
    label = f"{used.arm} {layers}{clock}, seed {training.seed}, {training.tokens:,} tokens"
    return Cell(train_cell, configuration, label, NAME, _stem(used, training, corpus))


def public_version(package: str) -> str:
    """The installed version without the build that a `+` begins: `2.13.0` of `2.13.0+cpu`."""
    return metadata.version(package).split("+")[0]


def _stem(model: FastSlowConfig, training: TrainConfig, corpus: Sequence[str]) -> str:
    """What a person reads in the name of the file: text, arm, layers, P, T, tokens and seed."""
    named = corpus[0] if parse(corpus[0]) else Path(corpus[0]).name
    text = re.sub(r"[^A-Za-z0-9.]+" if named == corpus[0] else r"[^A-Za-z0-9]+", "-", named).strip("-")[:24] or "text"
    layers = f"{model.n_layer}+{model.n_slow_layer}" if model.n_slow_layer else str(model.n_layer)
    clock = "" if model.arm == "dense" else f"-P{model.period}"
    window = "" if model.attention_window is None else f"-w{model.attention_window}"
    gate = "" if model.gate == "scalar" else f"-{model.gate}"
    own = f"-own{training.coupling_loss:g}" if training.coupling_loss else ""
    tokens = f"{training.tokens / 1e6:g}M" if training.tokens >= 100_000 else str(training.tokens)
    return f"{text}-{model.arm}-{layers}{clock}{window}{gate}{own}-T{model.block_size}-{tokens}-seed{training.seed}"


def canonical(model: FastSlowConfig) -> FastSlowConfig:
    """`model` without what its arm does not use: two models that train alike have one canonical form."""
    unused = {"compute_frozen": False}
    if model.arm == "dense":
        unused |= {"period": 1, "gate": "scalar"}
    if model.arm in ("dense", "frozen"):
        unused |= {"gate_start": 0.0}
    if model.arm in ("dense", "local"):
        unused |= {"n_slow_layer": 0, "slow_attention": "block_causal"}
    return replace(model, **unused)


def canonical_training(training: TrainConfig, arm: str) -> TrainConfig:
    """`training` without what concerns a coupling that `arm` does not train."""
    if arm not in ("dense", "frozen"):
        return training
    return replace(training, gate_rate=1.0, gate_warmup=0, coupling_loss=0.0)


def train_cell(configuration: dict[str, Any]) -> dict[str, Any]:
    """Train one model; its loss at the end and along the way, its gate, its size and the seconds of its steps.

    Raises `ValueError` where the texts are not those of the key, and what `network.training.train` raises.
    """
    from network.data import load_data
    from network.distributed import processes
    from network.evaluate import evaluate
    from network.training import train

    reading = dict(configuration.get("reading", {}))
    bpe, letters = reading.pop("bpe", None), reading.pop("letters", False)
    corpus = open_corpus(configuration["corpus"], **reading)
    if corpus.sha256 != configuration["sha256"]:
        raise ValueError(f"the corpus {corpus.name} holds other texts here: its sha256 is {corpus.sha256}")
    data = load_data(corpus, bpe_vocab=bpe, letters=letters)
    model = FastSlowConfig.from_dict({**FIRST_MODEL, **configuration["model"], "vocab_size": data.vocab_size})
    training = TrainConfig.from_dict({**FIRST_TRAINING, **configuration["training"]})
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
