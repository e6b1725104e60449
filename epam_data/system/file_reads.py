"""Random reads from an open file: complete or an error, from the page cache only, or prefetched."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_HAS_FADVISE = hasattr(os, "posix_fadvise")  # Linux
_HAS_NOWAIT = hasattr(os, "RWF_NOWAIT")  # Linux, with a Python built on kernel 4.14 (2017) or later


_UNCHECKED_BYTES, _UNCHECKED_OFFSET = 1 << 22, 1 << 48


class IrregularFileError(OSError):
    """A folder, a pipe, a socket or a device is where a file should be."""


def open_regular(path: Path | str, what: str = "") -> int:
    """A descriptor of a regular file, for reading; does not wait for the other end of a named pipe.

    Args:
        path: of the file.
        what: its name in errors; empty: the path.

    Raises:
        IrregularFileError: it is a folder, a pipe, a socket or a device.
        OSError: it does not exist, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise IrregularFileError(error.errno, "Not a regular file", what or str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        reason = "Is a directory" if stat.S_ISDIR(mode) else "Not a regular file"
        raise IrregularFileError(errno.EINVAL, reason, what or str(path))
    return descriptor


def read_small(path: Path | str, max_bytes: int) -> bytes:
    """The content of a regular file, if it has no more than `max_bytes`.

    Raises:
        ValueError: it is larger.
        OSError: as `open_regular`.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path}: is larger than {max_bytes} bytes, the most that is read")
    return data


def disable_readahead(descriptor: int) -> None:
    """Turn off the kernel's readahead for a file that is read at random offsets."""
    if _HAS_FADVISE:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)


def read_exactly(descriptor: int, offset: int, num_bytes: int, *, what: str) -> bytes:
    """`num_bytes` from `offset` of an open file.

    Raises:
        ValueError: the file cannot be read or is too short; `what` names it.
    """
    if not (0 <= offset <= _UNCHECKED_OFFSET and 0 <= num_bytes <= _UNCHECKED_BYTES):
        # The system takes memory for all bytes that are asked for before it looks for them.
        left = os.fstat(descriptor).st_size - offset
        if not (offset >= 0 and 0 <= num_bytes <= left):
            raise ValueError(f"{what}: cut short, expected {num_bytes} bytes at {offset}, got {max(left, 0)}")
    try:
        data = os.pread(descriptor, num_bytes, offset)
    except OSError as error:  # for example a bad sector
        raise ValueError(f"{what}: cannot be read at {offset} ({error.strerror})") from error
    if len(data) != num_bytes:
        raise ValueError(f"{what}: cut short, expected {num_bytes} bytes at {offset}, got {len(data)}")
    return data


def read_cached(descriptor: int, offset: int, num_bytes: int) -> memoryview | None:
    """Bytes of an open file if they are all in the page cache; None if not, or if the system cannot tell."""
    if _HAS_NOWAIT:
        data = bytearray(num_bytes)
        with contextlib.suppress(OSError):  # the blocking read will report it
            if os.preadv(descriptor, [data], offset, os.RWF_NOWAIT) == num_bytes:
                return memoryview(data)
    return None


def prefetch(descriptor: int, offset: int, num_bytes: int) -> None:
    """Ask the kernel to load bytes of an open file in the background."""
    if _HAS_FADVISE:
        os.posix_fadvise(descriptor, offset, num_bytes, os.POSIX_FADV_WILLNEED)
