"""The bytes of `index.h5`: where its columns are, found without giving a stranger's file to the HDF5 library here.

HDF5 is a large C library that a damaged file can crash. It therefore reads an index only in a process of its own
(`epam_data.system.isolated`), once, to tell where the columns are; then they are memory-mapped, by this process and by
its loader workers. An index whose structure is, byte for byte, that of our builds needs no HDF5 at all.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import MAX_KEY_LENGTH
from epam_data.system.file_reads import open_regular, read_exactly
from epam_data.system.isolated import CallFailedError, IsolatedProcess
from epam_data.system.printable import printable

COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "keys": (f"S{MAX_KEY_LENGTH}", ()),
    "shard": ("<i4", ()),
    "offset": ("<i8", ()),
    "member_bytes": ("<i8", (4,)),
    "label": ("<i4", ()),
    "coarse_label": ("<i4", ()),
    "num_frames": ("<i4", ()),
}
"""dtype and shape of a row of each column, in the order of the file."""

ROW_BYTES = {name: np.dtype(dtype).itemsize * int(np.prod(shape)) for name, (dtype, shape) in COLUMNS.items()}

MAX_COPIED_BYTES = 1 << 30
"""Chunked columns are copied, and may be compressed a thousandfold; more bytes than this are refused."""

_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2  # the layouts of HDF5 that h5py.h5d names; the next one, virtual, is refused

_SECONDS, _MEMORY_BYTES = 120.0, MAX_COPIED_BYTES + (2 << 30)  # of the process that runs HDF5

# What `index_bytes` puts before each column: how many bytes, and which of them (start, count) depend on the rows,
# namely sizes, addresses and checksums. The rest is always the same, here as its SHA-256.
_BEFORE = (447, 318, 317, 323, 316, 323, 321)
_NUMBERS = (
    ((28, 8), (44, 4), (59, 8), (175, 4), (195, 16), (243, 8), (443, 4)),
    ((16, 16), (60, 16), (264, 4), (298, 8), (314, 4)),
    ((16, 16), (60, 16), (264, 4), (276, 8), (305, 8), (313, 4)),
    ((16, 8), (32, 8), (76, 16), (264, 4), (276, 8), (311, 8), (319, 4)),
    ((16, 16), (60, 16), (264, 4), (276, 8), (296, 8), (312, 4)),
    ((16, 16), (60, 16), (264, 4), (284, 8), (311, 8), (319, 4)),
    ((16, 16), (60, 16), (264, 4), (284, 8), (309, 8), (317, 4)),
)
_STRUCTURE = "c503e298ed26436e46c66c2a224fc1263584a6b14d6ef269996735e62d77b1ed"


@dataclass(frozen=True, kw_only=True)
class ColumnsInFile:
    """An index whose columns are memory-mapped. Picklable: another process opens the same file again."""

    path: str
    what: str  # its name in errors
    identity: tuple[int, int, int]  # of the validated file, see `open_file`
    num_rows: int
    offsets: Mapping[str, int]  # of each column, bytes

    def views(self, data: mmap.mmap) -> dict[str, NDArray[Any]]:
        """The columns over the mapped file, read-only."""
        views: dict[str, NDArray[Any]] = {}
        for name, (dtype, shape) in COLUMNS.items():
            offset, size = self.offsets[name], self.num_rows * ROW_BYTES[name]
            if not 0 <= offset <= len(data) - size:
                raise ValueError(f"{self.what}: not a readable index ({name} is beyond the end of the file)")
            views[name] = np.ndarray((self.num_rows, *shape), dtype, data, offset)
        return views


class OpenColumns:
    """The validated file of an index, open: single rows are read from it, which keeps no page of it in memory.

    A row of a mapped column takes up to 2 MB of a process, for the kernel maps what lies around it, too.

    Raises:
        ValueError: the validated file is gone, or another one has taken its place.
    """

    def __init__(self, file: ColumnsInFile) -> None:
        self._file = file
        try:
            self._descriptor, identity = open_file(file.path, file.what)
        except FileNotFoundError:
            raise ValueError(f"{file.what}: was removed while it was in use") from None
        weakref.finalize(self, os.close, self._descriptor)
        if identity != file.identity:
            raise ValueError(f"{file.what}: was replaced while it was in use; start again")

    def row(self, number: int) -> dict[str, Any]:
        """The values of a row, as Python's own.

        Raises:
            IndexError: there is no such row.
            ValueError: the file was cut short since.
        """
        if not 0 <= number < self._file.num_rows:
            raise IndexError(f"{self._file.what}: row {number} of {self._file.num_rows}")
        values: dict[str, Any] = {}
        for name, (dtype, shape) in COLUMNS.items():
            size = ROW_BYTES[name]
            data = read_exactly(self._descriptor, self._file.offsets[name] + number * size, size, what=self._file.what)
            values[name] = np.frombuffer(data, dtype).reshape(shape).tolist()
        return values

    def views(self) -> dict[str, NDArray[Any]]:
        """All columns, memory-mapped, read-only."""
        return self._file.views(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the columns of an index are."""

    num_rows: int
    offsets: Mapping[str, int] = field(default_factory=dict)  # of each column in the file, bytes
    contents: Mapping[str, NDArray[Any]] | None = None  # instead, of an index that is chunked or compressed


def open_file(path: str, what: str) -> tuple[int, tuple[int, int, int]]:
    """A file's descriptor, and what tells the file from another of its name: inode, size, time of its last change.

    Raises:
        ValueError: it is empty; starts with `what`.
        OSError: it does not exist, is not a regular file, or cannot be read.
    """
    descriptor = open_regular(path, what)
    status = os.fstat(descriptor)
    if not status.st_size:
        os.close(descriptor)
        raise ValueError(f"{what}: not a readable index (it is empty)")
    return descriptor, (status.st_ino, status.st_size, status.st_mtime_ns)


def map_file(path: str, what: str) -> tuple[mmap.mmap, tuple[int, int, int]]:
    """A file's bytes, memory-mapped, and what `open_file` says; raises as it does."""
    descriptor, identity = open_file(path, what)
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), identity
    finally:
        os.close(descriptor)


def forget_pages(data: mmap.mmap) -> None:
    """Take the pages of a mapped file out of this process's memory; they stay in the page cache."""
    if hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED)


def find_columns(path: str, what: str, data: mmap.mmap, num_rows: int | None) -> Columns:
    """Where the columns are.

    Args:
        path: of the file.
        what: its name in errors.
        data: its bytes.
        num_rows: as the manifest says; None: any.

    Raises:
        ValueError: it is not an index with these rows; starts with `what`.
    """
    ours = _columns_of_our_own(data)
    if ours is not None and num_rows in (None, ours.num_rows):
        return ours
    process = IsolatedProcess(timeout_seconds=_SECONDS, memory_bytes=_MEMORY_BYTES)
    try:
        found: Columns = process.call(read_structure, path, num_rows)
    except CallFailedError as error:
        raise ValueError(f"{what}: not a readable index (HDF5 failed on it: {error})") from None
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    finally:
        process.close()
    return found


def _columns_of_our_own(data: mmap.mmap) -> Columns | None:
    """Where `index_bytes` puts the columns in a file of this size; None if this one has another structure."""
    num_rows, rest = divmod(len(data) - sum(_BEFORE), sum(ROW_BYTES.values()))
    if rest or num_rows < 1:
        return None
    sizes = [num_rows * row for row in ROW_BYTES.values()]
    ends = accumulate(before + size for before, size in zip(_BEFORE, sizes, strict=True))
    offsets = [end - size for end, size in zip(ends, sizes, strict=True)]
    digest = hashlib.sha256()
    for offset, length, numbers in zip(offsets, _BEFORE, _NUMBERS, strict=True):
        before = bytearray(data[offset - length : offset])
        for start, size in numbers:
            before[start : start + size] = bytes(size)
        digest.update(before)
    if digest.hexdigest() != _STRUCTURE:
        return None
    return Columns(num_rows=num_rows, offsets=dict(zip(COLUMNS, offsets, strict=True)))


def read_structure(path: str, num_rows: int | None) -> Columns:
    """What `find_columns` returns, by HDF5; runs in the isolated process.

    Raises:
        ValueError: not an index.
    """
    import h5py

    try:
        # HDF5 itself needs a path with a name, and locks.
        with Path(path).open("rb") as raw, h5py.File(raw, "r") as file:
            datasets = {name: _dataset(file, name) for name in COLUMNS}
            rows = datasets["keys"].size if num_rows is None else num_rows
            _check_types(datasets, rows)
            if all(map(_is_contiguous, datasets.values())):
                offsets = {name: int(dataset.id.get_offset()) for name, dataset in datasets.items()}
                return Columns(num_rows=rows, offsets=offsets)
            if rows * sum(ROW_BYTES.values()) > MAX_COPIED_BYTES:
                raise ValueError(f"it has {rows} rows in chunks; so many must be stored contiguously")
            return Columns(num_rows=rows, contents={name: dataset[()] for name, dataset in datasets.items()})
    except ValueError as error:
        raise ValueError(f"not a readable index ({printable(error)})") from None
    except Exception as error:  # a damaged file makes h5py raise anything
        raise ValueError(f"not a readable index ({type(error).__name__}: {printable(error)})") from None


def _dataset(file: Any, name: str) -> Any:
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"it has no column {name}")
    if not isinstance(link, h5py.HardLink):  # a link could lead into another file
        raise ValueError(f"{name} must be in the file itself, got a {type(link).__name__}")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} must be a dataset, got a {type(dataset).__name__}")
    return dataset


def _check_types(datasets: dict[str, Any], rows: int) -> None:
    if (found := datasets["keys"].size) != rows:
        raise ValueError(f"it has {found} rows, the manifest counts {rows} samples")
    for name, (dtype, shape) in COLUMNS.items():
        dataset = datasets[name]
        if dataset.shape != (rows, *shape):
            raise ValueError(f"{name} must be {(rows, *shape)}, got {dataset.shape}")
        if dataset.dtype != np.dtype(dtype):
            raise ValueError(f"{name} must be {np.dtype(dtype)}, got {dataset.dtype}")
        kinds = dataset.id.get_create_plist()
        if kinds.get_layout() not in (_COMPACT, _CONTIGUOUS, _CHUNKED) or kinds.get_external_count():
            raise ValueError(f"{name} must be in the file itself, got a dataset of other files")


def _is_contiguous(dataset: Any) -> bool:
    """Whether all bytes of a dataset are in one place; an empty or unwritten one has no place."""
    identity = dataset.id
    stored = identity.get_create_plist().get_layout() == _CONTIGUOUS and identity.get_offset() is not None
    return stored and identity.get_storage_size() == dataset.dtype.itemsize * dataset.size
