"""Shared memory for batches: slots that workers fill in place and that are used again when nobody refers to them.

Fresh memory for each batch costs more than decoding into it, since the kernel must clear every page. The block has no
name (memfd), so that nothing can be left behind in /dev/shm, and a container's limit on /dev/shm does not count.
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

_ALIGNMENT = 4096  # a page: then the arrays of two slots share none


@dataclass(frozen=True)
class SlotLayout:
    """The arrays of one slot, one after another."""

    arrays: tuple[tuple[str, tuple[int, ...], str], ...]  # name, shape, dtype

    @classmethod
    def of(cls, **arrays: tuple[tuple[int, ...], DTypeLike]) -> SlotLayout:
        """From name=(shape, dtype)."""
        return cls(tuple((name, shape, np.dtype(dtype).str) for name, (shape, dtype) in arrays.items()))

    @property
    def num_bytes(self) -> int:
        """Of one slot."""
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
        """The arrays in memory of their own."""
        return {name: np.empty(shape, dtype) for name, shape, dtype in self.arrays}


class SharedSlots:
    """A block of `num_slots` slots. One process makes it; others attach by its file descriptor.

    Args:
        layout: of each slot.
        num_slots: how many.
        descriptor: of the block that another process has made; None makes one.
    """

    def __init__(self, layout: SlotLayout, num_slots: int, descriptor: int | None = None) -> None:
        self.layout, self.num_slots = layout, num_slots
        size = max(layout.num_bytes * num_slots, 1)
        self.descriptor = _unnamed_file() if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        # An open descriptor keeps all the pages, also of a block that nobody closed.
        self._close = weakref.finalize(self, os.close, self.descriptor)

    def arrays(self, slot: int) -> Arrays:
        """The arrays of a slot, to fill."""
        return self.layout.views(self._memory, slot * self.layout.num_bytes)

    def lend(self, slot: int, on_return: Callable[[int], None]) -> Arrays:
        """The arrays of a slot; `on_return(slot)` is called when nothing refers to any of them any more."""
        num_bytes = self.layout.num_bytes
        lease = (ctypes.c_char * num_bytes).from_buffer(self._memory, slot * num_bytes)
        weakref.finalize(lease, on_return, slot).atexit = False
        return self.layout.views(lease)

    @property
    def address_and_size(self) -> tuple[int, int]:
        """Where the block lies in this process, and its bytes; to page-lock it for a GPU."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory)), len(self._memory)

    def close(self) -> None:
        """Give up the descriptor; the memory goes when the last array over it does."""
        self._close()

    def before_unmapping(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called when the memory is about to go."""
        weakref.finalize(self._memory, function, *arguments).atexit = False


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("epam-batches")
    with tempfile.TemporaryFile() as file:  # elsewhere than on Linux: a file without a name
        return os.dup(file.fileno())


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
