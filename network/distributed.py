"""One process or many: the same training loop under plain Python and under `torchrun`.

Each of W processes takes an equal share of the rows of every batch; DDP averages their gradients, so the step is that
of one process with the whole batch, up to the order of the sum. gloo carries CPU tensors, NCCL CUDA ones. A process
that dies closes its connections: the others' next collective raises, and torchrun ends them all; one that hangs is
given up after `TIMEOUT`. A run whose work is done ends in order: all wait for one another, the group is destroyed, its
threads have ended.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Processes:
    """This process among `world` of them, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This process's share of the rows of a batch; raises `ValueError` where it does not divide evenly."""
        if batch_size % self.world:
            raise ValueError(f"batch_size = {batch_size} must be a multiple of the {self.world} processes")
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes, where `values` lie; every process must call it."""
        if self.world == 1:
            return values
        total = values.detach().clone().to(self.device)
        dist.all_reduce(total)
        return total.to(values.device)

    def agree(self, flag: bool) -> bool:
        """Whether the flag is raised in any process; every process must call it."""
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def parallel(self, model: nn.Module) -> nn.Module:
        """`model`, its gradients averaged over the processes; it holds the group and must not outlive it."""
        if self.world == 1:
            return model
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device.index] if self.device.type == "cuda" else None
        )

    def unsynchronised(self, model: nn.Module) -> AbstractContextManager[None]:
        """A block whose backward passes only accumulate, for all micro-batches but the last."""
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


@contextmanager
def processes(device: str | torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, connected for the length of the block; a single one outside it.

    A process group that the caller has initialised is used and left open. Raises `ValueError` for an unknown or absent
    device.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    if not launched and not dist.is_initialized():
        yield Processes(0, 1, checked_device(device))
        return
    chosen = checked_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = checked_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen)
        return
    _begin("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen)
        gc.collect()  # a wrapped model in a reference cycle holds the group, and with it the group's threads
        # nobody closes its connections while another is in its last collective
        dist.barrier(device_ids=[chosen.index] if chosen.type == "cuda" else None)
    finally:
        dist.destroy_process_group()


def _begin(backend: str) -> None:
    """Connect the processes so that `destroy_process_group` can end the group and join its threads.

    The functions of `torch.distributed.nn.functional` have `group.WORLD` as their default argument, evaluated when the
    module is first imported; wrapping a model imports it. Imported while a group exists, it would hold that group for
    good: gloo's threads would outlive the group, one of them would free its last tensor while the interpreter shuts
    down, and the process would abort after all its work was done (pytorch issue 190489: 'terminate called without an
    active exception').
    """
    import torch.distributed.nn.functional  # noqa: F401  (before there is a group)

    dist.init_process_group(backend, timeout=TIMEOUT)


def checked_device(name: str | torch.device) -> torch.device:
    """The device called `name`; raises `ValueError` where there is none, never falls back to the CPU."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        reason = reason.rstrip(".")
        raise ValueError(f"device {str(name)!r} is not available here ({reason}); take {_devices()}") from None
    return device


def _devices() -> str:
    """What --device can be here."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return " or ".join(["--device cpu", *(f"cuda:{index}" for index in range(count))])
