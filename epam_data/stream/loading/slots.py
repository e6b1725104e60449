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
from collections.abc import Callable
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
        # An open descriptor keeps all pages allocated, so close it even if nobody calls `close`.
        self._close = weakref.finalize(self, os.close, self.descriptor)

    def arrays(self, slot: int) -> Arrays:
        """The arrays of a slot, for filling."""
        return self.layout.views(self._memory, slot * self.layout.num_bytes)

    def lend(self, slot: int, on_return: Callable[[int], None]) -> Arrays:
        """The arrays of a slot; `on_return(slot)` is called when nothing refers to any of them."""
        num_bytes = self.layout.num_bytes
        lease = (ctypes.c_char * num_bytes).from_buffer(self._memory, slot * num_bytes)
        weakref.finalize(lease, on_return, slot).atexit = False
        return self.layout.views(lease)

    @property
    def address_and_size(self) -> tuple[int, int]:
        """Address of the block in this process and its size in bytes, for page-locking."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory)), len(self._memory)

    def close(self) -> None:
        """Close the descriptor; the memory is freed with the last array that uses it."""
        self._close()

    def before_unmapping(self, function: Callable[..., object], *arguments: Any) -> None:
        """Register `function(*arguments)` to be called before the memory is unmapped."""
        weakref.finalize(self._memory, function, *arguments).atexit = False


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("epam-batches")
    with tempfile.TemporaryFile() as file:  # not Linux: an unnamed file
        return os.dup(file.fileno())


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
