"""The fast blocks of a trained model against those of its own initialisation, as a cell: trained once, kept, shared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.defaults import FIRST_MODEL, FIRST_TRAINING, TRAINING_VERSION
from network.training_config import TrainConfig
from verify.cells import Cell, source_fingerprint
from verify.trained.cell import one_thread, public_version

if TYPE_CHECKING:
    from verify.generator_defect.block import BlockDefect

SEQUENCES, LENGTH = 2, 64  # of the validation text, at which the blocks are measured
ITERATIONS = 200


def defect_cell(model: FastSlowConfig, training: TrainConfig, *, draws: Sequence[int], device: str = "cpu") -> Cell:
    """One model trained on Shakespeare and measured, beside initialisations of its architecture with the seeds `draws`.

    What the measurement is made of is part of the key, as the arithmetic of training is.
    """
    texts = open_corpus("shakespeare")
    configuration = {
        "model": model.differing(),
        "training": training.differing(),
        "corpus": [str(path) for path in texts.paths],
        "sha256": texts.sha256,
        "draws": list(draws),
        "device": device,
        "torch": public_version("torch"),
        "training_version": TRAINING_VERSION,
        "measured with": source_fingerprint("verify.generator_defect"),
    }
    label = f"generator defect, {model.arm}, seed {training.seed}, {training.tokens:,} tokens"
    return Cell(train_and_measure, configuration, label, "verify.generator_defect:train_and_measure")


def train_and_measure(configuration: dict[str, Any]) -> dict[str, Any]:
    """Train one model; the rows of its blocks against initialisations at the same tokens, and how they iterate."""
    from network.data import load_data
    from network.training import train
    from verify.generator_defect.command import validation_tokens
    from verify.generator_defect.measurement import initial_defects, measure_defect

    data = load_data(open_corpus(configuration["corpus"]))
    config = FastSlowConfig.from_dict({**FIRST_MODEL, **configuration["model"], "vocab_size": data.vocab_size})
    training = TrainConfig.from_dict({**FIRST_TRAINING, **configuration["training"]})
    device = configuration["device"]
    source = {"corpus": data.corpus, "bpe": None, "sha256": data.sha256}
    read = validation_tokens(source, SEQUENCES, LENGTH).to(device)
    with one_thread():
        model: Any = train(config, training, data=data, device=device).model
        blocks = measure_defect(model, read, iterations=ITERATIONS, null_samples=2).blocks
        drawn = [one.blocks for one in initial_defects(config, read, seeds=configuration["draws"])]
    return {
        "seed": training.seed,
        "blocks": _over_initial(blocks, drawn),
        "reached": [block.fixed_point.reached for block in blocks],
        "attracting": [block.attracting for block in blocks],
        "sine": [block.phi_state.sine for block in blocks if block.phi_state is not None],
    }


def _over_initial(trained: tuple[BlockDefect, ...], drawn: list[tuple[BlockDefect, ...]]) -> list[dict[str, Any]]:
    """A row for each block and axis: its figures, its nulls, and its distance over the mean at initialisation."""
    rows = []
    for number, block in enumerate(trained):
        for name in ("channel", "token"):
            axis, nulls = getattr(block, name), getattr(block, f"{name}_nulls")
            initial = [getattr(blocks[number], name).shifted_distance for blocks in drawn]
            rows.append(
                {
                    "block": block.block,
                    "axis": name,
                    "distance": axis.distance,
                    "shifted distance": axis.shifted_distance,
                    "initial": statistics.fmean(initial),
                    "initial, least": min(initial),
                    "initial, largest": max(initial),
                    "over initial": axis.shifted_distance / statistics.fmean(initial),
                    "sign flip": nulls.sign_flip["shifted_distance"].mean,
                    "negated": nulls.negated.shifted_distance,
                    "column sums": axis.sum_defect,
                    "negative rates": axis.negative_mass,
                    "abscissa": axis.abscissa,
                }
            )
    return rows
