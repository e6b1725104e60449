"""`index.h5`: the location of each sample in a directory of shards."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import MAX_KEY_LENGTH, SCHEMA_VERSION
from epam_data.shards.codec import ROLES
from epam_data.shards.layout import INDEX, MANIFEST, IndexRow, ShardSummary
from epam_data.shards.manifest import read_small_file


@dataclass(frozen=True, kw_only=True)
class Index:
    """`index.h5`: one row per sample, shard by shard in the order of the manifest."""

    keys: NDArray[np.bytes_]  # (N,)
    shard: NDArray[np.int32]  # (N,) number of the shard in the manifest
    offset: NDArray[np.int64]  # (N,) bytes into the shard
    member_bytes: NDArray[np.int64]  # (N, 4) size of each member, in the order of `codec.ROLES`
    label: NDArray[np.int32]  # (N,) -1: hidden
    coarse_label: NDArray[np.int32]  # (N,) -1: hidden, or no groups
    num_frames: NDArray[np.int32]  # (N,)

    def __len__(self) -> int:
        return len(self.keys)

    def row(self, number: int) -> IndexRow:
        """One row."""
        return IndexRow(
            key=self.keys[number].decode(),
            label=int(self.label[number]),
            coarse_label=int(self.coarse_label[number]),
            num_frames=int(self.num_frames[number]),
            offset=int(self.offset[number]),
            member_bytes=tuple(self.member_bytes[number].tolist()),
        )

    def rows_of(self, shards: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the rows of these shards (see `Manifest.shards_of`)."""
        return np.flatnonzero(np.isin(self.shard, shards))

    @cached_property
    def row_of_key(self) -> dict[str, int]:
        """Number of the row of each key."""
        return {key.decode(): number for number, key in enumerate(self.keys)}


_DTYPES = {
    "keys": f"S{MAX_KEY_LENGTH}",
    "shard": "i4",
    "offset": "i8",
    "member_bytes": "i8",
    "label": "i4",
    "coarse_label": "i4",
    "num_frames": "i4",
}


def index_bytes(shards: list[ShardSummary]) -> bytes:
    """The content of `index.h5`; equal shards give equal bytes."""
    import h5py  # here and below: loader workers unpickle an index but do not need h5py

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
        for name, dtype in _DTYPES.items():
            shape = (len(rows), len(ROLES)) if name == "member_bytes" else (len(rows),)
            file.create_dataset(name, data=np.array(columns[name], dtype).reshape(shape), track_times=False)
    return buffer.getvalue()


def load_index(root: Path | str, *, sha256: str | None = None) -> Index:
    """Read `index.h5` of a shard directory, or of shards by URL.

    Args:
        root: the directory or URL.
        sha256: expected hash, from the manifest; None: not compared.

    Raises:
        ValueError: the file or a column is missing or damaged, a key is not ASCII, or the hash differs.
    """
    import h5py

    data = read_small_file(root, INDEX)
    if data is None:
        raise ValueError(f"{root}/{INDEX}: not a readable index (there is no such file)")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{root}/{INDEX}: does not match {MANIFEST}: it is damaged or from another build")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            columns = {name: file[name][()] for name in _DTYPES}
    except (OSError, KeyError) as error:
        raise ValueError(f"{root}/{INDEX}: not a readable index ({error})") from error
    shapes = {name: np.shape(column) for name, column in columns.items()}
    wanted = {name: (len(columns["keys"]), *((len(ROLES),) if name == "member_bytes" else ())) for name in _DTYPES}
    if shapes != wanted:
        raise ValueError(f"{root}/{INDEX}: not a readable index (columns must be {wanted}, got {shapes})")
    if columns["keys"].dtype.kind != "S":
        raise ValueError(f"{root}/{INDEX}: keys must be bytes of fixed length, got {columns['keys'].dtype}")
    for row, key in enumerate(columns["keys"].tolist()):
        if not key.isascii():
            raise ValueError(f"{root}/{INDEX}: row {row}: a key must be ASCII, got {key!r}")
    return Index(**columns)
