"""`index.h5`: the location of each sample in a directory of shards."""

from __future__ import annotations

import hashlib
import io
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import SCHEMA_VERSION
from epam_data.shards.index_file import COLUMNS, ColumnsInFile, OpenColumns, find_columns, forget_pages, map_file
from epam_data.shards.index_values import check_values
from epam_data.shards.layout import INDEX, MANIFEST, IndexRow, ShardSummary
from epam_data.shards.manifest import Manifest, read_small_file
from epam_data.system.files import private_file
from epam_data.system.remote import is_url

_MAX_FETCHED_BYTES, _MAX_ROW_BYTES = 1 << 32, 1 << 12  # of an index by URL; there may be more columns than ours


@dataclass(frozen=True, kw_only=True)
class Index:
    """`index.h5`: one row per sample, shard by shard in the order of the manifest.

    Pickling a loaded index takes no copy of the columns along: the other process maps the file again.
    """

    keys: NDArray[np.bytes_]  # (N,)
    shard: NDArray[np.int32]  # (N,) number of the shard in the manifest
    offset: NDArray[np.int64]  # (N,) bytes into the shard
    member_bytes: NDArray[np.int64]  # (N, 4) size of each member, in the order of `codec.ROLES`
    label: NDArray[np.int32]  # (N,) -1: hidden
    coarse_label: NDArray[np.int32]  # (N,) -1: hidden, or no groups
    num_frames: NDArray[np.int32]  # (N,)

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        if "_file" in self.__dict__:
            return _opened, (self.__dict__["_file"], self.__dict__.get("_labels"))
        return _of_columns, ({name: getattr(self, name) for name in COLUMNS},)

    def row(self, number: int) -> IndexRow:
        """One row."""
        return self.shard_and_row(number)[1]

    def shard_and_row(self, number: int) -> tuple[int, IndexRow]:
        """The number of a row's shard in the manifest, and the row."""
        opened: OpenColumns | None = self.__dict__.get("_open")
        if opened is not None:
            values = opened.row(number)
        else:
            values = {name: getattr(self, name)[number].tolist() for name in COLUMNS}
        if (labels := self.__dict__.get("_labels")) is not None:
            values |= {"label": int(labels[number]), "coarse_label": -1}
        key, sizes = values.pop("keys").decode(), tuple(values.pop("member_bytes"))
        return values.pop("shard"), IndexRow(key=key, member_bytes=sizes, **values)

    def with_labels(self, label: NDArray[np.int32]) -> Index:
        """The same samples with other labels (N,), and without coarse ones."""
        index = replace(self, label=label, coarse_label=np.full_like(label, -1))
        index.__dict__.update({name: value for name, value in self.__dict__.items() if name.startswith("_")})
        index.__dict__["_labels"] = label
        return index

    def rows_of(self, shards: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the rows of these shards (see `Manifest.shards_of`)."""
        return np.flatnonzero(np.isin(self.shard, shards))

    @cached_property
    def row_of_key(self) -> dict[str, int]:
        """Number of the row of each key."""
        return {key.decode(): number for number, key in enumerate(self.keys)}


def _of_columns(columns: dict[str, NDArray[Any]]) -> Index:
    return Index(**columns)


def _opened(file: ColumnsInFile, labels: NDArray[np.int32] | None) -> Index:
    opened = OpenColumns(file)
    index = _with_file(Index(**opened.views()), file)
    index.__dict__["_open"] = opened  # for `row`: loader workers use nothing else
    return index if labels is None else index.with_labels(labels)


def _with_file(index: Index, file: ColumnsInFile, keep: object = None) -> Index:
    """Note where the columns come from; not a field, so that `dataclasses.replace` makes an index without it."""
    index.__dict__["_file"], index.__dict__["_keep"] = file, keep
    return index


def index_bytes(shards: list[ShardSummary]) -> bytes:
    """The content of `index.h5`; equal shards give equal bytes."""
    import h5py  # here: only a build needs it

    rows = [(number, row) for number, shard in enumerate(shards) for row in shard.rows]
    columns: dict[str, list[Any]] = {
        "keys": [row.key.encode() for _, row in rows],
        "shard": [number for number, _ in rows],
        **{
            name: [getattr(row, name) for _, row in rows]
            for name in ("offset", "member_bytes", "label", "coarse_label", "num_frames")
        },
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), track_order=False) as file:
        file.attrs["schema"] = SCHEMA_VERSION
        for name, (dtype, shape) in COLUMNS.items():
            column = np.array(columns[name], dtype).reshape((len(rows), *shape))
            file.create_dataset(name, data=column, track_times=False)
    return buffer.getvalue()


def load_index(root: Path | str, manifest: Manifest | None = None) -> Index:
    """Read `index.h5` of a shard directory, or of shards by URL.

    The columns are memory-mapped: while the index is in use, do not write into its file (a build replaces it).

    Args:
        root: the directory or URL.
        manifest: of the same directory, to compare the index with: its hash, number of samples, sizes of shards and
            classes. None: the values are not checked, as for `check`, which reports each of them.

    Raises:
        ValueError: the file or a column is missing or damaged, it belongs to another manifest, a row is impossible, or
            a key is not ASCII.
    """
    if manifest is None:
        index = _load(root, None, None)
        _check_ascii(index.keys, f"{root}/{INDEX}")
        return index
    index = _load(root, sum(shard.num_samples for shard in manifest.shards), manifest.index_sha256)
    check_values(index, manifest, f"{root}/{INDEX}")
    mapped: object = index.keys.base
    if isinstance(mapped, mmap.mmap):  # all of it was looked at
        forget_pages(mapped)
    return index


def _check_ascii(keys: NDArray[np.bytes_], what: str) -> None:
    for row, key in enumerate(keys.tolist()):
        if not key.isascii():
            raise ValueError(f"{what}: row {row}: a key must be ASCII, got {key!r}")


def _load(root: Path | str, num_rows: int | None, sha256: str | None) -> Index:
    what = f"{root}/{INDEX}"
    path, keep = _file_of(root, num_rows)
    try:
        data, identity = map_file(path, what)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{what}: not a readable index (there is no such file)") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{what}: does not match {MANIFEST}: it is damaged or from another build")
    found = find_columns(path, what, data, num_rows)
    if found.contents is not None:
        return Index(**found.contents)
    file = ColumnsInFile(path=path, what=what, identity=identity, num_rows=found.num_rows, offsets=found.offsets)
    return _with_file(Index(**file.views(data)), file, keep)


def _file_of(root: Path | str, num_rows: int | None) -> tuple[str, object]:
    """The path of the index, which is fetched if it is at a URL; it exists at least as long as the second value."""
    if not is_url(root):
        return str(Path(root).absolute() / INDEX), None
    limit = _MAX_FETCHED_BYTES
    if num_rows is not None:
        limit = min(limit, (1 << 20) + num_rows * _MAX_ROW_BYTES)
    fetched = read_small_file(root, INDEX, limit)
    if fetched is None:
        raise ValueError(f"{root}/{INDEX}: not a readable index (there is no such file)")
    return private_file(fetched)
