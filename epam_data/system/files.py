"""Atomic file writes and file hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from epam_data.system.file_reads import open_regular
from epam_data.system.progress import volume

PARTIAL = ".partial"
"""Ending of a file being written; its name starts with a dot. A killed process may leave one."""


def temporary_path(path: Path) -> Path:
    """A temporary name beside `path`, unique across processes and hosts."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write. It is synced and renamed to `path` when the block ends; if the block raises, it is removed."""
    temporary = temporary_path(path)
    try:
        with path_in_errors(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically."""
    with atomic_write(path) as file:
        file.write(data)


@contextlib.contextmanager
def path_in_errors(path: Path) -> Iterator[None]:
    """Add the path to an OSError that lacks it, and to that of a full disk how much is free.

    `torch.save` turns the OSError of the file that it writes to into a RuntimeError, which becomes an OSError again.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.errno is None or cause.filename is not None:
            raise
        text = cause.strerror or ""
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            text += f", {volume(shutil.disk_usage(path.parent).free)} are free"
        raise OSError(cause.errno, text, str(path)) from error


def private_file(data: bytes) -> tuple[str, BinaryIO]:
    """A temporary file with these bytes, and a path by which the processes that we start can open it.

    It exists while the file object or such a process has it open: on Linux it has no name, so nothing can be left over.
    """
    file = cast(BinaryIO, tempfile.TemporaryFile() if sys.platform == "linux" else tempfile.NamedTemporaryFile())
    file.write(data)
    file.flush()
    return (f"/proc/{os.getpid()}/fd/{file.fileno()}" if sys.platform == "linux" else str(file.name)), file


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of a regular file, as hexadecimal digits."""
    with os.fdopen(open_regular(path), "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
