"""The positive control: the arms on a source whose slow variable is known, at a size that trains in half a minute.

    source      `verify.corpus.regimes`: 16 tokens, blocks of 8, regimes of 256 blocks on average (f = 1/256)
    model       d = 32, 2 fast layers + 1 slow, T = 256, P = 8; fast attention sees WINDOW = 4 tokens a layer, 7 in all
    training    1M tokens, batch 8, the usual rate; the coupling trained by its own objective with weight OBJECTIVE

Seven tokens tell little of the regime, a context of 256 tells nearly all of it: what is between the two is what a slow
path is for. Unwindowed, fast attention sees the whole context too, and the slow path could add nothing.
At s = 0 there is nothing to know: the null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.corpus import Regimes, open_corpus

if TYPE_CHECKING:
    from verify.cells import Cell

WINDOW, PERIOD, TOKENS = 4, 8, 1_000_000
OBJECTIVE = 0.3  # weight of the coupling's own objective
STRONG, WEAK, NULL = 0.7, 0.5, 0.0  # s
RARE = Fraction(1, 256)  # f
# What is compared as a gate: its form and the weight of the coupling's own objective. The first is the paper's.
FORMS = {"scalar": ("scalar", 0.0), "projection": ("projection", 0.0), "scalar, own objective": ("scalar", OBJECTIVE)}


def control_models(
    arm: str,
    *,
    objective: float = OBJECTIVE,
    gate: str = "scalar",
    period: int = PERIOD,
    window: int | None = WINDOW,
    tokens: int = TOKENS,
) -> tuple[FastSlowConfig, TrainConfig]:
    """Model and training of one arm of the control."""
    model = FastSlowConfig(
        arm=arm, n_embd=32, n_head=2, n_layer=2, n_slow_layer=1, period=period, attention_window=window, gate=gate
    )
    return model, TrainConfig(tokens=tokens, batch_size=8, evaluations=4, eval_tokens=16_384, coupling_loss=objective)


def control_cell(
    arm: str, seed: int, *, s: float = STRONG, f: Fraction = RARE, device: str = "cpu", **how: Any
) -> Cell:
    """One arm, seed and source of the control as a cell of the studies; `how` as `control_models` takes it."""
    from verify.trained.cell import training_cell

    texts = open_corpus(Regimes(s=s, f=f).name)
    model, training = control_models(arm, **how)
    training = replace(training, seed=seed)
    return training_cell(model, training, corpus=texts.paths, sha256=texts.sha256, device=device)


def control_cells(arms: Sequence[str], seeds: Sequence[int], **how: Any) -> list[Cell]:
    """A cell for each seed and arm, seeds outside: an early end leaves whole pairs."""
    return [control_cell(arm, seed, **how) for seed in seeds for arm in arms]


def best_loss(s: float, f: Fraction = RARE) -> float:
    """The loss of the Bayes filter on the windows that the control is measured on, nats per token."""
    from verify.corpus.answer import exact_losses

    return exact_losses(Regimes(s=s, f=f), block_size=FastSlowConfig.block_size)["filter"]
