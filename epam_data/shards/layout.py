"""The byte layout of a shard: a plain tar file, in which the index finds each sample.

A sample is four members in the order of `codec.ROLES`, each a 512-byte header and its bytes padded to 512. So the
offset of a sample and the sizes of its members say where everything lies.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

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
    """A finished shard: what the manifest and the index say of it."""

    name: str  # without ".tar"
    split: str
    num_bytes: int
    sha256: str
    rows: tuple[IndexRow, ...]


def padded(size: int) -> int:
    """A number of bytes, rounded up to whole blocks of a tar."""
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
        """Where its content and the padding behind it end."""
        return self.start + padded(self.size)


def read_header(block: bytes | memoryview, position: int) -> MemberHeader:
    """The header of a member.

    The tar module reads a header, but must not walk the file: it takes a damaged header for the end of the archive.

    Args:
        block: `BLOCK` bytes.
        position: where they lie in the shard.

    Raises:
        ValueError: they are no header of a member.
    """
    try:
        header = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if not header.isreg():
        raise ValueError(f"{header.name} is no regular file")
    if header.size < 0:  # a walk would go back, and never end
        raise ValueError(f"{header.name} has {header.size} bytes")
    key, _, ending = header.name.partition(".")
    return MemberHeader(key=key, ending=ending, header=position, size=header.size)
