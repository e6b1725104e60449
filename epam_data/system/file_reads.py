"""Reads at any place of an open file: whole or an error, from the page cache alone, and asked for ahead."""

from __future__ import annotations

import contextlib
import os

_ADVISES = hasattr(os, "posix_fadvise")  # Linux
_ASKS_CACHE = hasattr(os, "RWF_NOWAIT")  # Linux, and a Python that was built on one of 2017 or later


def disable_readahead(descriptor: int) -> None:
    """Tell the system that an open file is read here and there, so that it reads nothing ahead by itself."""
    if _ADVISES:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)


def read_exactly(descriptor: int, offset: int, num_bytes: int, *, what: str) -> bytes:
    """`num_bytes` from `offset` of an open file.

    Raises:
        ValueError: the file cannot be read, or ends before; `what` names it.
    """
    try:
        data = os.pread(descriptor, num_bytes, offset)
    except OSError as error:  # a bad sector, for one
        raise ValueError(f"{what}: cannot be read at {offset} ({error.strerror})") from error
    if len(data) != num_bytes:
        raise ValueError(f"{what}: cut short, expected {num_bytes} bytes at {offset}, got {len(data)}")
    return data


def read_cached(descriptor: int, offset: int, num_bytes: int) -> memoryview | None:
    """Bytes of an open file if the page cache holds all of them; None if not, or if the system does not say."""
    if _ASKS_CACHE:
        data = bytearray(num_bytes)
        with contextlib.suppress(OSError):  # whoever waits for them will see what is wrong
            if os.preadv(descriptor, [data], offset, os.RWF_NOWAIT) == num_bytes:
                return memoryview(data)
    return None


def prefetch(descriptor: int, offset: int, num_bytes: int) -> None:
    """Have bytes of an open file fetched from the disk while other work goes on."""
    if _ADVISES:
        os.posix_fadvise(descriptor, offset, num_bytes, os.POSIX_FADV_WILLNEED)
