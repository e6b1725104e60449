"""Progress of long work: a bar on a terminal, plain lines elsewhere (logs of a cluster)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

OnProgress = Callable[[int, int, str], None]
"""What long work calls: units done so far, units in all, and a note."""

_LINE_EVERY_SECONDS = 10.0


def silent(done: int, total: int, note: str) -> None:
    """Show nothing."""


class Progress:
    """Shows what it is called with, with rate and time left; an `OnProgress` and a context manager.

    Args:
        what: words in front of the figures.
        unit: of what is counted, plural.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._bar: Any = None
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` are done."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._what, unit=f" {self._unit}")
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if done >= total or now - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = now
            rate = done / max(now - self._start, 1e-9)
            left = f"{(total - done) / rate:.0f} s left" if done else "time left unknown"
            figures = f"{self._what}: {done}/{total} {self._unit}, {rate:.1f}/s, {left}"
            print(f"{figures}{', ' + note if note else ''}", file=sys.stderr, flush=True)
