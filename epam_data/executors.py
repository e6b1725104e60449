"""Where shard tasks run. The interface is `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_PROCESS = 16
"""A worker builds as many shards, then a fresh one takes over: a leak in a decoder cannot grow without end."""


def available_cores() -> int:
    """Cores that this process may use (a container or Slurm may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(num_workers: int, tasks_per_process: int = TASKS_PER_PROCESS) -> Executor:
    """Processes of this machine. They are spawned: a fork would copy threads and locks of the parent's libraries."""
    recycling: dict[str, Any] = {"max_tasks_per_child": tasks_per_process} if sys.version_info >= (3, 11) else {}
    return ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_ignore_interrupts,
        **recycling,
    )


def run_tasks(executor: Executor, function: Callable[[Task], Result], tasks: list[Task]) -> Iterator[Result]:
    """Run `function` over `tasks` and give the results as they come, in any order.

    Raises:
        Exception: whatever a task raises; tasks that have not begun are then cancelled.
    """
    futures = [executor.submit(function, task) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def run_local(
    function: Callable[[Task], Result],
    tasks: list[Task],
    num_workers: int,
    tasks_per_process: int = TASKS_PER_PROCESS,
) -> Iterator[Result]:
    """`run_tasks` in as many processes of this machine as pay off; with 0 or for one task, in this one."""
    if num_workers == 0 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    with local_executor(min(num_workers, len(tasks)), tasks_per_process) as executor:
        yield from run_tasks(executor, function, tasks)


def _ignore_interrupts() -> None:
    # Ctrl-C goes to the whole terminal group; the parent alone decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
