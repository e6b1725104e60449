"""The rank of this process and the address where ranks connect, from the variables of `torchrun` or Slurm."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_FIRST_PORT, _NUM_PORTS = 20000, 10000  # below the ports that Linux gives to clients


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How this process was started."""

    rank: int = 0
    """Number of this process, 0 ... world - 1."""
    local_rank: int = 0
    """Its number on this machine."""
    world: int = 1
    """Processes that train together."""
    address: str = "env://"
    """The address where they connect, as `init_method` of `torch.distributed`."""
    sees_own_gpu_alone: bool = False
    """Whether the launcher may make only the process's own GPU visible (srun's `--gpus-per-task`)."""


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Reads the variables of `torchrun`, else those of `srun`; without either, there is one process.

    `torchrun` comes first, since it may itself run under `srun`. The number of tasks of the job step is read, since a
    Slurm batch script also sets `SLURM_NTASKS` for commands that it runs without `srun`.

    Raises:
        ValueError: variables are missing or not numbers.
    """
    if "WORLD_SIZE" in environment:
        world = _number(environment, "WORLD_SIZE", "torchrun")
        if world == 1:
            return Launch()
        rank, local = (_number(environment, name, "torchrun") for name in ("RANK", "LOCAL_RANK"))
        return Launch(rank=rank, local_rank=local, world=world)
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return Launch()
    world, rank, local = (
        _number(environment, name, "srun") for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
    )
    host = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", ""))
    port = environment.get("MASTER_PORT") or str(slurm_port(environment))
    return Launch(rank=rank, local_rank=local, world=world, address=f"tcp://{host}:{port}", sees_own_gpu_alone=True)


def first_host(nodes: str) -> str:
    """The first machine of a Slurm list of nodes: `gpu007` of `gpu[007-010,12],cpu1`.

    Raises:
        ValueError: the list names no machine.
    """
    found = re.match(r"([^\[,\s]+)(?:\[([^\]\-,]+)[^\]]*\]([^,\s]*))?", nodes)
    if found is None:
        raise ValueError(f"SLURM_STEP_NODELIST must name the machines, got {nodes!r}; or set MASTER_ADDR")
    return "".join(part or "" for part in found.groups())


def slurm_port(environment: Mapping[str, str]) -> int:
    """A port: the same for all tasks of a job step, and rarely the same for two steps on one machine."""
    job = int(environment.get("SLURM_JOB_ID", "0"))
    step = environment.get("SLURM_STEP_ID", "0")
    return _FIRST_PORT + (job * 13 + (int(step) if step.isdigit() else 0)) % _NUM_PORTS


def _number(environment: Mapping[str, str], name: str, launcher: str) -> int:
    value = environment.get(name)
    if value is None:
        size = "WORLD_SIZE" if launcher == "torchrun" else "SLURM_STEP_NUM_TASKS"
        raise ValueError(f"{size} is set, but {name} is not: start several processes with {launcher}")
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {value!r}; start several processes with {launcher}") from None
