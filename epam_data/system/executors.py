"""Where shard tasks run. The interface is `concurrent.futures.Executor`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from epam_data.system.isolated import end_with_parent

_log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_POOLS = 5
"""Pools that `run_local` starts, without one result in between, before it gives up on workers that die."""

EXECUTORS = ("local", "dask")

_DASK_SECONDS = 10  # for the scheduler to answer


class WorkersDiedError(RuntimeError):
    """Workers were started again and again, and died."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where tasks run; what they do does not depend on it."""

    executor: str = "local"
    """Where shards are processed: in `local` processes, or on a `dask` cluster. The results are the same."""
    workers: int = 0
    """Processes on this machine; 0 runs everything in this process."""
    dask_address: str | None = None
    """Scheduler of the Dask cluster, such as tcp://host:8786; null: `workers` Dask processes on this machine."""

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {self.executor!r}")
        if self.workers < 0:
            raise ValueError(f"workers must be >= 0, got {self.workers}")
        if self.dask_address is not None and self.executor != "dask":
            raise ValueError(f"dask_address belongs to executor dask, got executor {self.executor!r}")


def available_cores() -> int:
    """Cores that this process may use (a container or Slurm may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores() -> ExecutorSettings:
    """A process on each core of this machine."""
    return ExecutorSettings(workers=available_cores())


def local_executor(num_workers: int) -> Executor:
    """Processes of this machine. They are spawned: a fork would copy threads and locks of the parent's libraries."""
    return ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), Path.cwd()),
    )


def run(function: Callable[[Task], Result], tasks: list[Task], settings: ExecutorSettings) -> Iterator[Result]:
    """Run `function` over `tasks` where the settings say, and give the results as they come, in any order.

    Raises:
        WorkersDiedError: processes of this machine die again and again.
        ValueError: Dask is not installed, or nobody answers at its address.
        Exception: whatever a task raises; tasks that have not begun are then cancelled.
    """
    if settings.executor == "dask":
        return run_dask(function, tasks, settings)
    return run_local(function, tasks, settings.workers)


def run_tasks(
    executor: Executor,
    function: Callable[[Task], Result],
    tasks: list[Task],
    stop: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Run `function` over `tasks` on any executor; see `run`.

    Args:
        executor: where.
        function: what.
        tasks: its arguments.
        stop: called if anything goes wrong, to end the executor's tasks; None: those that have not begun are cancelled.
    """
    futures = [executor.submit(function, task) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BaseException:
        if stop is not None:
            stop()  # and nothing is cancelled: the pool of dead processes would trip over a cancelled future
        else:
            for future in futures:
                future.cancel()
        raise


def run_local(function: Callable[[Task], Result], tasks: list[Task], num_workers: int) -> Iterator[Result]:
    """`run` in processes of this machine; with 0 workers or one task, in this one.

    A worker that dies (killed for memory, or by hand) takes the pool with it; the tasks that were left go to a new one.
    """
    if num_workers == 0 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    left, deaths = dict(enumerate(tasks)), 0
    while deaths < MAX_POOLS:
        others = set(multiprocessing.active_children())
        try:
            with local_executor(min(num_workers, len(left))) as executor:
                stop = partial(_kill_children_but, others)
                for number, result in run_tasks(executor, _Numbered(function), list(left.items()), stop):
                    del left[number]
                    deaths = 0
                    yield result
            return
        except BrokenProcessPool:
            deaths += 1
            _log.warning("a worker process died; %d tasks go to new ones", len(left))
    raise WorkersDiedError(f"worker processes died {MAX_POOLS} times in a row; is the machine out of memory?")


def _kill_children_but(others: set[BaseProcess]) -> None:
    # Leaving the executor would wait for the tasks that run: minutes, after Ctrl-C or on a full disk. What they wrote
    # so far has no final name.
    for child in set(multiprocessing.active_children()) - others:
        child.kill()


def run_dask(function: Callable[[Task], Result], tasks: list[Task], settings: ExecutorSettings) -> Iterator[Result]:
    """`run` on a Dask cluster; it gives the tasks of a dead worker to others."""
    try:
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError:
        raise ValueError("dask is not installed: pip install 'epam[dask]'") from None
    others = set(multiprocessing.active_children())
    cluster = client = None
    address = settings.dask_address
    try:
        if address is None:
            cluster = LocalCluster(
                n_workers=max(settings.workers, 1), threads_per_worker=1, processes=True, dashboard_address=None
            )
            address = cluster.scheduler_address
        try:
            client = Client(address, timeout=_DASK_SECONDS)
        except OSError as error:
            raise ValueError(f"{address}: no Dask scheduler answers ({error})") from error
        yield from run_tasks(client.get_executor(retries=MAX_POOLS), function, tasks)
    except KilledWorker as error:
        raise WorkersDiedError(f"Dask gave a task up, since its workers died again and again: {error}") from error
    except BaseException:
        if cluster is not None:  # closing it would wait for the tasks that run
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
            _kill_children_but(others)
        raise
    finally:
        # A busy machine takes longer to close: that must not hide an error, nor fail a build that has all its results.
        for opened in (client, cluster):
            if opened is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    opened.close(timeout=1)


@dataclass(frozen=True)
class _Numbered:
    """The function, with the number of the task in front of its result."""

    function: Callable[[Any], Any]

    def __call__(self, task: tuple[int, Any]) -> tuple[int, Any]:
        return task[0], self.function(task[1])


def _start_worker(parent: int, folder: Path) -> None:
    # Ctrl-C goes to the whole terminal group; the parent alone decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    os.chdir(folder)  # multiprocessing goes to where the parent was at first: paths may be relative to where it is now
