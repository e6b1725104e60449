"""Preemption: when a cluster signals that it needs the machine, the run stops at the end of the step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

REQUEUE_EXIT_CODE = 75
"""Exit code of a run that was asked to stop and wrote a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later"."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def ignore_signals() -> None:
    """Ignore further signals while a stopped run ends.

    When the first rank exits, a launcher sends signals to the others, which would change their exit codes.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """Inside, records SIGTERM, SIGUSR1 and SIGHUP instead of handling them; outside the main thread it does nothing.

    A signal that the process ignores, as SIGHUP under `nohup`, stays ignored.

    Attributes:
        signal: the last signal received; None: none yet.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
