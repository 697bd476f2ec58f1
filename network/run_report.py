"""What a run says at its start and its end: what is trained on what, and what it took.

FLOPs are the formula's (model_flops.py), the utilisation (MFU) theirs over the data sheet's peak of the device, told
for devices that are listed alone. Bits per byte are the validation loss over ln 2 and over the bytes of a token, so
that runs on bytes and on byte pairs compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from network.config import ARMS, FastSlowConfig
from network.data import TokenData
from network.model_flops import peak_flops, training_flops
from network.schedule import Schedule
from network.training_config import TrainConfig


@dataclass(frozen=True)
class RunReport:
    """The facts of a run that are known before its first step."""

    model: FastSlowConfig
    training: TrainConfig
    data: TokenData
    parameters: int
    coupling_parameters: int
    device: str
    processes: int
    schedule: Schedule

    @property
    def passes(self) -> float:
        """How often the training split is read, on average."""
        return self.training.tokens / len(self.data.training)

    @property
    def flops_per_token(self) -> float | None:
        """Floating-point operations of training on one token; None for an arm without a formula."""
        return training_flops(self.model) / self.model.block_size if self.model.arm in ARMS else None

    def warnings(self) -> list[str]:
        """What should be looked at before the losses of this run are believed."""
        found = self.data.summary.warnings() if self.data.summary is not None else []
        if self.model.slow_attention == "full_leaking" and self.model.arm in ("coupled", "blind"):
            found.append(
                "slow_attention 'full_leaking' lets tokens read their own future: its losses mean nothing; "
                "take 'block_causal' for a language model"
            )
        if self.passes > 20:
            found.append(
                f"the {len(self.data.training):,} training tokens are read {self.passes:.0f} times: expect them to be "
                "learned by heart; take more text or fewer --tokens"
            )
        return found

    def lines(self) -> list[str]:
        """For the terminal, before the first step."""
        m, t = self.model, self.training
        slow = "" if m.arm in ("dense", "local") else f" + {m.n_slow_layer} slow"
        clock = "" if m.arm == "dense" else f", P = {m.period}, gate {m.gate}"
        part = f", {self.coupling_parameters:,} of them in the coupling" if self.coupling_parameters else ""
        many = f" × {self.processes} processes" if self.processes > 1 else ""
        pairs, flops = self.data.bpe_vocab, self.flops_per_token
        steps = self.schedule.steps
        return [
            f"arm {m.arm}: {m.n_layer} fast{slow} layers of width {m.n_embd}, T = {m.block_size}{clock}",
            f"{self.parameters:,} parameters{part}; {self.device}{many}, {t.dtype}{', compiled' if t.compile else ''}",
            *(self.data.summary.lines() if self.data.summary is not None else []),
            f"tokens are {'bytes' if pairs is None else f'byte pairs, {pairs:,} of them'}; {t.tokens:,} to train on, "
            f"{self.passes:.2f} passes over the training split, in {steps:,} steps of {t.batch_size} × {m.block_size}",
            *([] if flops is None else [f"{flops:.3g} FLOPs a token, {flops * t.tokens:.3g} in all"]),
            self.schedule.told(),
            *(f"warning: {one}" for one in self.warnings()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "parameters": self.parameters,
            "coupling_parameters": self.coupling_parameters,
            "device": self.device,
            "processes": self.processes,
            "dtype": self.training.dtype,
            "passes": self.passes,
            "steps": self.schedule.steps,
            "flops_per_token": self.flops_per_token,
            "corpus": self.data.summary.to_dict() if self.data.summary is not None else None,
            "warnings": self.warnings(),
        }

    def utilisation(self, tokens: int, seconds: float) -> float | None:
        """MFU: the formula's operations over the peak of the devices; None on a device that is not listed."""
        peak, flops = peak_flops(self.device), self.flops_per_token
        if peak is None or flops is None or not seconds:
            return None
        return flops * tokens / seconds / (peak * self.processes)

    def bits_per_byte(self, nats: float) -> float | None:
        """A loss in nats per token as bits per byte of text."""
        if self.data.summary is None:
            return None
        return nats / math.log(2) / self.data.summary.bytes_per_token


def describe(
    model: nn.Module,
    config: FastSlowConfig,
    training: TrainConfig,
    data: TokenData,
    *,
    device: torch.device,
    processes: int,
    schedule: Schedule,
) -> RunReport:
    """The report of a run of `model` that is about to start."""
    coupling = sum(p.numel() for name, p in model.named_parameters() if name.startswith("coupling."))
    total = sum(p.numel() for p in model.parameters())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return RunReport(config, training, data, total, coupling, name, processes, schedule)
