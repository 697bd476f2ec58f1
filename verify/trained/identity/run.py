"""A trained run and its text; the default run, trained where there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from network import FastSlowConfig, GeneratorLM
from network.corpus import Corpus, open_corpus
from network.data import TokenData, load_data
from network.run_folder import describe_run, load_run, read_run
from network.training_config import TrainConfig

TEXTS = "shakespeare"
STEPS, BATCH, LENGTH, VOCABULARY = 1500, 16, 512, 27
DEFAULT_MODEL = FastSlowConfig(arm="generator", vocab_size=VOCABULARY, block_size=LENGTH, period=4, n_slow=2)
DEFAULT_TRAINING = TrainConfig(
    tokens=STEPS * BATCH * LENGTH,
    batch_size=BATCH,
    learning_rate=1e-2,
    warmup=0.05,
    weight_decay=0.0,
    evaluations=1,
    eval_tokens=262_144,
)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A `GeneratorLM` in float64 with the text of its run: token streams and where their documents end."""

    name: str
    model: GeneratorLM
    data: TokenData
    training: Tensor
    validation: Tensor
    training_ends: list[int]
    validation_ends: list[int]
    description: dict[str, Any]


def open_run(run: str | Path, device: str = "cpu") -> TrainedRun:
    """The run in folder `run`, on `device`.

    Raises `ValueError` where its arm is another one, and the errors of `load_run` and `open_corpus`.
    """
    model = load_run(run, device)
    if not isinstance(model, GeneratorLM):
        raise ValueError(
            f"{run} was trained with arm {model.config.arm!r}, whose fast path is no generator; train one with "
            "python -m network.train --arm generator"
        )
    folder = Path(run)
    description = read_run(folder.parent.parent if (folder / "checkpoint.json").exists() else folder)
    stored = description["data"]
    corpus = open_corpus(stored["corpus"])
    data = load_data(corpus, bpe_vocab=stored["bpe"], letters=stored.get("letters", False))
    if data.sha256 != stored["sha256"]:
        raise ValueError(f"the corpus {corpus.name} holds other texts than {run} was trained on: restore them")
    return trained_run(str(run), model, corpus, data, description, device)


def trained_run(
    name: str, model: GeneratorLM, corpus: Corpus, data: TokenData, description: dict[str, Any], device: str = "cpu"
) -> TrainedRun:
    """A trained model with its text, for `measure_network`."""
    model = model.double().requires_grad_(False).eval()
    training, validation = [
        torch.from_numpy(np.asarray(part).astype(np.int64)).to(device) for part in (data.training, data.validation)
    ]
    ends = [
        _ends(data, documents, len(stream))
        for documents, stream in zip(corpus.split(), (training, validation), strict=True)
    ]
    return TrainedRun(name, model, data, training, validation, ends[0], ends[1], description)


def default_name(*, seed: int, period: int, n_slow: int, bpe: int | None) -> str:
    """What the folder of such a run is called."""
    text = "letters" if bpe is None else f"bpe{bpe}"
    return f"generator-{text}-P{period}-d{n_slow}-seed{seed}"


def train_default(
    out: Path,
    *,
    seed: int = 0,
    period: int = 4,
    n_slow: int = 2,
    bpe: int | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Path:
    """The folder under `out` of the default run with these changes; trained, or trained on, unless it is whole."""
    from network.training import train

    run = out / default_name(seed=seed, period=period, n_slow=n_slow, bpe=bpe)
    corpus = open_corpus(TEXTS)
    data = load_data(corpus, letters=bpe is None, bpe_vocab=bpe)
    model = replace(DEFAULT_MODEL, vocab_size=data.vocab_size, period=period, n_slow=n_slow)
    training = replace(DEFAULT_TRAINING, seed=seed)
    there = (run / "config.json").exists()
    if there and read_run(run) != describe_run(model, training, data):
        raise ValueError(f"{run} holds another run: choose another --out, or remove it")
    train(model, training, data=data, run=run, resume=there, device=device, progress=progress)
    return run


def _ends(data: TokenData, documents: Any, length: int) -> list[int]:
    """Where each document of a split ends, its separator included."""
    sizes = []
    for document in documents:
        tokens = data.tokenizer.encode(document.read())
        sizes.append(len(np.trim_zeros(tokens) if data.letters else tokens) + 1)
    ends = list(accumulate(sizes))
    if ends[-1] != length:
        raise ValueError(f"the documents hold {ends[-1]} tokens and the stream {length}: delete the token cache")
    return ends
