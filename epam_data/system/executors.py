"""Where shard tasks run. The interface is `concurrent.futures.Executor`."""

from __future__ import annotations

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
from typing import Any, Literal, TypeVar

from epam_data.system.checked_fields import Workers, check_fields
from epam_data.system.child_process import end_with_parent, safe_path

_log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_POOLS = 5
"""`run_local` gives up after this many process pools in a row died without returning a result."""

_DASK_SECONDS = 10  # timeout for connecting to the scheduler


class WorkersDiedError(RuntimeError):
    """Workers kept dying after being restarted."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where tasks run; what they do does not depend on it."""

    executor: Literal["local", "dask"] = "local"
    """Where shards are processed: in `local` processes, or on a `dask` cluster. The results are the same."""
    workers: Workers = 0
    """Processes on this machine; 0 runs everything in this process."""
    dask_address: str | None = None
    """Scheduler of the Dask cluster, such as tcp://host:8786; null: `workers` Dask processes on this machine."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dask_address is not None and self.executor != "dask":
            raise ValueError(f"dask_address belongs to executor dask, got executor {self.executor!r}")


def available_cores() -> int:
    """Number of cores this process may use (a container or Slurm may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores() -> ExecutorSettings:
    """Settings with one local process per core."""
    return ExecutorSettings(workers=available_cores())


def local_executor(num_workers: int) -> Executor:
    """A local process pool. It spawns: a fork would copy threads and locks of the parent's libraries."""
    with safe_path():  # its queues start a process that tracks them
        return ProcessPoolExecutor(
            num_workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(), Path.cwd()),
        )


def run(function: Callable[[Task], Result], tasks: list[Task], settings: ExecutorSettings) -> Iterator[Result]:
    """Run `function` over `tasks` on the configured executor; results come in order of completion.

    Raises:
        WorkersDiedError: worker processes keep dying.
        ValueError: Dask is not installed, or no scheduler answers at its address.
        Exception: whatever a task raises; tasks that have not started are then cancelled.
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
        executor: where to run.
        function: what to run.
        tasks: its arguments.
        stop: called on any error, to end the executor's tasks; None: tasks that have not started are cancelled.
    """
    with safe_path():  # a process pool starts its processes here
        futures = [executor.submit(function, task) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BaseException:
        if stop is not None:
            stop()  # cancel nothing: a pool whose processes died fails on cancelled futures
        else:
            for future in futures:
                future.cancel()
        raise


def run_local(function: Callable[[Task], Result], tasks: list[Task], num_workers: int) -> Iterator[Result]:
    """`run` in local processes; with 0 workers or a single task, in this process.

    A worker that dies (out of memory, or killed by hand) breaks the pool; a new pool takes the remaining tasks.
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
            _log.warning("a worker process died; restarting workers for the remaining %d tasks", len(left))
    raise WorkersDiedError(f"worker processes died {MAX_POOLS} times in a row; is the machine out of memory?")


def _kill_children_but(others: set[BaseProcess]) -> None:
    # Leaving the executor would wait minutes for running tasks, even after Ctrl-C or on a full disk. Killing them is
    # safe: their output has no final name yet.
    for child in set(multiprocessing.active_children()) - others:
        child.kill()


def run_dask(function: Callable[[Task], Result], tasks: list[Task], settings: ExecutorSettings) -> Iterator[Result]:
    """`run` on a Dask cluster, which moves the tasks of a dead worker to other workers."""
    try:
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError:
        raise ValueError("dask is not installed: pip install 'epam[dask]'") from None
    others = set(multiprocessing.active_children())
    cluster = client = None
    address = settings.dask_address
    safe = contextlib.ExitStack()
    try:
        safe.enter_context(safe_path())  # as long as the cluster may start a worker again
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
        raise WorkersDiedError(f"Dask gave up on a task because its workers kept dying: {error}") from error
    except BaseException:
        if cluster is not None:  # closing it would wait for running tasks
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
            _kill_children_but(others)
        raise
    finally:
        safe.close()
        from asyncio import TimeoutError as SlowToClose  # before Python 3.11 not the built-in one

        # A busy machine takes longer to close: that must not hide an error, nor fail a build that has all its results.
        for opened in (client, cluster):
            if opened is not None:
                with contextlib.suppress(SlowToClose):
                    opened.close(timeout=1)


@dataclass(frozen=True)
class _Numbered:
    """Returns the task's number together with the function's result."""

    function: Callable[[Any], Any]

    def __call__(self, task: tuple[int, Any]) -> tuple[int, Any]:
        return task[0], self.function(task[1])


def _start_worker(parent: int, folder: Path) -> None:
    # Ctrl-C reaches every process of the terminal; only the parent decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    os.chdir(folder)  # multiprocessing starts in the parent's first folder; relative paths need its current one
