"""Ranks: who this process is among those that `torchrun` started, and what they tell each other.

Every function works for a single process too, which then talks to nobody.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all, and its device."""

    rank: int = 0
    """Number of this process, 0 ... world - 1."""
    world: int = 1
    """Processes that train together."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process computes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


@contextmanager
def distributed(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that `torchrun` started (gloo on the CPU, NCCL on GPUs), and leave them at the end.

    Args:
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.

    Raises:
        ValueError: the device does not exist, or torchrun's environment is incomplete.
    """
    world = _from_environment("WORLD_SIZE", 1)
    if world == 1:
        yield Ranks(device=choose_device(device, 0))
        return
    rank, local_rank = _from_environment("RANK", None), _from_environment("LOCAL_RANK", None)
    chosen = choose_device(device, local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # NCCL and object collectives use the current device
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend)
    whole = False
    try:
        yield Ranks(rank=rank, world=world, device=chosen)
        sum_over_ranks(torch.zeros(1, device=chosen)).item()  # no rank leaves while others still talk to it
        whole = True
    finally:
        # DDP lies in reference cycles and holds the group: gloo's threads, alive at exit, would abort the process.
        gc.collect()
        # After an error, NCCL would wait for ranks that do not come; torchrun ends them.
        if whole or backend == "gloo":
            dist.destroy_process_group()


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of this process: with several GPUs, the one of its own number on this machine.

    Raises:
        ValueError: an unknown name, no GPU, or fewer GPUs than processes.
    """
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU here")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(f"process {local_rank} needs its own GPU, this machine has {torch.cuda.device_count()}")
    return torch.device("cuda", local_rank)


def on_device(model: nn.Module, ranks: Ranks, *, sync_bn: bool) -> nn.Module:
    """A model on this rank's device; with `sync_bn`, batch norms that use the statistics of all ranks.

    Only GPUs have the latter: on the CPU, where torch has none, each rank's batch norms see their own clips.
    """
    if sync_bn and ranks.device.type == "cuda" and ranks.world > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return model.to(ranks.device)


def data_parallel(model: nn.Module, ranks: Ranks) -> nn.Module:
    """What a training step calls: with several ranks the model in DDP, which averages their gradients."""
    if ranks.world == 1:
        return model
    # Buffers are left alone, see `average_buffers`. torch has renamed the argument.
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    leave_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    arguments: dict[str, Any] = {leave_buffers: False, "device_ids": device_ids}
    return DistributedDataParallel(model, **arguments)


def gather(value: Value) -> list[Value]:
    """The values of all ranks, by rank, on every rank. Sizes may differ; tensors must be on the CPU."""
    if not _together():
        return [value]
    values: list[Value | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # every place is filled now


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, on every rank; the argument is left as it is."""
    total = tensor.clone()
    if _together():
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


def sum_with_gradient(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, through which gradients flow back to the tensors of all ranks."""
    if not _together():
        return tensor
    total: Tensor = _SumOverRanks.apply(tensor)  # type: ignore[no-untyped-call]
    return total


class _SumOverRanks(torch.autograd.Function):
    """Each rank's loss depends on the sum, so the gradient of a rank's part is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient.contiguous())


def average_buffers(model: nn.Module) -> None:
    """Make the floating buffers (the statistics of batch norms) on every rank the mean over ranks.

    Each rank's batch norms see their own clips. What is evaluated and saved must be one model, and the mean uses what
    all ranks saw, where a broadcast would throw all but one rank's statistics away.
    """
    if not _together():
        return
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = sum_over_ranks(torch.cat([buffer.flatten() for buffer in buffers])) / dist.get_world_size()
    for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _from_environment(name: str, default: int | None) -> int:
    value = os.environ.get(name, default)
    if value is None:
        raise ValueError(f"WORLD_SIZE is set, but {name} is not: start several processes with torchrun")
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {value!r}; start several processes with torchrun") from None
