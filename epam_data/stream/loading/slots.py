"""Shared memory for batches: slots that workers fill in place and that are reused when nothing refers to them.

New memory for each batch would cost more than decoding into it, since the kernel must clear every page. The block has
no name (memfd), so nothing can be left behind in /dev/shm, and a container's limit on /dev/shm does not apply.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Arrays = dict[str, NDArray[Any]]

_ALIGNMENT = 4096  # page size: arrays never share a page


@dataclass(frozen=True)
class SlotLayout:
    """The arrays of one slot, one after another."""

    arrays: tuple[tuple[str, tuple[int, ...], str], ...]  # name, shape, dtype

    @classmethod
    def of(cls, **arrays: tuple[tuple[int, ...], DTypeLike]) -> SlotLayout:
        """A layout from name=(shape, dtype)."""
        return cls(tuple((name, shape, np.dtype(dtype).str) for name, (shape, dtype) in arrays.items()))

    @property
    def num_bytes(self) -> int:
        """Size of one slot."""
        return sum(_aligned(_size(shape, dtype)) for _, shape, dtype in self.arrays)

    def views(self, buffer: Any, start: int = 0) -> Arrays:
        """The arrays over a buffer, from byte `start`."""
        views = {}
        for name, shape, dtype in self.arrays:
            flat = np.frombuffer(buffer, dtype, int(np.prod(shape)), start)
            views[name] = flat.reshape(shape)
            start += _aligned(_size(shape, dtype))
        return views

    def fresh(self) -> Arrays:
        """New, uninitialised arrays."""
        return {name: np.empty(shape, dtype) for name, shape, dtype in self.arrays}


class SharedSlots:
    """A block of `num_slots` slots. One process creates it; others attach by its file descriptor.

    Args:
        layout: of each slot.
        num_slots: number of slots.
        descriptor: of a block created by another process; None creates one.
    """

    def __init__(self, layout: SlotLayout, num_slots: int, descriptor: int | None = None) -> None:
        self.layout, self.num_slots = layout, num_slots
        size = max(layout.num_bytes * num_slots, 1)
        self.descriptor = _unnamed_file() if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        # Whatever is lent refers to this object, so that its end is that of the last use of the memory.
        self._used = (ctypes.c_char * size).from_buffer(self._memory)
        self._owner, self._before_unmapping = os.getpid(), list[Callable[[], object]]()
        # An open descriptor keeps all pages allocated, so close it even if nobody calls `close`.
        self._close = weakref.finalize(self, os.close, self.descriptor)

    def arrays(self, slot: int) -> Arrays:
        """The arrays of a slot, for filling."""
        return self.layout.views(self._memory, slot * self.layout.num_bytes)

    def lend(self, slot: int, on_return: Callable[[int], None]) -> Arrays:
        """The arrays of a slot; `on_return(slot)` is called when nothing refers to any of them."""
        num_bytes = self.layout.num_bytes
        lease = (ctypes.c_char * num_bytes).from_buffer(self._used, slot * num_bytes)
        weakref.finalize(lease, on_return, slot).atexit = False
        return self.layout.views(lease)

    @property
    def address_and_size(self) -> tuple[int, int]:
        """Address of the block in this process and its size in bytes, for page-locking."""
        return ctypes.addressof(self._used), len(self._memory)

    def before_unmapping(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called once while the memory is still there: by `close`, or after its last use.

        Not in a forked process, and not when the interpreter ends.
        """
        # It holds the memory: at the end of an mmap object itself, its callbacks would come after the unmapping.
        call = weakref.finalize(self._used, _call_in, self._owner, self._memory, function, *arguments)
        call.atexit = False
        self._before_unmapping.append(call)

    def close(self, lent: Collection[int] = ()) -> None:
        """Close the descriptor and free the memory, except that of `lent` slots: it goes with the last array."""
        if self._owner == os.getpid():  # a fork shares the memory with the process that uses it
            for call in self._before_unmapping:
                call()
            for slot in set(range(self.num_slots)).difference(lent):
                self._free(slot)
        self._close()

    def _free(self, slot: int) -> None:
        start, end = (edge * self.layout.num_bytes // mmap.PAGESIZE for edge in (slot, slot + 1))
        start += slot * self.layout.num_bytes % mmap.PAGESIZE > 0  # a page larger than 4096 bytes may be of two slots
        if end > start and hasattr(mmap, "MADV_REMOVE"):
            with suppress(OSError):  # not on every file system: then it goes with the last array of any slot
                self._memory.madvise(mmap.MADV_REMOVE, start * mmap.PAGESIZE, (end - start) * mmap.PAGESIZE)


def _call_in(owner: int, _memory: mmap.mmap, function: Callable[..., object], *arguments: Any) -> None:
    if owner == os.getpid():
        function(*arguments)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("epam-batches")
    with tempfile.TemporaryFile() as file:  # not Linux: an unnamed file
        return os.dup(file.fileno())


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
