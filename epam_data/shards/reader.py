"""Read a shard: at random offsets, or from start to end."""

from __future__ import annotations

import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from epam_data.schema import check_key
from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import BLOCK, IndexRow, padded
from epam_data.system.file_reads import IrregularFileError, disable_readahead, open_regular, read_exactly
from epam_data.system.printable import printable


class ShardReader:
    """Random access to the bytes of the shards in one folder; keeps some files open; safe to use after a fork."""

    _MAX_OPEN = 64

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, tuple(names)
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:  # descriptors cannot be pickled
        return {**self.__dict__, "_descriptors": OrderedDict()}

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def read(self, shard: int, offset: int, num_bytes: int) -> bytes:
        """`num_bytes` from `offset` of a shard.

        Raises:
            ValueError: the shard is missing, unreadable or too short; names the shard.
        """
        return read_exactly(self.descriptor(shard), offset, num_bytes, what=f"{self.names[shard]}.tar")

    def read_members(self, shard: int, row: IndexRow, endings: Sequence[str] = MEMBERS) -> dict[str, bytes]:
        """All members of one sample, by ending; raises as `read` does."""
        ranges = zip(endings, row.member_offsets(), row.member_bytes, strict=True)
        return {ending: self.read(shard, offset, size) for ending, offset, size in ranges}

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def descriptor(self, shard: int) -> int:
        """File descriptor of a shard, opened if needed; raises as `read` does."""
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        path = self.folder / f"{self.names[shard]}.tar"
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            raise ValueError(f"{path}: the manifest lists this shard, but there is no such file") from None
        except (PermissionError, IrregularFileError) as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
        disable_readahead(descriptor)
        self._descriptors[shard] = descriptor
        if len(self._descriptors) > self._MAX_OPEN:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor


def _checked(path: Path, key: str) -> str:
    try:
        return check_key(key)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def read_shard(path: Path, endings: Sequence[str] = MEMBERS) -> Iterator[tuple[str, int, dict[str, bytes]]]:
    """Read a shard from start to end without an index.

    Args:
        path: the shard.
        endings: of its members, in order.

    Yields:
        (key, offset of its first header, members by ending), in the order of the file.

    Raises:
        ValueError: a member has an invalid key, a sample is not the four members in order, or the tar is truncated.
    """
    key, end, members = "", 0, dict[str, bytes]()
    try:
        with tarfile.open(path, mode="r:") as tar:
            for header in tar:
                stem, _, ending = header.name.partition(".")
                wanted = endings[len(members)]
                if ending != wanted or (members and stem != key):
                    raise ValueError(
                        f"{path.name}: expected {key if members else 'KEY'}.{wanted}, got {printable(header.name)}"
                    )
                if not members:
                    key, offset = _checked(path, stem), header.offset
                file = tar.extractfile(header) if header.isreg() else None
                if file is None:
                    raise ValueError(f"{path.name}: {printable(header.name)} is not a regular file")
                members[ending] = file.read()
                end = header.offset_data + padded(header.size)
                if len(members) == len(endings):
                    yield key, offset, members
                    members = {}
    except tarfile.TarError as error:
        raise ValueError(f"{path.name}: damaged tar ({error})") from error
    if members:
        raise ValueError(f"{path.name}: {key} lacks {', '.join(endings[len(members) :])}")
    # tarfile treats a damaged header and the end of the file as the end of the archive, so check its end marker.
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read()
        if len(rest) < 2 * BLOCK or rest.strip(b"\0"):
            raise ValueError(f"{path.name}: damaged or cut short at byte {end}, after {key or 'no sample'}")
