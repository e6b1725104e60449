"""Fill batches in worker processes, ahead of the consumer, in order, into slots of shared memory.

A worker runs a separate program (`epam_data.stream.loading.worker`), not a fork or a second run of the caller's script:
it does not import torch, starts in a fraction of a second, and ends when its parent ends for any reason.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from epam_data.stream.loading.slots import Arrays, SharedSlots, SlotLayout
from epam_data.system.child_process import start_child

_log = logging.getLogger(__name__)

_QUEUED = 2  # tasks per worker: the current one and the next, so that it never waits for the parent
_SPARE = 2  # extra slots: for the batch that the consumer holds and the one being handed over
_END_SECONDS = 2.0
_SLOW_SECONDS = 10.0
"""A warning names a worker that has been silent for this long."""


class LoaderError(RuntimeError):
    """A worker died or does not answer; the message names the worker."""


class Source(Protocol):
    """Fills batches; picklable, and a pure function of the task."""

    def fill(self, task: Any, arrays: Arrays) -> Any:
        """Fill `arrays` for a task. The consumer gets them with the returned value, or the ValueError or OSError."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    tasks: deque[tuple[int, int]] = field(default_factory=deque)  # (run, task number), oldest first
    since: float = 0.0  # time of its last answer, or of a task given while it was idle

    def name(self) -> str:
        return f"loader worker {self.number} (process {self.process.pid})"


class _FreeSlots:
    """The free and the lent slots. Separate from the loader, so that a batch does not keep the loader alive."""

    def __init__(self, num_slots: int) -> None:
        self.slots, self.lent = deque(range(num_slots)), set[int]()

    def take_back(self, slot: int) -> None:
        self.lent.discard(slot)
        self.slots.append(slot)


class SlotLoader:
    """Runs `source.fill` in worker processes.

    Args:
        source: fills the batches.
        layout: the arrays of one batch.
        workers: number of processes; 0 fills new arrays in this process.
        timeout_seconds: a worker that does not answer for this long is an error.

    A batch's arrays are valid as long as anything refers to them; then their slot is reused. If the consumer keeps so
    many batches that slots run short, it gets copies.
    """

    def __init__(self, source: Source, layout: SlotLayout, *, workers: int, timeout_seconds: float = 300.0) -> None:
        self._source, self._layout, self._timeout_seconds = source, layout, timeout_seconds
        self._workers: list[_Worker] = []
        self._run, self._process, self._is_settled = 0, os.getpid(), True
        if workers:
            self.slots = SharedSlots(layout, workers * _QUEUED + _SPARE)
            self._free = _FreeSlots(self.slots.num_slots)
            self._done: dict[int, tuple[int, bool, Any]] = {}  # of the run: task number -> (slot, succeeded, value)
            self._workers = [self._start(number) for number in range(workers)]
            processes = [worker.process for worker in self._workers]
            pipes = [worker.pipe for worker in self._workers]
            self._end = weakref.finalize(self, _end, self._process, pipes, processes)
            for worker in self._workers:  # all start at the same time
                self._send(worker, (self._layout, self.slots.num_slots, self.slots.descriptor))
                self._send(worker, self._source)

    @property
    def is_usable(self) -> bool:
        """Whether another run may start.

        Not after an exception broke into a run, as Ctrl-C does at any line: answers of workers may be lost. Not in a
        process that was forked from the loader's: both would use the same workers.
        """
        return self._is_settled and self._process == os.getpid()

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, Arrays]]:
        """The result of `fill` and the filled arrays for each task, in the order of the tasks.

        Raises:
            ValueError, OSError: raised by `fill`, at the task's turn.
            LoaderError: a worker died or did not answer in time, or the loader is not usable.
        """
        if not self._workers:
            for task in tasks:
                arrays = self._layout.fresh()
                yield self._source.fill(task, arrays), arrays
            return
        self._is_settled = False
        self._run += 1
        run, left = self._run, enumerate(tasks)
        self._discard_done()
        turn, given, exhausted = 0, 0, False
        while not exhausted or turn < given:
            if self._run != run or not self._workers:
                raise LoaderError("the loader was closed, or another run of it was started")
            if self._process != os.getpid():
                raise LoaderError(f"process {self._process} began this run; a process forked from it begins its own")
            self._is_settled = False
            while not exhausted and self._free.slots and (worker := self._idle_worker()) is not None:
                number, task = next(left, (-1, None))
                if number < 0:
                    exhausted = True
                else:
                    self._give(worker, run, number, task)
                    given += 1
            if turn in self._done:
                turn += 1
                succeeded, value, arrays = self._hand_over(*self._done.pop(turn - 1))
                self._is_settled = True
                if not succeeded:
                    raise value
                yield value, arrays
                del value, arrays  # only the consumer keeps the slot
            elif turn < given or not exhausted:
                for answer_run, number, answer in self._receive():
                    if answer_run == run:
                        self._done[number] = answer
                    else:  # of an abandoned run
                        self._free.take_back(answer[0])
        self._is_settled = True

    def _discard_done(self) -> None:
        for slot, _, _ in self._done.values():
            self._free.take_back(slot)
        self._done.clear()

    def close(self) -> None:
        """End the workers; batches already handed over stay valid."""
        if self._workers:
            self._end()
            self._workers = []
            self.slots.close(self._free.lent)

    def _start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = start_child(
                "epam_data.stream.loading.worker",
                "serve",
                [str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno(), self.slots.descriptor],
            )
        return _Worker(number, process, Connection(ours.detach()))

    def _idle_worker(self) -> _Worker | None:
        worker = min(self._workers, key=lambda each: len(each.tasks))
        return worker if len(worker.tasks) < _QUEUED else None

    def _give(self, worker: _Worker, run: int, number: int, task: Any) -> None:
        if not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks.append((run, number))
        self._send(worker, (self._free.slots.popleft(), task))

    def _send(self, worker: _Worker, message: Any) -> None:
        try:
            worker.pipe.send(message)
        except OSError:
            raise self._died(worker) from None

    def _receive(self) -> Iterator[tuple[int, int, tuple[int, bool, Any]]]:
        """Wait until a worker answers, then yield all available answers."""
        busy = {worker.pipe: worker for worker in self._workers if worker.tasks}
        slowest = min(busy.values(), key=lambda worker: worker.since)
        for seconds in (min(_SLOW_SECONDS, self._timeout_seconds), self._timeout_seconds):
            ready = wait(list(busy), max(slowest.since + seconds - time.monotonic(), 0))
            if ready:
                break
            silence = f"{slowest.name()} has not answered for {seconds:g} s"
            if seconds == self._timeout_seconds:
                raise LoaderError(silence)
            _log.warning(silence)
        for pipe in ready:
            worker = busy[pipe]  # type: ignore[index]
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                raise self._died(worker) from None
            worker.since = time.monotonic()
            yield *worker.tasks.popleft(), answer

    def _hand_over(self, slot: int, succeeded: bool, value: Any) -> tuple[bool, Any, Arrays]:
        if not succeeded:
            self._free.take_back(slot)
            return False, value, {}
        arrays = self.slots.lend(slot, self._free.take_back)
        self._free.lent.add(slot)
        if self.slots.num_slots - len(self._free.lent) < len(self._workers):  # the consumer keeps its batches
            arrays = {name: array.copy() for name, array in arrays.items()}
        return True, value, arrays

    def _died(self, worker: _Worker) -> LoaderError:
        try:
            code = worker.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return LoaderError(f"{worker.name()} closed its pipe")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "; is the machine out of memory?" if code == -signal.SIGKILL else ""
        return LoaderError(f"{worker.name()} died {how}{hint}")


def _end(owner: int, pipes: list[Connection], processes: list[subprocess.Popen[bytes]]) -> None:
    for pipe in pipes:
        pipe.close()
    if owner != os.getpid():  # in a fork: the workers are its parent's
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
