"""What a training step costs: models timed in turn within one process, so that only their ratios count.

A step is forward, cross-entropy, backward and AdamW on random tokens. In every round each model takes one step, in an
order that turns by one from round to round; a ratio is the median over the rounds of the ratios within a round. A
machine that slows down for a while slows both sides of a ratio. The interval is that of the order statistics of the
median, which assumes nothing of what a busy machine does to the times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from network.config import FastSlowConfig
from network.defaults import FIRST_MODEL, TRAINING_VERSION
from verify.cells import Cell
from verify.trained.cell import canonical, one_thread

if TYPE_CHECKING:
    import torch

NAME = "verify.step_time:time_cell"  # of every finished cell, wherever the function lives

WARM_UP = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Ratio:
    """A median ratio of step times, with the interval of the median; None below six rounds, too few for one."""

    median: float
    low: float | None
    high: float | None


def ratio(seconds: Sequence[float], over: Sequence[float], *, level: float = LEVEL) -> Ratio:
    """The ratio of two series of step times, taken round by round."""
    import numpy as np
    from scipy import stats

    ratios = np.asarray(seconds, dtype=float) / np.asarray(over, dtype=float)
    interval = stats.quantile_test(ratios, q=1, p=0.5).confidence_interval(level)
    low, high = (float(end) if math.isfinite(end) else None for end in interval)
    return Ratio(float(np.median(ratios)), low, high)


def interleaved(
    steps: Mapping[str, Callable[[], Any]], *, rounds: int, device: torch.device, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Seconds of each step in each of `rounds` rounds, after `warm_up` more; every name has as many as the others."""
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warm_up + rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            _wait(device)
            start = time.perf_counter()
            steps[name]()
            _wait(device)
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def training_step(
    config: FastSlowConfig, *, batch: int, device: torch.device, dtype: str = "float32", compile: bool = False
) -> Callable[[], None]:
    """A function that trains a fresh model by one AdamW step on `batch` random sequences of full length."""
    import torch

    from network.evaluate import cross_entropy
    from network.model import FastSlowLM
    from network.optimizer import autocast

    rng = torch.Generator().manual_seed(0)
    model = FastSlowLM(config, generator=rng).to(device)
    tokens = torch.randint(config.vocab_size, (batch, config.block_size + 1), generator=rng).to(device)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)
    network: Any = torch.compile(model) if compile else model

    def step() -> None:
        with autocast(dtype, device):
            logits = network(tokens[:, :-1])
        cross_entropy(logits, tokens[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def step_time_cell(
    models: Sequence[FastSlowConfig],
    *,
    batch: int,
    device: str,
    rounds: int,
    processor: str,
    dtype: str = "float32",
    compile: bool = False,
) -> Cell:
    """The cell that times a training step of each of `models` (fields that an arm does not use are set aside)."""
    configuration = {
        "models": [model.differing() for model in dict.fromkeys(map(_timed, models))],
        "batch": batch,
        "device": device,
        "dtype": dtype,
        "compile": compile,
        "rounds": rounds,
        "processor": processor,
        "training_version": TRAINING_VERSION,
    }
    number = len(configuration["models"])
    return Cell(time_cell, configuration, f"step times of {number} models", NAME, f"step-time-{number}-models")


def time_cell(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """For each model of the configuration: the model, and the seconds of its step in each round."""
    import torch

    device = torch.device(configuration["device"])
    models = [FastSlowConfig.from_dict({**FIRST_MODEL, **fields}) for fields in configuration["models"]]
    how: dict[str, Any] = {name: configuration[name] for name in ("batch", "dtype", "compile")}
    with one_thread():
        steps = {str(n): training_step(m, device=device, **how) for n, m in enumerate(models)}
        seconds = interleaved(steps, rounds=configuration["rounds"], device=device)
    return [{"model": model.differing(), "seconds": seconds[str(number)]} for number, model in enumerate(models)]


def seconds_of(timed: Sequence[dict[str, Any]], model: FastSlowConfig) -> list[float] | None:
    """The seconds of `model` in the result of a cell; None where it was not timed."""
    sought = _timed(model).differing()
    return next((entry["seconds"] for entry in timed if entry["model"] == sought), None)


def _timed(model: FastSlowConfig) -> FastSlowConfig:
    return replace(canonical(model), compute_frozen=model.compute_frozen)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
