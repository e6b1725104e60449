"""Progress of long tasks: a bar on a terminal, log lines elsewhere (for example on a cluster)."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]
"""Callback for long tasks: units done, total units, and a note. The first call gives the starting count."""

_LINE_EVERY_SECONDS = 10.0


def silent(done: int, total: int, note: str) -> None:
    """An `OnProgress` that shows nothing."""


class Progress:
    """An `OnProgress` and context manager that shows the count, the rate and the time left.

    Args:
        what: label before the figures.
        unit: plural name of what is counted.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._bar: Any = None
        self._first: tuple[float, int] | None = None  # start time and units done at that time
        self._last_line = (time.monotonic(), -1)  # time of the last line and its units done

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total`."""
        if not _log.isEnabledFor(logging.INFO):
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=total, initial=done, desc=self._what, unit=f" {self._unit}")
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        since, last_done = self._last_line
        if done != last_done and (done >= total or now - since >= _LINE_EVERY_SECONDS):
            self._last_line = (now, done)
            rate = (done - self._first[1]) / max(now - self._first[0], 1e-9)
            left = (
                f"{duration((total - done) / max(rate, 1e-9))} left"
                if rate > 0 or done >= total
                else "time left unknown"
            )
            figures = f"{self._what}: {done}/{total} {self._unit}, {rate:.1f}/s, {left}"
            _log.info("%s%s", figures, f", {note}" if note else "")


def volume(num_bytes: float) -> str:
    """A number of bytes with a fitting unit: `780.0 kB`, `2.1 MB`, `44.9 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """A duration in its two largest units: `7 s`, `3 min 05 s`, `16 h 40 min`, `3 d 04 h`."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    if rounded < 86400:
        return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
    return f"{rounded // 86400} d {rounded % 86400 // 3600:02d} h"
