"""The generator network that three claims measure; one process trains it once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from verify.claim import Profile
    from verify.trained.identity.run import TrainedRun
    from verify.trained.identity.text_states import TextStates

QUICK_STEPS, QUICK_BATCH, QUICK_LENGTH, QUICK_WIDTH = 100, 8, 128, 32
QUICK_TEXT, TEXT = 100_000, 2_000_000  # tokens whose slow states are taken


def trained_network(profile: Profile) -> TrainedRun:
    """The generator network of the profile's first seed: tiny with `quick`, else the default of --network train."""
    return _trained(profile.name == "quick", profile.seed, profile.device)


@dataclass(frozen=True, eq=False)
class Visited:
    """tokens[T] with the slow states that they visit, and states on held-out text."""

    tokens: Tensor
    training: TextStates
    held_out: TextStates


def states(profile: Profile, points: int) -> Visited:
    """What the network's slow path does on the training text (`quick`: on its beginning), and `points` held out."""
    found = _states(profile.name == "quick", profile.seed, profile.device)
    return replace(found, held_out=found.held_out.sample(points, seed=0))


@cache
def _trained(quick: bool, seed: int, device: str) -> TrainedRun:
    from network import GeneratorLM
    from network.corpus import open_corpus
    from network.data import load_data
    from network.run_folder import describe_run
    from network.training import train
    from verify.trained.identity.cell import trained_default
    from verify.trained.identity.run import DEFAULT_MODEL, DEFAULT_TRAINING, open_run, trained_run

    if not quick:
        return open_run(trained_default(seed=seed, device=device), device)
    corpus = open_corpus("shakespeare")
    data = load_data(corpus, letters=True)
    model = replace(DEFAULT_MODEL, block_size=QUICK_LENGTH, n_embd=QUICK_WIDTH)
    training = replace(
        DEFAULT_TRAINING,
        seed=seed,
        tokens=QUICK_STEPS * QUICK_BATCH * QUICK_LENGTH,
        batch_size=QUICK_BATCH,
        eval_tokens=2048,
    )
    found = train(model, training, data=data, device=device).model
    if not isinstance(found, GeneratorLM):
        raise TypeError(f"arm {model.arm!r} trained a {type(found).__name__}")
    label = f"{training.tokens:,} tokens, seed {seed}"
    return trained_run(label, found, corpus, data, describe_run(model, training, data), device)


@cache
def _states(quick: bool, seed: int, device: str) -> Visited:
    from verify.trained.identity.text_states import text_states

    run = _trained(quick, seed, device)
    tokens = run.training[:QUICK_TEXT] if quick else run.training
    ends = [len(tokens)] if quick else run.training_ends
    return Visited(
        tokens,
        text_states(run.model, tokens, ends, most=QUICK_TEXT if quick else TEXT),
        text_states(run.model, run.validation, run.validation_ends, most=100_000),
    )
