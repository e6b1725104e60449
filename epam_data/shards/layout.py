"""The byte layout of a shard: a plain tar file with an index of its samples.

A sample is four members in the order of `codec.ROLES`, each a 512-byte header followed by its bytes, padded to 512. The
offset of a sample and the sizes of its members therefore locate every member.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

from epam_data.system.printable import printable

MANIFEST, INDEX, PROBLEMS = "manifest.json", "index.h5", "problems.jsonl"
"""The files beside the shards."""

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One sample of the index."""

    key: str
    label: int  # -1: hidden
    coarse_label: int  # -1: hidden, or no groups
    num_frames: int
    offset: int  # of the sample's first tar header in its shard, bytes
    member_bytes: tuple[int, ...]  # size of each member, in the order of `codec.ROLES`

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
    """A finished shard, as the manifest and the index describe it."""

    name: str  # without ".tar"
    split: str
    num_bytes: int
    sha256: str
    rows: tuple[IndexRow, ...]


def padded(size: int) -> int:
    """A number of bytes, rounded up to full tar blocks."""
    return -(-size // BLOCK) * BLOCK


@dataclass(frozen=True, kw_only=True)
class MemberHeader:
    """One member of a tar file."""

    key: str
    ending: str
    header: int  # where its header starts, bytes
    size: int  # of its content, bytes

    @property
    def start(self) -> int:
        """Where its content starts."""
        return self.header + BLOCK

    @property
    def end(self) -> int:
        """Where the padding after its content ends."""
        return self.start + padded(self.size)


def read_header(block: bytes | memoryview, position: int) -> MemberHeader:
    """Parse the header of a member.

    `tarfile` parses single headers here but must not walk the file: it treats a damaged header as the end.

    Args:
        block: `BLOCK` bytes.
        position: offset of the block in the shard.

    Raises:
        ValueError: the block is not the header of a regular file.
    """
    try:
        header = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if not header.isreg():
        raise ValueError(f"{printable(header.name)} is not a regular file")
    if header.size < 0:  # a walk would go backwards and never end
        raise ValueError(f"{printable(header.name)} has {header.size} bytes")
    key, _, ending = header.name.partition(".")
    return MemberHeader(key=key, ending=ending, header=position, size=header.size)
