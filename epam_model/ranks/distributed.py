"""Ranks, the processes that train together: joining them, and collective operations. `launch` finds their numbers.

Every function also works in a single process, without communication.
"""

from __future__ import annotations

import gc
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from epam_data.stream.launch import Launch, find_launch
from epam_model.ranks.device import Device

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

_SLOW_SECONDS = 30
"""A process that waits longer for the others to connect says so."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The number of this process, and its device."""

    rank: int = 0
    """Number of this process, 0 ... world - 1."""
    world: int = 1
    """Processes that train together."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The device on which this process computes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


@contextmanager
def distributed(device: str = "auto", *, timeout_seconds: float = 600.0) -> Iterator[Ranks]:
    """Join the processes that `torchrun` or `srun` started (gloo on the CPU, NCCL on GPUs), and leave them at the end.

    Args:
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        timeout_seconds: how long a rank waits for the others before failing.

    Raises:
        ValueError: the device does not exist, or the launcher's environment is incomplete.
    """
    launch = find_launch()
    if launch.world == 1:
        yield Ranks(device=choose_device(device, 0))
        return
    one_gpu = launch.sees_own_gpu_alone and torch.cuda.is_available() and torch.cuda.device_count() == 1
    chosen = choose_device(device, 0 if one_gpu else launch.local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # NCCL and object collectives use the current device
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    with _warning_if_slow(launch):
        dist.init_process_group(
            backend,
            init_method=launch.address,
            rank=launch.rank,
            world_size=launch.world,
            timeout=timedelta(seconds=timeout_seconds),
        )
    completed = False
    try:
        yield Ranks(rank=launch.rank, world=launch.world, device=chosen)
        sum_over_ranks(torch.zeros(1, device=chosen)).item()  # no rank leaves while others still need it
        completed = True
    finally:
        # DDP is in reference cycles and keeps the group alive; gloo threads alive at exit would abort the process.
        gc.collect()
        # After an error, NCCL would wait for ranks that never answer; the launcher ends them.
        if completed or backend == "gloo":
            dist.destroy_process_group()


@contextmanager
def _warning_if_slow(launch: Launch) -> Iterator[None]:
    """Say what this process waits for if the others do not connect: one that was never started gives no message."""
    address = launch.address if launch.address != "env://" else "MASTER_ADDR:MASTER_PORT"
    warning = threading.Timer(
        _SLOW_SECONDS,
        _log.warning,
        (
            "rank %d has waited %d s for the other %d of %d processes at %s; check that all were started",
            *(launch.rank, _SLOW_SECONDS, launch.world - 1, launch.world, address),
        ),
    )
    warning.daemon = True
    warning.start()
    try:
        yield
    finally:
        warning.cancel()


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of this process; with several GPUs, the one numbered `local_rank`.

    Raises:
        ValueError: an unknown name, no GPU, or fewer GPUs than processes.
    """
    if name not in get_args(Device):
        raise ValueError(f"device must be one of {', '.join(get_args(Device))}, got {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU here")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(f"process {local_rank} needs its own GPU, this machine has {torch.cuda.device_count()}")
    return torch.device("cuda", local_rank)


def data_parallel(model: nn.Module, ranks: Ranks) -> nn.Module:
    """The model as a training step calls it: with several ranks wrapped in DDP, which averages their gradients."""
    if ranks.world == 1:
        return model
    # DDP must not synchronise buffers, see `average_buffers`. The argument's name depends on the torch version.
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    leave_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    arguments: dict[str, Any] = {leave_buffers: False, "device_ids": device_ids}
    return DistributedDataParallel(model, **arguments)


def gather(value: Value) -> list[Value]:
    """The values of all ranks, by rank, on every rank. Sizes may differ; tensors must be on the CPU."""
    if not _together():
        return [value]
    values: list[Value | None] = [None] * num_ranks()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # every entry is filled now


def on_main(action: Callable[[], object], ranks: Ranks) -> None:
    """Do something on the main rank alone, and fail on all ranks if it fails there; all ranks must call it.

    Raises:
        ValueError, OSError: on the main rank, whatever `action` raised; on the others a ValueError with its text.
    """
    failure: ValueError | OSError | None = None
    if ranks.is_main:
        try:
            action()
        except (ValueError, OSError) as error:
            failure = error
    text = gather(None if failure is None else str(failure))[0]
    if failure is not None:
        raise failure
    if text is not None:
        raise ValueError(text)


def num_ranks() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if _together() else 1


def own_rank() -> int:
    """The number of this rank, 0 ... num_ranks() - 1."""
    return dist.get_rank() if _together() else 0


def any_rank(flags: Sequence[bool | Tensor], device: torch.device) -> list[bool]:
    """For each flag, whether it is set on any rank; one small all-reduce. A tensor must have one element."""
    votes = torch.stack([torch.as_tensor(flag, dtype=torch.float32, device=device).reshape(()) for flag in flags])
    return (sum_over_ranks(votes) > 0).tolist()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, on every rank; the argument is not changed."""
    total = tensor.clone()
    if _together():
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


def sum_with_gradient(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, through which gradients flow back to the tensors of all ranks."""
    if not _together():
        return tensor
    # Each rank's loss depends on the sum, so the gradient of a rank's part is the sum of all ranks' gradients.
    total: Tensor = all_reduce(tensor)  # type: ignore[no-untyped-call]
    return total


def average_buffers(model: nn.Module) -> None:
    """Replaces the floating-point buffers (the statistics of batch norms) on every rank by their mean over ranks.

    Batch norms that are not synchronised see only the clips of their own rank, but all ranks must evaluate and save
    the same model. The mean uses the statistics of all ranks; a broadcast would use those of only one.
    """
    if not _together():
        return
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = sum_over_ranks(torch.cat([buffer.flatten() for buffer in buffers])) / num_ranks()
    for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
