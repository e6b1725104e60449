"""A folder of this machine that holds the remote shards in use: each fetched once, whoever asks, and never too many.

Any number of processes share it, without a server: the kernel's file locks say who does what, and are let go when a
process dies, however it dies.

    .train-000007-3f2a….cached.partial   locked alone by the process that fetches it; the others wait for that lock
    train-000007-3f2a….cached            locked, together, by each process while it reads a sample from it
    .lock                                locked alone while somebody makes room

A shard gets its name when it is whole and its SHA-256 is the manifest's, so a torn download is never seen. Its size is
reserved before it is fetched. Room is made by removing the shard whose last use is the longest ago, among those that
nobody reads at that moment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from epam_data.files import PARTIAL, naming, sync_folder
from epam_data.index import ShardEntry
from epam_data.progress import volume
from epam_data.remote import RemoteFolder

CACHED = ".cached"
"""Ending of a shard in a cache: nothing that somebody else has put into the folder is ever removed."""

_BLOCK_BYTES = 8 << 20
_BLOCKS_AT_ONCE = 4
_DOWNLOADS = 2  # of a shard whose hash is wrong, before it is given up
_WAIT_SECONDS = 0.1  # before another look for room


class ShardCache:
    """Shards of one remote folder in a local one. It may travel to other processes.

    Args:
        remote: where the shards are.
        folder: the cache; made if it is absent. Shards of other data sets may lie there, too.
        max_bytes: what all files of the folder may take together.
    """

    def __init__(self, remote: RemoteFolder, folder: Path, max_bytes: int) -> None:
        self.remote, self.folder, self.max_bytes = remote, folder, max_bytes
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, shard: ShardEntry) -> Path:
        """Where a shard lies when it is here. Equal shards have one place, those of another build another."""
        return self.folder / f"{shard.name}-{shard.sha256[:16]}{CACHED}"

    @contextlib.contextmanager
    def open(self, shard: ShardEntry) -> Iterator[int]:
        """A descriptor of a shard, which stays where it is inside the block; it is fetched if it is not here.

        Raises:
            ValueError: the remote folder holds no such shard, or another than the manifest says.
            OSError: it cannot be fetched, or the disk is full.
        """
        descriptor = self._open(shard, wait=True)
        assert descriptor is not None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def fetch(self, shard: ShardEntry) -> None:
        """Fetch a shard ahead of its use, unless it is here or another process is at it. Raises as `open` does."""
        if not self.path(shard).exists():
            descriptor = self._open(shard, wait=False)
            if descriptor is not None:
                os.close(descriptor)

    def _open(self, shard: ShardEntry, *, wait: bool) -> int | None:
        """A descriptor, locked against removal; None: somebody else fetches the shard, and we do not wait."""
        path = self.path(shard)
        while True:
            descriptor = _open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
            if descriptor is not None:
                if os.fstat(descriptor).st_size == shard.num_bytes:
                    os.utime(descriptor)
                    return descriptor
                path.unlink(missing_ok=True)  # the machine stopped before the disk had it all
                os.close(descriptor)
            partial = path.with_name(f".{path.name}{PARTIAL}")
            try:
                descriptor = _open_locked(partial, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    return None
                if (other := _open_locked(partial, os.O_RDONLY, fcntl.LOCK_SH)) is not None:
                    os.close(other)
                continue
            if descriptor is not None and not path.exists():
                return self._download(shard, descriptor, partial)
            if descriptor is not None:  # it came while we were on the way
                partial.unlink()
                os.close(descriptor)

    def _download(self, shard: ShardEntry, descriptor: int, partial: Path) -> int:
        try:
            check_size(self.remote, shard)
            self._reserve(shard, descriptor, partial)
            for _ in range(_DOWNLOADS):
                found = self._copy(shard, descriptor)
                if found == shard.sha256:
                    break
            else:
                raise ValueError(
                    f"{self.remote.url}/{shard.name}.tar: its SHA-256 is {found}, the manifest says {shard.sha256}; "
                    "damaged, or of another build"
                )
            os.fsync(descriptor)
            partial.replace(self.path(shard))
        except BaseException:
            partial.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        sync_folder(self.folder)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def _copy(self, shard: ShardEntry, descriptor: int) -> str:
        """Fetch the shard into the file; returns the SHA-256 of what came."""
        digest, name = hashlib.sha256(), f"{shard.name}.tar"
        begins = range(0, shard.num_bytes, _BLOCK_BYTES)
        for first in range(0, len(begins), _BLOCKS_AT_ONCE):
            some = begins[first : first + _BLOCKS_AT_ONCE]
            ranges = [(name, begin, min(begin + _BLOCK_BYTES, shard.num_bytes)) for begin in some]
            for (_, begin, _), block in zip(ranges, self.remote.read_ranges(ranges), strict=True):
                digest.update(block)
                os.pwrite(descriptor, block, begin)
        return digest.hexdigest()

    def _reserve(self, shard: ShardEntry, descriptor: int, partial: Path) -> None:
        """Give the file its size, when there is room for it."""
        if shard.num_bytes > self.max_bytes:
            raise ValueError(
                f"stream.cache_bytes must hold {shard.name}.tar of {volume(shard.num_bytes)}, got {self.max_bytes}"
            )
        os.ftruncate(descriptor, 0)
        while True:
            with self._alone():
                others = sum(size for path, size in self._files() if path != partial)
                if others + shard.num_bytes <= self.max_bytes:
                    try:
                        _allocate(descriptor, shard.num_bytes)
                        return
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
                        os.ftruncate(descriptor, 0)
                        if not others:
                            raise OSError(error.errno, f"no room for {shard.name}.tar", str(self.folder)) from None
                removed = self._remove_oldest(partial)
            if not removed:  # all that is here is being read or fetched: that does not take long
                time.sleep(_WAIT_SECONDS)

    def _remove_oldest(self, keep: Path) -> bool:
        """Remove a file that nobody uses: what a dead process left, else the shard whose last use is longest ago."""
        files = [path for path, _ in self._files() if path != keep]
        for path in sorted(files, key=lambda path: (path.suffix != PARTIAL, _last_use(path))):
            try:
                descriptor = _open_locked(path, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if descriptor is not None:
                path.unlink()
                os.close(descriptor)
            return True
        return False

    def _files(self) -> list[tuple[Path, int]]:
        """Shards here, whole and partial, with the bytes they take or have reserved."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix == CACHED or path.name.endswith(CACHED + PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path, path.stat().st_size))
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else makes room."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def check_size(remote: RemoteFolder, shard: ShardEntry) -> None:
    """Refuse a shard that is absent or not as long as the manifest says: a ValueError that names it."""
    where, size = f"{remote.url}/{shard.name}.tar", remote.size(f"{shard.name}.tar")
    if size is None:
        raise ValueError(f"{where}: the manifest lists this shard, but there is no such object")
    if size != shard.num_bytes:
        raise ValueError(f"{where}: has {size} bytes, the manifest says {shard.num_bytes}")


def _open_locked(path: Path, flags: int, lock: int) -> int | None:
    """Open and lock a file; None: it is gone, or was renamed or removed before the lock came.

    Raises:
        BlockingIOError: somebody else has locked it, and `lock` does not wait.
    """
    with naming(path):
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            if flags & os.O_CREAT:  # it is the folder that is gone
                raise
            return None
    try:
        fcntl.flock(descriptor, lock)
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _last_use(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _allocate(descriptor: int, num_bytes: int) -> None:
    """Take the disk's space now, so that a full disk shows before anything is fetched."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, num_bytes)
    else:
        os.ftruncate(descriptor, num_bytes)
