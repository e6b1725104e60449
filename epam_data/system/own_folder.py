"""A folder for files that other users must not be able to plant or change: a cache on a disk that is shared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from epam_data.system.files import path_in_errors


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
        owner = f"folder of user {status.st_uid} in which user {os.geteuid()} may not write"
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
