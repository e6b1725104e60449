"""One build or run per directory at a time: a lock file that names its holder and does not outlive it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from epam_data.system.files import path_in_errors, temporary_path

_log = logging.getLogger(__name__)

_TOUCH_SECONDS = 10.0
_RETRY_SECONDS = 0.2
STALE_SECONDS = 120.0
"""A lock from another host is taken over when it was not touched for this long."""


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
            with path_in_errors(mine), mine.open("w") as file:
                json.dump(self._content, file)
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

    def _is_touched(self, path: Path, holder: dict[str, Any]) -> bool:
        """Watch the lock of another host until its holder touches it, or it is released or stale."""
        touched = _modified(path)
        _log.info("%s: waiting for a sign of life from the %s on %s", path, self._what, holder["host"])
        while _is_alive(holder, path):
            if _modified(path) != touched:
                return _read(path) == holder
            time.sleep(_RETRY_SECONDS)
        return False

    def _refusal(self, path: Path) -> str:
        holder = _read(path) or {"pid": "?", "host": "?", "since": "a moment ago"}
        return (
            f"{self._path.parent}: another {self._what} is running here: process {holder['pid']} on {holder['host']}, "
            f"since {holder['since']}; wait for it or stop it"
        )

    def _keep_fresh(self) -> None:
        while not self._released.wait(_TOUCH_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                if _read(self._path) == self._content:
                    os.utime(self._path)


def live_holders(folder: Path, pattern: str = "lock*") -> list[dict[str, Any]]:
    """The live holders of a folder's locks: host, pid and since."""
    found = ((path, _read(path)) for path in sorted(folder.glob(pattern)))
    return [holder for path, holder in found if holder is not None and _is_alive(holder, path)]


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _start_time(os.getpid()),
        "token": uuid.uuid4().hex,
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _read(path: Path) -> dict[str, Any] | None:
    """The holder in a lock file; None: there is no such file, or it is damaged."""
    try:
        holder = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(holder, dict) or not {"host", "pid", "born", "since"} <= holder.keys():
        return None
    is_process = type(holder["pid"]) is int and 0 < holder["pid"] < 1 << 31
    return holder if is_process and isinstance(holder["host"], str) else None


def _is_here(holder: dict[str, Any]) -> bool:
    return bool(holder["host"] == socket.gethostname())


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _is_alive(holder: dict[str, Any], path: Path) -> bool:
    if not _is_here(holder):
        modified = _modified(path)
        return modified is not None and time.time() - modified < STALE_SECONDS
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process, so it is alive
        return True
    return bool(_start_time(holder["pid"]) == holder["born"])  # otherwise the pid was reused


def _start_time(pid: int) -> str | None:
    """Start time of a process in kernel ticks; None if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
