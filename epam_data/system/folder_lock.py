"""One build or run per directory at a time: a lock file that names its holder and does not outlive it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import msgspec

from epam_data.system.file_reads import IrregularFileError, open_regular
from epam_data.system.files import path_in_errors, temporary_path
from epam_data.system.printable import printable
from epam_data.system.typed_json import decode_json

_log = logging.getLogger(__name__)

_TOUCH_SECONDS = 10.0
_RETRY_SECONDS = 0.2
STALE_SECONDS = 120.0
"""A lock from another host is taken over when it was not touched for this long."""

_MAX_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The content of a lock: the process that holds it."""

    host: str
    pid: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
    born: str | None = None  # see `_start_time`
    token: str = ""  # tells two locks of one process apart
    since: str = "a moment ago"

    def __str__(self) -> str:
        return f"process {self.pid} on {printable(self.host, 60)}, since {printable(self.since, 40)}"


class FolderLock:
    """Context manager that holds `folder/lock`.

    On the holder's host a lock is stale when its process is gone. Other hosts cannot see that, so the holder touches
    the file every ten seconds: entering waits until it does, or until the lock is older than `STALE_SECONDS`, which
    makes it stale.

    Args:
        folder: must exist.
        what: what works in the folder, for the message: "build", "run".
        name: of the lock file; parts of one build that may run in parallel use different names.
        against: pattern of other locks that conflict with this one.
        beside: pattern of exceptions to `against`.
        wait: wait for a live holder instead of raising.

    Raises:
        ValueError: on entering, if another live process holds it; names its host, process and start time.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "lock",
        *,
        what: str = "build",
        against: str = "",
        beside: str = "",
        wait: bool = False,
    ) -> None:
        self._path, self._what = folder / name, what
        self._against, self._beside, self._wait = against, beside, wait
        self._content = _this_process()
        self._released = threading.Event()

    def __enter__(self) -> FolderLock:
        while not self._take():
            if self._holder_is_alive(self._path) and not self._wait:
                raise ValueError(self._refusal(self._path))
            time.sleep(_RETRY_SECONDS)
        for other in self._path.parent.glob(self._against) if self._against else ():
            harmless = other == self._path or fnmatch(other.name, self._beside)
            if not harmless and self._holder_is_alive(other):
                self._release()
                raise ValueError(self._refusal(other))
        threading.Thread(target=self._keep_fresh, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._release()

    def _release(self) -> None:
        if _read(self._path) == self._content:  # otherwise another process took it over
            self._path.unlink(missing_ok=True)

    def _take(self) -> bool:
        # Written under another name, then linked, so the lock never exists without its content.
        mine = temporary_path(self._path)
        try:
            with path_in_errors(mine), mine.open("wb") as file:
                file.write(msgspec.json.encode(self._content))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(mine, self._path)
            except (FileExistsError, FileNotFoundError):  # the holder may have removed `mine`, as of a killed process
                return False
        finally:
            mine.unlink(missing_ok=True)
        return True

    def _holder_is_alive(self, path: Path) -> bool:
        """Whether a live process holds a lock; removes the lock of a dead one."""
        holder = _read(path)
        if holder is None and not path.exists():  # just released
            return False
        if holder is not None and _is_alive(holder, path) and (_is_here(holder) or self._is_touched(path, holder)):
            return True
        # Moved aside, not removed: another process may have taken the lock over since we read it.
        aside = temporary_path(path)
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
            if _read(aside) != holder:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
        return False

    def _is_touched(self, path: Path, holder: Holder) -> bool:
        """Watch the lock of another host until its holder touches it, or it is released or stale."""
        touched = _modified(path)
        _log.info("%s: waiting for a sign of life from the %s on %s", path, self._what, holder.host)
        while _is_alive(holder, path):
            if _modified(path) != touched:
                return _read(path) == holder
            time.sleep(_RETRY_SECONDS)
        return False

    def _refusal(self, path: Path) -> str:
        holder = _read(path) or "one that began a moment ago"
        return f"{self._path.parent}: another {self._what} is running here: {holder}; wait for it or stop it"

    def _keep_fresh(self) -> None:
        while not self._released.wait(_TOUCH_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                if _read(self._path) == self._content:
                    os.utime(self._path)


def live_holders(folder: Path, pattern: str = "lock*") -> list[Holder]:
    """The live holders of a folder's locks."""
    found = ((path, _read(path)) for path in sorted(folder.glob(pattern)))
    return [holder for path, holder in found if holder is not None and _is_alive(holder, path)]


def _this_process() -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        born=_start_time(os.getpid()),
        token=uuid.uuid4().hex,
        since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _read(path: Path) -> Holder | None:
    """The holder that a lock names; None: there is no lock, or it names none that could be alive."""
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, IrregularFileError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_BYTES)
    with contextlib.suppress(ValueError):
        return decode_json(data, Holder, str(path))
    return None


def _is_here(holder: Holder) -> bool:
    return holder.host == socket.gethostname()


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _is_alive(holder: Holder, path: Path) -> bool:
    if not _is_here(holder):
        modified = _modified(path)  # a time far ahead is no sign of life either
        return modified is not None and abs(time.time() - modified) < STALE_SECONDS
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process, so it is alive
        return True
    return _start_time(holder.pid) == holder.born  # otherwise the pid was reused


def _start_time(pid: int) -> str | None:
    """Start time of a process in kernel ticks; None if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
