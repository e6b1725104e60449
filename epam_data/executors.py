"""Where shard tasks run. The interface is `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from epam_data.isolated import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_POOLS = 5
"""Pools that `run_local` starts before it gives up on workers that die."""


_DASK_SECONDS = 10  # for the scheduler to answer


class WorkersDiedError(RuntimeError):
    """Workers were started again and again, and died."""


def available_cores() -> int:
    """Cores that this process may use (a container or Slurm may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(num_workers: int) -> Executor:
    """Processes of this machine. They are spawned: a fork would copy threads and locks of the parent's libraries."""
    return ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(os.getpid(),)
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
    except KeyboardInterrupt:
        # Leaving the executor would wait for the tasks that run: minutes. What they wrote so far has no final name.
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        for future in futures:
            future.cancel()


def run_local(function: Callable[[Task], Result], tasks: list[Task], num_workers: int) -> Iterator[Result]:
    """`run_tasks` in processes of this machine; with 0 workers or one task, in this one.

    A worker that dies (killed for memory, or by hand) takes the pool with it; the tasks that were left go to a new one.

    Raises:
        WorkersDiedError: workers died `MAX_POOLS` times; something kills them.
    """
    if num_workers == 0 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    left = dict(enumerate(tasks))
    for _ in range(MAX_POOLS):
        try:
            with local_executor(min(num_workers, len(left))) as executor:
                for number, result in run_tasks(executor, _Numbered(function), list(left.items())):
                    del left[number]
                    yield result
            return
        except BrokenProcessPool:
            print(f"a worker process died; {len(left)} tasks go to new ones", file=sys.stderr)
    raise WorkersDiedError(f"worker processes died {MAX_POOLS} times; is the machine out of memory?")


def run_dask(function: Callable[[Task], Result], tasks: list[Task], address: str) -> Iterator[Result]:
    """`run_tasks` on the Dask cluster of the scheduler at `address`; it gives the tasks of a dead worker to others.

    Raises:
        ValueError: Dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("dask is not installed: pip install 'epam[dask]'") from None
    try:
        client = Client(address, timeout=_DASK_SECONDS)
    except OSError as error:
        raise ValueError(f"{address}: no Dask scheduler answers ({error})") from error
    with client:
        yield from run_tasks(client.get_executor(retries=MAX_POOLS), function, tasks)


@dataclass(frozen=True)
class _Numbered:
    """The function, with the number of the task in front of its result."""

    function: Callable[[Any], Any]

    def __call__(self, task: tuple[int, Any]) -> tuple[int, Any]:
        return task[0], self.function(task[1])


def _start_worker(parent: int) -> None:
    # Ctrl-C goes to the whole terminal group; the parent alone decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
