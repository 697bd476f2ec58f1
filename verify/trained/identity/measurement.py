"""The three rooms of one trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from verify.command_line import strict_json
from verify.statistics.provenance import provenance
from verify.statistics.verdict import ExactVerdict, Verdict
from verify.trained.identity.room_exact import exact_room
from verify.trained.identity.room_own_world import own_world_room
from verify.trained.identity.room_text import text_room
from verify.trained.identity.rooms import Room
from verify.trained.identity.run import TrainedRun
from verify.trained.identity.text_states import text_states

ROOMS = ("exact", "own_world", "text")
TEXT, HELD_OUT = 2_000_000, 300_000  # tokens of which the slow states are taken
TEST_POINTS, EXACT_STRIDE = 400, 16


@dataclass(frozen=True)
class NetworkIdentity:
    """The rooms of one network. network: the run, its sizes and its losses; `exit_code` as for claims."""

    network: dict[str, Any]
    rooms: list[Room]
    provenance: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """1 if a room is VIOLATED, else 3 if one is INCONCLUSIVE, else 0; MEASURED decides nothing."""
        found = {str(room.verdict) for room in self.rooms}
        return 1 if str(ExactVerdict.VIOLATED) in found else 3 if str(Verdict.INCONCLUSIVE) in found else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data; the keys of the JSON."""
        rooms = [room.as_dict() for room in self.rooms]
        return {"network": self.network, "rooms": rooms, "provenance": self.provenance}

    def to_json(self) -> str:
        """Strict JSON: no NaN or Infinity."""
        return strict_json(self.as_dict())


def measure_network(
    run: TrainedRun,
    *,
    rooms: Sequence[str] = ROOMS,
    adamw: bool = True,
    resolve: bool = True,
    progress: bool = False,
) -> NetworkIdentity:
    """Measure `run` in the rooms asked for; `verify.trained.identity.run.open_run` opens one.

    adamw: also train φ_θ by AdamW in the own world, for its floor. resolve: solve kernel and φ for each P on text, or
    measure the network there as it was trained and no more. Raises `ValueError` for a text too short.
    """
    from tqdm import tqdm

    model = run.model
    training = text_states(model, run.training, run.training_ends, most=TEXT)
    held_out = text_states(model, run.validation, run.validation_ends, most=HELD_OUT).sample(TEST_POINTS, seed=0)
    n = model.config.vocab_size
    every = max(1, EXACT_STRIDE // model.config.period)
    measured = {
        "exact": lambda: exact_room(
            run.training, training.take(torch.arange(0, len(training), every)), run.data.tokenizer, n
        ),
        "own_world": lambda: own_world_room(model, run.training, training, held_out, adamw=adamw),
        "text": lambda: text_room(model, run.training, training, held_out, resolve=resolve),
    }
    found = [measured[name]() for name in tqdm(rooms, desc="rooms", disable=not progress, mininterval=0.3)]
    config = model.config
    return NetworkIdentity(
        network={
            "run": run.name,
            "period": config.period,
            "n_states": n,
            "n_slow": config.n_slow,
            "seed": run.description["training"]["seed"],
            "training_tokens": run.description["training"]["tokens"],
            "vocabulary": run.data.tokenizer.name,
            "rates": model.slow.rates.tolist(),
            "low": model.low.tolist(),
            "high": model.high.tolist(),
            **losses(run),
        },
        rooms=found,
        provenance=provenance(
            seed=run.description["training"]["seed"],
            device=str(model.device),
            test_points=len(held_out),
            corpus_sha256=run.data.sha256,
        ),
    )


@torch.no_grad()
def losses(run: TrainedRun, most: int = 131_072) -> dict[str, float]:
    """Held-out nats per token, after the first block: of the next token, of the next block under φ_θ, the same under
    the y of another sequence, and of a bigram table (counts of the training text plus 0.1)."""
    model, size, n = run.model, run.model.config.block_size, run.model.config.vocab_size
    period = model.config.period
    count = max(1, min(most, len(run.validation) - 1) // size)
    fitting = max(1, (len(run.validation) - 1) // size)
    begins = torch.arange(count, device=model.device) * fitting // count * size
    windows = run.validation[begins[:, None] + torch.arange(size + 1, device=model.device)]
    inputs, targets = windows[:, :-1], windows[:, 1:]
    counts = torch.bincount(run.training[:-1] * n + run.training[1:], minlength=n * n).view(n, n).double() + 0.1
    table = (counts / counts.sum(1, keepdim=True)).log()
    sums = {"next_token": 0.0, "next_token_other_y": 0.0, "next_block": 0.0, "next_block_other_y": 0.0, "bigram": 0.0}
    for some, following in zip(inputs.split(16), targets.split(16), strict=True):
        own, blocks = model.slow(some), model.slow.blocks(some)
        for suffix, y, b in (("", own, blocks), ("_other_y", own.roll(1, 0), blocks.roll(1, 0))):
            logits = model.logits(some, y)[:, period - 1 :].log_softmax(-1)
            nats = -logits.gather(-1, following[:, period - 1 :, None])
            sums[f"next_token{suffix}"] += float(nats.mean()) * len(some)
            sums[f"next_block{suffix}"] += float(model.block_loss(some, b)) * len(some)
        sums["bigram"] += float(-table[some, following][:, period - 1 :].mean()) * len(some)
    return {f"loss_{name}": value / len(inputs) for name, value in sums.items()}
