"""Notes for the other processes that use a cache: do not fetch this shard for a while, it is another than listed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from epam_data.system.locked_files import ForeignFileError, open_own
from epam_data.system.printable import printable

_SECONDS = 600.0
_MAX_BYTES = 1000


def check_refusal(note: Path) -> None:
    """Raise a ValueError with the text of a recent note of this user; others' notes count for nothing."""
    try:
        with os.fdopen(open_own(note, os.O_RDONLY), "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _SECONDS:
                raise ValueError(printable(file.read(_MAX_BYTES).decode("utf-8", "replace"), _MAX_BYTES))
    except (FileNotFoundError, ForeignFileError):
        return
    note.unlink(missing_ok=True)


def write_refusal(note: Path, text: str) -> None:
    """Write a new note; what has its name is removed, even a link, and never followed."""
    note.unlink(missing_ok=True)
    with os.fdopen(open_own(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(text.encode("utf-8", "replace")[:_MAX_BYTES])
