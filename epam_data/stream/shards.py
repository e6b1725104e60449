"""Where a stream reads its samples: a folder of shards, or shards by URL, through a cache or by ranges of bytes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from epam_data.index import READ_ATTEMPTS, Manifest
from epam_data.remote import RemoteFolder, is_url
from epam_data.shard import IndexRow, ShardReader, read_exactly
from epam_data.stream.cache import ShardCache, check_size
from epam_data.stream.settings import StreamSettings

Read = Callable[[int, int], bytes]
"""(offset in the shard, number of bytes) -> those bytes."""


class Span(NamedTuple):
    """The bytes of one sample."""

    shard: int  # number in the manifest
    begin: int
    end: int

    @classmethod
    def of(cls, shard: int, row: IndexRow) -> Span:
        """That of a row of the index."""
        return cls(shard, row.offset, row.end)


class Shards(Protocol):
    """What a stream needs of the place of its shards. It may travel to other processes."""

    def sample(self, span: Span) -> contextlib.AbstractContextManager[Read]:
        """What reads inside the span, for the length of the block.

        Raises:
            ValueError: a shard is absent, cut short, or not the manifest's.
            OSError: it cannot be read now.
        """

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """The samples that are read next. Raises OSError as `sample` does."""

    def expect_shards(self, shards: Sequence[int]) -> None:
        """The shards that are read from now on, in about this order; those in use are the first."""


def open_shards(root: Path | str, manifest: Manifest, settings: StreamSettings) -> Shards:
    """The shards of a folder or URL.

    Raises:
        ValueError: nothing here knows the URL, or a cache is asked for beside a folder.
    """
    if not is_url(root):
        if settings.cache_dir:
            raise ValueError(f"stream.cache_dir is for shards by URL, got the folder {root}")
        return FolderShards(Path(root), manifest)
    remote = RemoteFolder(str(root), attempts=READ_ATTEMPTS)
    if settings.cache_dir:
        return CachedShards(ShardCache(remote, Path(settings.cache_dir), settings.cache_bytes), manifest)
    return RangedShards(remote, manifest)


class FolderShards:
    """Shards of a folder."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._reader = ShardReader(root, [shard.name for shard in manifest.shards])

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[Read]:
        """See `Shards`."""
        yield partial(self._reader.read, span.shard)

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """Nothing to do: the page cache reads ahead."""

    def expect_shards(self, shards: Sequence[int]) -> None:
        """Nothing to do."""


class RangedShards:
    """Shards by URL, of which only the samples of the next batch are fetched, with one request each."""

    def __init__(self, remote: RemoteFolder, manifest: Manifest) -> None:
        self._remote, self._entries = remote, manifest.shards
        self._whole: set[int] = set()  # shards whose size is the manifest's
        self._fetched: dict[Span, bytes] = {}

    def __getstate__(self) -> dict[str, Any]:  # bytes do not travel to another process
        return {**self.__dict__, "_fetched": {}}

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[Read]:
        """See `Shards`."""
        data = self._fetched.pop(span, None) or self._fetch([span])[0]

        def read(offset: int, num_bytes: int) -> bytes:
            if not span.begin <= offset <= offset + num_bytes <= span.end:
                raise ValueError(f"{num_bytes} bytes at {offset} lie outside the sample, {span.begin} to {span.end}")
            return data[offset - span.begin : offset - span.begin + num_bytes]

        yield read

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """Fetch them, all at the same time; what is wrong with a shard shows when it is read."""
        self._fetched, wanted = {}, list(spans)
        with contextlib.suppress(ValueError):
            self._fetched = dict(zip(wanted, self._fetch(wanted) if wanted else [], strict=True))

    def expect_shards(self, shards: Sequence[int]) -> None:
        """Nothing to do."""

    def _fetch(self, spans: Sequence[Span]) -> list[bytes]:
        for shard in {span.shard for span in spans} - self._whole:
            check_size(self._remote, self._entries[shard])
            self._whole.add(shard)
        ranges = [(f"{self._entries[span.shard].name}.tar", span.begin, span.end) for span in spans]
        return self._remote.read_ranges(ranges)


class CachedShards:
    """Shards by URL, fetched whole into a cache, ahead of their use by a thread."""

    def __init__(self, cache: ShardCache, manifest: Manifest) -> None:
        self._cache, self._entries = cache, manifest.shards
        self._expected: tuple[int, ...] = ()
        self._refused: dict[
            int, ValueError
        ] = {}  # shards that are not the manifest's: not to be fetched for each sample

    def __getstate__(self) -> dict[str, Any]:  # threads do not travel to another process
        return {"_cache": self._cache, "_entries": self._entries, "_expected": (), "_refused": {}}

    @contextlib.contextmanager
    def sample(self, span: Span) -> Iterator[Read]:
        """See `Shards`."""
        entry = self._entries[span.shard]
        if span.shard in self._refused:
            raise self._refused[span.shard]
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(self._cache.open(entry))
            except ValueError as error:
                self._refused[span.shard] = error
                raise
            yield partial(read_exactly, descriptor, what=f"{entry.name}.tar")

    def expect_samples(self, spans: Iterable[Span]) -> None:
        """Nothing to do."""

    def expect_shards(self, shards: Sequence[int]) -> None:
        """Fetch as many of them as the cache holds at the same time."""
        if tuple(shards) != self._expected:
            self._expected = tuple(shards)
            threading.Thread(target=self._fetch_ahead, args=[self._expected], daemon=True).start()

    def _fetch_ahead(self, shards: tuple[int, ...]) -> None:
        room = self._cache.max_bytes
        for shard in shards:
            room -= self._entries[shard].num_bytes
            if room < 0 or self._expected is not shards:
                return
            try:
                self._cache.fetch(self._entries[shard])
            except (ValueError, OSError):  # whoever reads it will see, and say it
                return
