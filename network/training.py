"""The training loop: AdamW on next-token cross-entropy, from the first step or from a checkpoint.

`train` is all there is; `python -m network.train` and the studies call it alike. Nothing random happens outside the
initial weights (drawn on the CPU from the seed) and the data order (`network.data`), so on one CPU thread two runs of a
configuration agree bit for bit, interrupted and resumed or not. The caller's random state is left as it was.

Losses and gradient norms stay on the device and are read every `DRAIN` steps, before each evaluation and before each
checkpoint: no step waits for the device, and no checkpoint is written after a step that was not finite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from network.build import build_model
from network.checkpoint import (
    Checkpoint,
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
    require_same,
    save_checkpoint,
)
from network.config import FastSlowConfig
from network.data import Batches, TokenData, check_length, validation_batches
from network.distributed import Processes, processes
from network.evaluate import Evaluation, cross_entropy, evaluate
from network.generator_lm import GeneratorLM
from network.inherit import inherit
from network.optimizer import autocast, make_optimizer
from network.run_folder import claimed, completed, describe_run, read_run, write_run
from network.run_log import RunLog
from network.run_report import describe
from network.schedule import Schedule
from network.tokenizer import load_tokenizer
from network.training_config import TrainConfig
from network.training_result import TrainingDiverged, TrainResult

DRAIN = 10
BOX_WINDOWS, BOX_TOKENS = 64, 32_768  # of the training split, from which arm `generator` takes the box of its y
_MAY_MOVE = ("data.corpus",)  # the texts may lie elsewhere, as long as their sha256 is the same
_MAY_GROW = ("training.tokens", "extensions")
_REMEDY = (
    ". A run goes on as it began: leave these options away; --tokens alone can be given anew, and only more of them. "
    "With --init-from RUN in place of --resume its weights begin a new run under other options"
)


def train(
    model: FastSlowConfig,
    training: TrainConfig | None = None,
    *,
    data: TokenData,
    run: str | Path | None = None,
    resume: bool = False,
    init_from: str | Path | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
    say: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train the model of configuration `model` on `data`, as `training` says.

    The loss is the cross-entropy of the next token; in arm `generator` that of φ_θ on the next block is added to it.

    run: the folder for checkpoints and log (None: nothing is written); it must hold no run unless `resume` continues
    the one there: as it began, or with more `tokens`, which it then reads on a stretch of schedule of its own
    (network/schedule.py). init_from: a run whose weights the new one begins with (network/inherit.py). say: is given
    the lines that a run has to say before its first step. stop: polled between steps; once true, the run ends with a
    checkpoint. Under torchrun every process calls this.

    Raises `ValueError` (also `CorpusError`, `CheckpointError`) before the first step for what cannot be trained, and
    `TrainingDiverged` at a loss that is not finite.
    """
    training = training if training is not None else TrainConfig()
    folder = Path(run) if run is not None else None
    if resume and folder is None:
        raise ValueError("resume=True needs run, the folder of the run to continue")
    if resume and init_from is not None:
        raise ValueError("resume=True goes on with the weights of the run itself: leave init_from out")
    if model.vocab_size != data.vocab_size:
        raise ValueError(f"vocab_size = {model.vocab_size} where the tokens of the data have {data.vocab_size}")
    for split, tokens in (("training", data.training), ("validation", data.validation)):
        check_length(tokens, model.block_size, split)
    with processes(device) as group, _private_random_state(group.device, training.seed):
        loop = _Loop(model, training, data, group, folder)
        with claimed(folder if group.first else None, resume=resume):
            loop.begin(resume, init_from)
            if say is not None and group.first:
                for line in (*loop.report.lines(), *loop.told):
                    say(line)
            return loop.finish(progress and group.first, stop)


class _Loop:
    """The state of a run: `step` finished steps, and the losses of those not yet read off the device."""

    def __init__(
        self, model: FastSlowConfig, training: TrainConfig, data: TokenData, group: Processes, run: Path | None
    ) -> None:
        self.training, self.data, self.group, self.run = training, data, group, run
        self.batches = Batches(data.training, training.batch_size, model.block_size, training.seed)
        self.rows = group.rows(training.batch_size)
        self.part = self._part_size(model.arm)
        self.description = describe_run(model, training, data)
        self.model = build_model(model, generator=torch.Generator().manual_seed(training.seed))
        self.model.to(group.device, torch.float64 if training.dtype == "float64" else torch.float32)
        self.optimizer = make_optimizer(self.model, training)
        self.own_weight = own_weight(model.arm, training.coupling_loss)
        self.plan(())
        self.step, self.seconds = 0, 0.0
        self.other_seconds = {"evaluation": 0.0, "saving": 0.0, "compiling": 0.0}
        self.told: list[str] = []
        self.saved: Path | None = None
        self.pending: list[tuple[Tensor, Tensor]] = []

    def _part_size(self, arm: str) -> int:
        """How many rows are computed at once.

        Arm `blind` exchanges the sequences of what is computed at once in pairs, and a last odd one with a pair: the
        same in parts as in the whole if all parts are even but the last of a batch, and that is no single row.
        """
        rows, world = self.rows.stop - self.rows.start, self.group.world
        size = min(self.training.micro_batch or rows, rows)
        odd = (size < rows and size % 2) or (world > 1 and rows % 2)
        short = len(self.data.validation) <= 2 * self.batches.block_size
        if arm == "blind" and (odd or size == 1 or rows % size == 1 or short):
            raise ValueError(
                f"arm 'blind' reads another sequence, so it needs at least 2 sequences in every part of a batch and an "
                f"even number in all but the last: batch_size = {self.training.batch_size} over {world} processes with "
                f"micro_batch = {self.training.micro_batch}, and {len(self.data.validation)} validation tokens, do not "
                f"give them; an even micro_batch, and an even number of rows for each of several processes, do"
            )
        return size

    def plan(self, extensions: Sequence[dict[str, Any]]) -> None:
        """Steps and rates of a run that was extended so."""
        config, group = self.model.config, self.group
        self.schedule = Schedule.of(self.training, config.block_size, extensions)
        self.steps = self.schedule.steps
        if extensions:
            self.description["extensions"] = list(extensions)
        self.report = describe(
            self.model,
            config,
            self.training,
            self.data,
            device=group.device,
            processes=group.world,
            schedule=self.schedule,
        )

    def begin(self, resume: bool, init_from: str | Path | None) -> None:
        if resume and self.run is not None:
            self._go_on(self.run)
            return
        if init_from is not None:
            self._inherit(init_from)
        if self.run is not None and self.group.first:
            write_run(self.run, self.description, self.data.tokenizer.to_json())

    def _inherit(self, source: str | Path) -> None:
        if load_tokenizer(source).to_json() != self.data.tokenizer.to_json():
            raise CheckpointError(
                f"the weights of {source} were trained on other tokens than those of the data: load the data with its "
                "tokenizer, load_data(corpus, tokenizer=load_tokenizer(RUN)), or leave --bpe away"
            )
        inherited = inherit(self.model, self.model.config, source)
        self.description["init_from"] = inherited.to_dict()
        self.told.append(inherited.told())

    def _go_on(self, run: Path) -> None:
        stored = read_run(run)
        origin, extensions = stored.get("init_from"), list(stored.get("extensions", []))
        if origin is not None:
            self.description["init_from"] = origin
        require_same(run, stored, self.description, ignoring=(*_MAY_MOVE, *_MAY_GROW), remedy=_REMEDY)
        before, wanted = stored["training"]["tokens"], self.training.tokens
        if wanted < before:
            raise CheckpointError(
                f"{run} is a run of {before:,} tokens: --tokens {wanted:,} would shorten it; name more, or none"
            )
        saved = load_checkpoint(run) if has_checkpoint(run) else None
        if wanted > before and saved is not None:
            extensions.append({"step": saved.step, "tokens": before})
        self.plan(extensions)
        if wanted > before:
            self.group.agree(False)  # every process has read what the first one is about to replace
            if self.group.first:
                write_run(run, self.description, self.data.tokenizer.to_json())
        if saved is not None:
            self._restore(saved)
            self.told.append(f"going on from step {saved.step:,} of {self.steps:,}")
        elif origin is not None:
            self._inherit(origin["run"])

    def finish(self, progress: bool, stop: Callable[[], bool] | None) -> TrainResult:
        training, group = self.training, self.group
        run = self.run if group.first else None
        compiled: Any = torch.compile(self.model) if training.compile else self.model
        network = group.parallel(compiled)
        evaluation_steps = self.schedule.evaluation_steps()
        per_step = training.batch_size * self.batches.block_size
        stopped = False
        with RunLog(run, steps=self.steps, step=self.step, tokens_per_step=per_step, progress=progress) as log:
            mark = time.perf_counter()
            compiling = training.compile
            while self.step < self.steps and not stopped:
                self._advance(network)
                if compiling:  # the first step waits for the compiler: it is not counted as one of training
                    self.pending[-1][0].item()
                    self.other_seconds["compiling"] += time.perf_counter() - mark
                    compiling, mark = False, time.perf_counter()
                asked = stop is not None and stop()
                boundary = self.step in evaluation_steps or self.step % training.checkpoint_every == 0
                if not (
                    boundary or len(self.pending) == DRAIN or self.step == self.steps or (asked and group.world == 1)
                ):
                    continue
                self._drain(log)
                self.seconds += time.perf_counter() - mark
                stopped = group.agree(asked) if stop is not None else False
                mark = time.perf_counter()
                if self.step in evaluation_steps:
                    self._evaluate(log)
                    self.other_seconds["evaluation"] += time.perf_counter() - mark
                    mark = time.perf_counter()
                if run is not None and (boundary or stopped or self.step == self.steps):
                    log.flush()
                    self._save(run)
                    self.other_seconds["saving"] += time.perf_counter() - mark
                mark = time.perf_counter()
            steps = [r for r in log.records if r["kind"] == "step"]
            evaluations = [Evaluation.from_record(r) for r in log.records if r["kind"] == "evaluation"]
        losses = [record["loss"] for record in steps]
        return TrainResult(
            self.model,
            losses,
            evaluations,
            self.step * per_step,
            self.seconds,
            self.step < self.steps,
            self.run,
            self.report,
            dict(self.other_seconds),
        )

    def _advance(self, network: nn.Module) -> None:
        """One step; its loss and gradient norm join the pending ones, unread."""
        rate = self.schedule.rate(self.step)
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate * self.training.gate_factor(self.step) if settings.get("gate") else rate
        inputs, targets = (self._to_device(part) for part in self.batches.batch(self.step, self.rows))
        size = self.part
        total: Any = 0.0
        for first in range(0, len(inputs), size):
            part = slice(first, first + size)
            last = first + size >= len(inputs)
            with nullcontext() if last else self.group.unsynchronised(network):
                share = len(targets[part]) / len(targets)
                with autocast(self.training.dtype, self.group.device):
                    made = network(inputs[part], targets=targets[part]) if self.own_weight else network(inputs[part])
                logits, own = made if self.own_weight else (made, None)
                loss = cross_entropy(logits, targets[part]) * share
                minimised = loss if own is None else loss + self.own_weight * share * own
                minimised.backward()
            total = total + loss.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.pending.append((total, norm))
        self.step += 1

    def _drain(self, log: RunLog) -> None:
        if not self.pending:
            return
        losses = torch.stack([loss for loss, _ in self.pending])
        losses = (self.group.sum(losses) / self.group.world).tolist()
        norms = torch.stack([norm for _, norm in self.pending]).tolist()
        begin = self.step - len(self.pending)
        self.pending.clear()
        for index, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
                raise self._diverged(log, begin + index + 1, what)
            rate = self.schedule.rate(begin + index)
            log.add("step", begin + index + 1, {"loss": loss, "gradient_norm": norm, "rate": rate})

    def _diverged(self, log: RunLog, step: int, what: str) -> TrainingDiverged:
        offsets = self.batches.offsets(step - 1).tolist()
        kept = f"the last good checkpoint is {self.saved}" if self.saved else "no checkpoint was written before it"
        log.add("diverged", step, {"reason": what})
        return TrainingDiverged(
            f"{what} at step {step}, whose batch holds the windows at {offsets} of the training split; {kept}; "
            f"lower learning_rate = {self.training.learning_rate:g} or clip = {self.training.clip:g}",
            step,
            offsets,
            self.saved,
        )

    def _evaluate(self, log: RunLog) -> None:
        found = evaluate(
            self.model,
            self.data.validation,
            step=self.step,
            limit=self.training.eval_tokens,
            processes=self.group,
            dtype=self.training.dtype,
        )
        values = found.to_dict()
        for name, value in values.items():
            if value is not None and not math.isfinite(value):
                raise self._diverged(log, self.step, f"{name} is {value} in the evaluation")
        log.add("evaluation", self.step, values)
        if isinstance(self.model, GeneratorLM):
            # The same windows in every process, so that all keep one box.
            seen, _ = next(validation_batches(self.data.training, self.batches.block_size, BOX_WINDOWS, BOX_TOKENS))
            self.model.remember_box(self._to_device(seen))

    def _save(self, run: Path) -> None:
        random = {"cpu": torch.get_rng_state()}
        if self.group.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.group.device)
        self.saved = save_checkpoint(
            run,
            self.model,
            step=self.step,
            config=self.description,
            counters={
                "tokens": self.step * self.training.batch_size * self.batches.block_size,
                "seconds": self.seconds,
                "other_seconds": self.other_seconds,
            },
            training_state={"optimizer": self.optimizer.state_dict(), "random": random, "data": {"step": self.step}},
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        ignoring = (*_MAY_MOVE, *_MAY_GROW)
        require_same(checkpoint.path, completed(checkpoint.config), self.description, ignoring=ignoring)
        checkpoint.load_weights(self.model)
        state = checkpoint.training_state()
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"]["cpu"])
        if self.group.device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.group.device)
        self.step, self.seconds, self.saved = state["data"]["step"], checkpoint.counters["seconds"], checkpoint.path
        self.other_seconds |= checkpoint.counters.get("other_seconds", {})  # the first version did not count them

    def _to_device(self, tokens: Tensor) -> Tensor:
        if self.group.device.type == "cuda":
            return tokens.pin_memory().to(self.group.device, non_blocking=True)
        return tokens.to(self.group.device)


def own_weight(arm: str, coupling_loss: float) -> float:
    """The weight of φ_θ's own objective: that of the next block is half of what arm `generator` is."""
    return 1.0 if arm == "generator" else 0.0 if arm in ("dense", "frozen") else coupling_loss


@contextmanager
def _private_random_state(device: torch.device, seed: int) -> Iterator[None]:
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield
