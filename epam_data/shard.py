"""Shards: plain tar files with a fixed byte layout, and the index that finds each sample inside them.

A sample is four members in the order of `codec.MEMBERS`, each a 512-byte header and its bytes padded to 512. So the
offset of a sample and the sizes of its members say where everything lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from epam_data.codec import MEMBERS, encode
from epam_data.file_reads import read_exactly, read_nothing_unasked
from epam_data.files import naming, sync_folder, temporary_path
from epam_data.schema import Sample, SampleInfo, check_key, stored_label

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How samples are packed into shards."""

    samples_per_shard: int = 256
    """Clips per shard; about 0.8 MB each at 224 pixels, so 256 make 200 MB."""
    jpeg_quality: int = 90
    """1 to 100."""
    zstd_level: int = 3
    """1 to 22, for the heatmaps."""
    shuffle_seed: int = 0
    """Clips are shuffled over the shards by this seed, once, at build time."""

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"shard.samples_per_shard must be >= 1, got {self.samples_per_shard}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"shard.jpeg_quality must be in 1..100, got {self.jpeg_quality}")
        if not 1 <= self.zstd_level <= 22:
            raise ValueError(f"shard.zstd_level must be in 1..22, got {self.zstd_level}")


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One sample of the index."""

    key: str
    label: int  # -1: hidden
    coarse_label: int  # -1: hidden
    num_frames: int
    offset: int  # of the sample's first tar header in its shard, bytes
    member_bytes: tuple[int, ...]  # size of each member, in the order of `codec.MEMBERS`

    def member_offsets(self) -> tuple[int, ...]:
        """Where the content of each member starts in the shard, bytes."""
        offsets, position = [], self.offset
        for size in self.member_bytes:
            offsets.append(position + BLOCK)
            position += BLOCK + _padded(size)
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


class ShardWriter:
    """Writes one shard under a temporary name; `finish` makes it appear, whole.

    Use as a context manager: leaving it without `finish` removes the temporary file.
    """

    def __init__(self, folder: Path, name: str, split: str, settings: ShardSettings) -> None:
        self._path, self._name, self._split, self._settings = folder / f"{name}.tar", name, split, settings
        self._temporary = temporary_path(self._path)
        self._file = _HashingFile(self._temporary)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]
        self._rows: list[IndexRow] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, sample: Sample) -> None:
        """Encode and append one sample."""
        settings = self._settings
        self.write_members(
            sample.info, encode(sample, jpeg_quality=settings.jpeg_quality, zstd_level=settings.zstd_level)
        )

    def write_members(self, info: SampleInfo, members: dict[str, bytes]) -> None:
        """Append one sample that `codec.encode` has encoded."""
        offset = self._tar.offset
        for ending in MEMBERS:
            header = tarfile.TarInfo(f"{check_key(info.key)}.{ending}")
            header.size = len(members[ending])
            header.mode = 0o644  # everything else stays zero, so that equal samples make equal bytes
            self._tar.addfile(header, io.BytesIO(members[ending]))
        self._rows.append(
            IndexRow(
                key=info.key,
                label=stored_label(info.label),
                coarse_label=stored_label(info.coarse_label),
                num_frames=info.num_frames,
                offset=offset,
                member_bytes=tuple(len(members[ending]) for ending in MEMBERS),
            )
        )

    def finish(self) -> ShardSummary:
        """Close, sync, and rename to the final name."""
        self._tar.close()
        self._file.sync()
        self._file.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return ShardSummary(
            name=self._name,
            split=self._split,
            num_bytes=self._file.num_bytes,
            sha256=self._file.sha256.hexdigest(),
            rows=tuple(self._rows),
        )


class ShardReader:
    """Random access to the bytes of the shards in one folder; keeps a few files open, safe over forks."""

    _MAX_OPEN = 64

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, tuple(names)
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:  # descriptors do not travel to another process
        return {**self.__dict__, "_descriptors": OrderedDict()}

    def read(self, shard: int, offset: int, num_bytes: int) -> bytes:
        """`num_bytes` from `offset` of a shard.

        Raises:
            ValueError: the shard is absent, unreadable or ends before; it is named.
        """
        return read_exactly(self.descriptor(shard), offset, num_bytes, what=f"{self.names[shard]}.tar")

    def read_members(self, shard: int, row: IndexRow) -> dict[str, bytes]:
        """All members of one sample, by ending; raises as `read` does."""
        places = zip(MEMBERS, row.member_offsets(), row.member_bytes, strict=True)
        return {ending: self.read(shard, offset, size) for ending, offset, size in places}

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def descriptor(self, shard: int) -> int:
        """That of an open shard; raises as `read` does."""
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        path = self.folder / f"{self.names[shard]}.tar"
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise ValueError(f"{path}: the manifest lists this shard, but there is no such file") from None
        except PermissionError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
        read_nothing_unasked(descriptor)
        self._descriptors[shard] = descriptor
        if len(self._descriptors) > self._MAX_OPEN:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor


def read_shard(path: Path) -> Iterator[tuple[str, int, dict[str, bytes]]]:
    """Read a shard front to back without an index.

    Yields:
        (key, offset of its first header, members by ending), in the order of the file.

    Raises:
        ValueError: a member's name has no valid key, a sample is not the four members in order, or the tar is cut.
    """
    key, offset, end, members = "", 0, 0, dict[str, bytes]()
    try:
        with tarfile.open(path, mode="r:") as tar:
            for header in tar:
                stem, _, ending = header.name.partition(".")
                wanted = MEMBERS[len(members)]
                if ending != wanted or (members and stem != key):
                    raise ValueError(f"{path.name}: expected {key if members else 'KEY'}.{wanted}, got {header.name}")
                if not members:
                    key, offset = check_key(stem), header.offset
                file = tar.extractfile(header)
                data = file.read() if file else b""
                if len(data) != header.size:
                    raise ValueError(f"{path.name}: {header.name} is cut short: {len(data)} of {header.size} bytes")
                members[ending] = data
                end = header.offset_data + _padded(header.size)
                if len(members) == len(MEMBERS):
                    yield key, offset, members
                    members = {}
    except tarfile.TarError as error:
        raise ValueError(f"{path.name}: damaged tar ({error})") from error
    if members:
        raise ValueError(f"{path.name}: {key} lacks {', '.join(MEMBERS[len(members) :])}")
    # The tar module takes a damaged header, or the end of the file, for the end of the archive: look for its mark.
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read()
        if len(rest) < 2 * BLOCK or rest.strip(b"\0"):
            raise ValueError(f"{path.name}: damaged or cut short at byte {end}, behind {key or 'no sample'}")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


class _HashingFile:
    """A file opened for writing that knows the hash and the length of what went through it."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self.sha256, self.num_bytes = path, path.open("wb"), hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        with naming(self._path):
            return self._file.write(data)

    def tell(self) -> int:
        return self.num_bytes

    def sync(self) -> None:
        with naming(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # `sync` has said so; what is thrown away may be cut
            self._file.close()
