"""The byte layout of a shard: a plain tar file, in which the index finds each sample.

A sample is four members in the order of `codec.MEMBERS`, each a 512-byte header and its bytes padded to 512. So the
offset of a sample and the sizes of its members say where everything lies.
"""

from __future__ import annotations

import tarfile
from dataclasses import asdict, dataclass
from typing import Any

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One sample of the index."""

    key: str
    label: int  # -1: hidden
    coarse_label: int  # -1: hidden, or no groups
    num_frames: int
    offset: int  # of the sample's first tar header in its shard, bytes
    member_bytes: tuple[int, ...]  # size of each member, in the order of `codec.MEMBERS`

    def member_offsets(self) -> tuple[int, ...]:
        """Where the content of each member starts in the shard, bytes."""
        offsets, position = [], self.offset
        for size in self.member_bytes:
            offsets.append(position + BLOCK)
            position += BLOCK + padded(size)
        return tuple(offsets)

    @property
    def end(self) -> int:
        """Where the content of the last member ends in the shard, bytes."""
        return self.member_offsets()[-1] + self.member_bytes[-1]


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """A finished shard: what the manifest and the index say of it."""

    name: str  # without ".tar"
    split: str
    num_bytes: int
    sha256: str
    rows: tuple[IndexRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShardSummary:
        """The inverse of `to_dict`."""
        rows = tuple(IndexRow(**{**row, "member_bytes": tuple(row["member_bytes"])}) for row in values["rows"])
        return cls(**{**values, "rows": rows})


def padded(size: int) -> int:
    """A number of bytes, rounded up to whole blocks of a tar."""
    return -(-size // BLOCK) * BLOCK
