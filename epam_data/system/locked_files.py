"""File locks by flock: the kernel releases a lock when its process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from epam_data.system.files import path_in_errors


def remove(path: Path) -> bool:
    """Remove a file unless it is locked; returns whether it is gone."""
    try:
        descriptor = open_locked(path, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    if descriptor is not None:
        path.unlink()
        release(descriptor)
    return True


def release(descriptor: int) -> None:
    """Unlock and close. Closing alone is not enough: a process forked in the meantime would keep the lock."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_locked(path: Path, flags: int, lock: int) -> int | None:
    """Open and lock a file; None if it does not exist, or was renamed or removed before it was locked.

    Raises:
        BlockingIOError: another process has locked it, and `lock` does not wait.
    """
    with path_in_errors(path):
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            if flags & os.O_CREAT:  # the folder is missing
                raise
            return None
    try:
        fcntl.flock(descriptor, lock)
        if is_at(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    release(descriptor)
    return None
