"""Sources of samples for a stream: a folder of shards, or shards by URL, through a cache or by byte ranges."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from epam_data.shards.layout import IndexRow
from epam_data.shards.manifest import READ_ATTEMPTS, Manifest
from epam_data.shards.reader import ShardReader
from epam_data.stream.loading.cache import ShardCache, check_size
from epam_data.stream.loading.clip_decoder import ByteRange
from epam_data.stream.settings import StreamSettings
from epam_data.system.file_reads import prefetch, read_cached, read_exactly
from epam_data.system.remote import RemoteFolder, is_url

_MAX_SAMPLE_BYTES = 1 << 30  # of a sample by URL, which is fetched whole


class Span(NamedTuple):
    """The bytes of one sample."""

    shard: int  # number in the manifest
    begin: int
    end: int

    @classmethod
    def of(cls, shard: int, row: IndexRow) -> Span:
        """The span of an index row."""
        return cls(shard, row.offset, row.end)

    @property
    def num_bytes(self) -> int:
        """How many there are."""
        return self.end - self.begin


class SampleBytes(Protocol):
    """The bytes of one sample; offsets count from the start of its shard."""

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Bytes at an offset; a ValueError if they do not exist."""

    def read_many(self, start: int, ranges: list[ByteRange]) -> Iterator[bytes | memoryview]:
        """Bytes at ranges relative to `start`; raises as `read` does."""


class Shards(Protocol):
    """What a stream needs from a location of shards. Picklable."""

    def sample(self, span: Span) -> contextlib.AbstractContextManager[SampleBytes]:
        """A reader of the span, valid inside the block.

        Raises:
            ValueError: a shard is missing, too short, or does not match the manifest.
            OSError: it cannot be read now.
        """

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """Announce the samples that are read next. Raises OSError as `sample` does."""

    def expect_shards(self, shards: Sequence[int]) -> None:
        """Announce the shards that are read from now on, in roughly this order, starting with those in use."""

    def close(self) -> None:
        """Close files; a later read opens them again."""

    def renew(self, shard: int) -> bool:
        """After a damaged read, replace a bad copy; returns whether reading again may succeed."""


def open_shards(root: Path | str, manifest: Manifest, settings: StreamSettings) -> Shards:
    """The shards of a folder or URL.

    Raises:
        ValueError: the URL's protocol is not supported, or a cache is requested for a local folder.
    """
    if not is_url(root):
        if settings.cache_dir:
            raise ValueError(f"stream.cache_dir is for shards by URL, got the folder {root}")
        return FolderShards(Path(root), manifest)
    remote = RemoteFolder(str(root), attempts=READ_ATTEMPTS)
    if settings.cache_dir:
        folder = Path(settings.cache_dir).expanduser().absolute()  # workers may start in another folder
        return CachedShards(ShardCache(remote, folder, settings.cache_bytes), manifest)
    return RangedShards(remote, manifest)


class _OpenFile:
    """Bytes of an open file."""

    def __init__(self, descriptor: int, what: str) -> None:
        self._descriptor, self._what = descriptor, what

    def read(self, offset: int, num_bytes: int) -> bytes:
        return read_exactly(self._descriptor, offset, num_bytes, what=self._what)

    def read_many(self, start: int, ranges: list[ByteRange]) -> Iterator[bytes | memoryview]:
        # No prefetch for data in the page cache: that call takes as long as the read.
        for number, (offset, num_bytes) in enumerate(ranges):
            data = read_cached(self._descriptor, start + offset, num_bytes)
            if data is None:
                yield from self._read_from_disk(start, ranges[number:])
                return
            yield data

    def _read_from_disk(self, start: int, ranges: list[ByteRange]) -> Iterator[bytes]:
        for offset, num_bytes in ranges:  # the disk reads all of them while the first are decoded
            prefetch(self._descriptor, start + offset, num_bytes)
        for offset, num_bytes in ranges:
            yield self.read(start + offset, num_bytes)


class _Fetched:
    """Bytes in memory that start at `begin` of the shard."""

    def __init__(self, data: bytes, begin: int) -> None:
        self._data, self._begin = data, begin

    def read(self, offset: int, num_bytes: int) -> bytes:
        first, last = offset - self._begin, offset - self._begin + num_bytes
        if not 0 <= first <= last <= len(self._data):
            raise ValueError(f"{num_bytes} bytes at {offset} are outside the sample")
        return self._data[first:last]

    def read_many(self, start: int, ranges: list[ByteRange]) -> Iterator[bytes | memoryview]:
        return (self.read(start + offset, num_bytes) for offset, num_bytes in ranges)


class FolderShards:
    """Shards of a folder."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._reader = ShardReader(root, [shard.name for shard in manifest.shards])

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[SampleBytes]:
        yield _OpenFile(self._reader.descriptor(span.shard), f"{self._reader.names[span.shard]}.tar")

    def expect_samples(self, spans: Iterable[Span]) -> None:
        pass  # the page cache reads ahead

    def expect_shards(self, shards: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        self._reader.close()

    def renew(self, shard: int) -> bool:
        """False: there is no other copy."""
        return False


class RangedShards:
    """Shards by URL; fetches only the samples of the next batch, with one request each."""

    def __init__(self, remote: RemoteFolder, manifest: Manifest) -> None:
        self._remote, self._entries = remote, manifest.shards
        self._known: dict[int, ValueError | None] = {}  # checked shards, with the error of unusable ones
        self._fetched: dict[Span, bytes] = {}

    def __getstate__(self) -> dict[str, Any]:  # fetched bytes are not pickled
        return {**self.__dict__, "_fetched": {}}

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[SampleBytes]:
        if (error := self._look(span.shard)) is not None:
            raise error
        if span.num_bytes > _MAX_SAMPLE_BYTES:
            raise ValueError(f"has {span.num_bytes} bytes, the most that is fetched at once is {_MAX_SAMPLE_BYTES}")
        data = self._fetched.get(span)
        yield _Fetched(self._fetch([span])[0] if data is None else data, span.begin)

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """Fetch them in parallel; errors of a shard are raised when it is read."""
        small = [span for span in dict.fromkeys(spans) if span.num_bytes <= _MAX_SAMPLE_BYTES]
        wanted = [span for span in small if self._look(span.shard) is None]
        self._fetched = dict(zip(wanted, self._fetch(wanted) if wanted else [], strict=True))

    def expect_shards(self, shards: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        pass

    def renew(self, shard: int) -> bool:
        """False: there is no other copy."""
        return False

    def _look(self, shard: int) -> ValueError | None:
        """The error of an unusable shard, or None; asks the store only once."""
        if shard not in self._known:
            try:
                check_size(self._remote, self._entries[shard])
                self._known[shard] = None
            except ValueError as error:
                self._known[shard] = error
        return self._known[shard]

    def _fetch(self, spans: Sequence[Span]) -> list[bytes]:
        ranges = [(f"{self._entries[span.shard].name}.tar", span.begin, span.end) for span in spans]
        return self._remote.read_ranges(ranges)


class CachedShards:
    """Shards by URL; a thread prefetches complete shards into a cache."""

    def __init__(self, cache: ShardCache, manifest: Manifest) -> None:
        self._cache, self._entries = cache, manifest.shards
        self._expected: tuple[int, ...] = ()
        self._refused: dict[int, ValueError] = {}  # shards that do not match the manifest
        self._renewed: set[int] = set()  # shards whose copy was hashed again

    def __getstate__(self) -> dict[str, Any]:  # a new process starts its own prefetch thread
        return {**self.__dict__, "_expected": ()}

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[SampleBytes]:
        entry = self._entries[span.shard]
        if span.shard in self._refused:
            raise self._refused[span.shard]
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(self._cache.open(entry))
            except ValueError as error:
                self._refused[span.shard] = error
                raise
            yield _OpenFile(descriptor, f"{entry.name}.tar")

    def expect_samples(self, spans: Iterable[Span]) -> None:
        pass

    def expect_shards(self, shards: Sequence[int]) -> None:
        """Prefetch as many of them as fit into the cache."""
        room, expected = self._cache.max_bytes, list[int]()
        for shard in dict.fromkeys(shards):
            room -= self._entries[shard].num_bytes
            if room < 0:
                break
            expected.append(shard)
        if tuple(expected) != self._expected:
            self._expected = tuple(expected)
            threading.Thread(target=self._fetch_ahead, args=[self._expected], daemon=True).start()

    def close(self) -> None:
        """Stop fetching ahead."""
        self._expected = ()

    def renew(self, shard: int) -> bool:
        """Only once per shard: damage in a copy with the right hash is in the original, too."""
        if shard in self._refused or shard in self._renewed:
            return False
        self._renewed.add(shard)
        self._cache.remove_damaged(self._entries[shard])
        return True

    def _fetch_ahead(self, shards: tuple[int, ...]) -> None:
        entries = [self._entries[shard] for shard in shards]
        self._cache.touch(entries)
        for shard, entry in zip(shards, entries, strict=True):
            if self._expected is not shards:
                return
            try:
                if shard not in self._refused and not self._cache.fetch(entry, keep=entries):
                    return
            except ValueError as error:
                self._refused[shard] = error
            except OSError:  # raised again when the shard is read
                return
