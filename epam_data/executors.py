"""Where shard tasks run. The interface is `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_PROCESS = 16
"""Shards that a worker builds before a fresh one takes over: a leak in a decoder cannot grow without end."""


def available_cores() -> int:
    """Cores that this process may use (a container or Slurm may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(num_workers: int) -> Executor:
    """Processes of this machine. They are spawned: a fork would copy threads and locks of the parent's libraries."""
    return ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupts
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
    """`run_tasks` in as many processes of this machine as pay off; with 0 or for one task, in this one.

    Processes are recycled by whole pools: the pool's own `max_tasks_per_child` can leave it waiting for ever
    (python/cpython issue 115634).
    """
    if num_workers == 0 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    num_at_once = num_workers * tasks_per_process
    for start in range(0, len(tasks), num_at_once):
        some = tasks[start : start + num_at_once]
        with local_executor(min(num_workers, len(some))) as executor:
            yield from run_tasks(executor, function, some)


def _ignore_interrupts() -> None:
    # Ctrl-C goes to the whole terminal group; the parent alone decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
