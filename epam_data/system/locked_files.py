"""File locks by flock: the kernel releases a lock when its process ends.

The files may be in a folder where others can write, too: symbolic links are not followed, and a file is used only if it
is ours alone to write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from epam_data.system.files import path_in_errors


class ForeignFileError(PermissionError):
    """A file that others may have made or may change, or that is no regular file."""


def remove(path: Path) -> bool:
    """Remove a file of ours unless it is locked; returns whether it is gone."""
    try:
        descriptor = open_locked(path, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # ForeignFileError is one
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
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_locked(path: Path, flags: int, lock: int) -> int | None:
    """Open and lock a file; None if it does not exist, or was renamed or removed before it was locked.

    Raises:
        BlockingIOError: another process has locked it, and `lock` does not wait.
        ForeignFileError: it is not a regular file that only this user may write.
    """
    with path_in_errors(path):
        try:
            descriptor = open_own(path, flags)
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


def open_own(path: Path, flags: int) -> int:
    """Open a regular file that only this user may write, or make it so; a symbolic link is not followed.

    Raises:
        ForeignFileError: it is a link, something else than a file, or somebody else may write to it.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise ForeignFileError(
                errno.EPERM, "is a symbolic link, which is not followed; remove it", str(path)
            ) from None
        raise
    status = os.fstat(descriptor)
    if reason := _why_foreign(status):
        os.close(descriptor)
        raise ForeignFileError(errno.EPERM, reason, str(path))
    return descriptor


def _why_foreign(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file; remove it"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, only files of user {os.geteuid()} are used; choose another folder"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "may be written by others; remove it"
    return ""


def own_folder(folder: Path) -> Path:
    """`folder`, made for this user alone (mode 0700); if others may write to it, a folder of this user inside it.

    The folder inside has the name `user-1001`, after the number of the user. So users can share the setting.

    Raises:
        PermissionError: the folder, or the one inside, was made by another user.
        OSError: it cannot be made.
    """
    with path_in_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    _refuse_links_of_others(folder)
    if status.st_uid == os.geteuid() and not _others_may_write(status):
        return folder
    own = folder / f"user-{os.geteuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        owner = f"is a folder of user {status.st_uid} in which user {os.geteuid()} may not write"
        raise PermissionError(
            error.errno, f"{owner}; choose another, or make it writable (mode 1777)", str(folder)
        ) from None
    inside = own.lstat()
    if not stat.S_ISDIR(inside.st_mode) or inside.st_uid != os.geteuid() or _others_may_write(inside):
        what = f"must be a folder that only user {os.geteuid()} may write, made by user {inside.st_uid}"
        raise PermissionError(1, f"{what}; remove it, or choose another folder", str(own))
    return own


def _others_may_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _refuse_links_of_others(folder: Path) -> None:
    link = folder.lstat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise PermissionError(1, f"is a symbolic link made by user {link.st_uid}; choose another folder", str(folder))
