"""python -m network.leak_check RUN: does any logit of a trained model depend on a later token?

Every token in turn is replaced by another one, and the logits before it must not move at all: float64, equal bits.
Every gate is set to a random non-zero value first, since behind a closed gate any slow path passes. Beside the leak the
check measures the *reach*: how far the slow signal of the replaced tokens moves the logits where the fast path still
reads the old ones. A reach of zero, as of a slow signal that is the same whatever the tokens, would make the check
empty, and is reported as such.

In arm `blind` a sequence reads another one, so the same position is replaced in every sequence of the batch.

Exit codes: 0 no leak; 1 a leak, with the first position that sees its future; 2 usage or input; 3 the slow path reaches
nothing, or the logits are not finite; 130 interrupted.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from network.command_line import FAILED, VIOLATED, RunParser, exit_code, positive_integer, seed_number

if TYPE_CHECKING:
    from torch import Tensor, nn

    from network.generator_lm import GeneratorLM
    from network.model import FastSlowLM

    Model = FastSlowLM | GeneratorLM


@dataclass(frozen=True)
class LeakReport:
    """What `leak_check` found.

    largest: the largest change of a logit by a later token. changed, by: the earliest position that saw its future, and
    the token that it saw (None: no leak). reach: the largest change of a logit by the slow signal of a replaced token
    (None in an arm without a slow path).
    length, batch: the size of the test sequences, in which each token was replaced once.
    """

    arm: str
    period: int
    largest: float
    changed: int | None
    by: int | None
    reach: float | None
    length: int
    batch: int

    @property
    def leaks(self) -> bool:
        """Whether some logit depends on a later token."""
        return self.changed is not None

    @property
    def empty(self) -> bool:
        """Whether the slow path moved nothing, so that the check says nothing of it."""
        return self.reach == 0.0


def leak_check(model: Model, *, length: int | None = None, batch: int = 2, seed: int = 0) -> LeakReport:
    """Replace every token of random sequences in turn and watch the logits before it; the model itself is left alone.

    length: tokens per sequence (default: all of block_size up to 64 tokens, or more where four blocks need them).

    Raises `ValueError` for a length outside period + 1 … block_size and for a vocabulary of one, `RuntimeError` for
    logits that are not finite.
    """
    import torch

    from network.gate import gate_parameters

    config = model.config
    if config.vocab_size < 2:
        raise ValueError("vocab_size = 1 leaves no token to replace another one")
    size: int = min(config.block_size, max(64, 4 * config.period + 3)) if length is None else length
    least = min(config.period + 1, config.block_size)
    if not least <= size <= config.block_size:
        raise ValueError(f"length = {size} must lie in {least} … {config.block_size} (period + 1 … block_size)")
    rng = torch.Generator().manual_seed(seed)
    trial = copy.deepcopy(model).double().eval()
    device = trial.device
    with torch.no_grad():
        for gate in gate_parameters(trial).values():
            sign = torch.randint(2, gate.shape, generator=rng) * 2 - 1
            gate.copy_(sign * (0.5 + torch.rand(gate.shape, generator=rng, dtype=torch.float64)))
        tokens = torch.randint(config.vocab_size, (batch, size), generator=rng).to(device)
        other = torch.randint(1, config.vocab_size, (batch, size), generator=rng).to(device)
        before = trial(tokens)
        if not bool(torch.isfinite(before).all()):
            raise RuntimeError("the logits are not finite with the gates open: the weights have diverged")
        largest, changed, by = 0.0, None, None
        reach = 0.0 if _slow_path(trial) is not None else None
        for t in range(size):
            replaced = tokens.clone()
            replaced[:, t] = (tokens[:, t] + other[:, t]) % config.vocab_size
            after, signal = _with_its_signal(trial, replaced)
            moved = (after[:, :t] - before[:, :t]).abs().amax((0, 2))
            # NaN compares as no change, and must not.
            seen = (~(moved == 0)).nonzero()
            if len(seen):
                largest = max(largest, float(moved.max()))
                if changed is None or int(seen[0]) < changed:
                    changed, by = int(seen[0]), t
            if reach is not None and t % config.period == 0:  # one token a block tells enough
                reach = max(reach, float((_under_signal(trial, tokens, signal) - before).abs().max()))
    return LeakReport(config.arm, config.period, largest, changed, by, reach, size, batch)


def _slow_path(model: Model) -> nn.Module | None:
    """The module whose output, at the token clock, is all that the fast path hears of the slow one."""
    if model.config.arm == "generator":
        return model.get_submodule("slow")
    return model.coupling if model.coupled else None


def _with_its_signal(model: Model, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """The logits of tokens[B, T], and what the slow path feeds back on the way (None: nothing)."""
    slow = _slow_path(model)
    if slow is None:
        return model(tokens), None
    kept: list[Any] = []
    hook = slow.register_forward_hook(lambda _, __, fed_back: kept.append(fed_back))
    try:
        return model(tokens), kept[0]
    finally:
        hook.remove()


def _under_signal(model: Model, tokens: Tensor, signal: Tensor | None) -> Tensor:
    """The logits of tokens[B, T] with `signal` fed back in the place of their own."""
    slow = _slow_path(model)
    if slow is None or signal is None:
        return model(tokens)
    hook = slow.register_forward_hook(lambda _, __, ___: signal)
    try:
        return model(tokens)
    finally:
        hook.remove()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = RunParser("python -m network.leak_check", __doc__ or "")
    parser.add_argument(
        "--length", type=positive_integer, metavar="T", help="tokens per sequence (default: up to 64, or 4 P + 3)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of the gates and the tokens (default 0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _check(options), parser.prog)


def _check(options: Any) -> int:
    from network.run_folder import load_run

    report = leak_check(load_run(options.run, options.device), length=options.length, seed=options.seed)
    if options.json:
        values = {**asdict(report), "leaks": report.leaks, "empty": report.empty}
        print(json.dumps(values, allow_nan=False))  # noqa: T201
    else:
        print(_describe(report))  # noqa: T201
    return VIOLATED if report.leaks else FAILED if report.empty else 0


def _describe(report: LeakReport) -> str:
    size = f"{report.batch} sequences of {report.length} tokens, each replaced once"
    what = f"arm {report.arm}, P = {report.period}: {size}"
    if report.leaks:
        found = f"LEAK: position {report.changed} sees token {report.by}; largest change {report.largest:.3g}"
    elif report.empty:
        found = "nothing concluded: the slow signal of no token moves a logit, even with the gates open"
    else:
        found = "no leak: every logit before a replaced token is unchanged, bit for bit"
        if report.reach is not None:
            found += f" (the slow signal of a replaced token moves logits by up to {report.reach:.3g})"
    return f"{what}\n{found}"


if __name__ == "__main__":
    sys.exit(main())
