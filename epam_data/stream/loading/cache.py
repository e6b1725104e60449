"""A local folder that caches the remote shards in use: each is fetched once, and the total size is limited.

Any number of processes share it without a server, by kernel file locks, which are released when a process dies for any
reason (except that a child forked during a download keeps that lock).

    .train-000007-3f2a….cached.partial   exclusive lock of the process that fetches it; others wait for it
    train-000007-3f2a….cached            shared lock of each process while it reads a sample
    train-000007-3f2a….hashed            notes of the runs that have hashed it
    .lock                                exclusive lock while a process makes room

A shard gets its final name when it is complete and its SHA-256 matches the manifest, so a broken download is never
visible. One that is already there is hashed before its first use in a run, see `verified.py`. All files are this user's
alone: where others may write, each user has a folder, and links are not followed. A shard's size is reserved before it
is fetched. To make room, the least recently used shard that nobody is reading is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from epam_data.shards.manifest import ShardEntry
from epam_data.stream.loading.refusals import check_refusal, write_refusal
from epam_data.stream.loading.verified import NOTES, VerifiedShards, file_hash
from epam_data.system.files import PARTIAL, path_in_errors, sync_folder
from epam_data.system.locked_files import is_at, open_locked, open_own, own_folder, release, remove
from epam_data.system.progress import volume
from epam_data.system.remote import RemoteFolder

CACHED = ".cached"
"""Ending of a cached shard; other files in the folder are never removed."""

_BLOCK_BYTES, _BLOCKS_AT_ONCE = 8 << 20, 4
_DOWNLOADS = 2  # attempts for a shard with a wrong hash
_WAIT_SECONDS = 0.1  # between checks for room
_REFUSED = ".refused"


class _NoRoomError(Exception):
    """No file may be removed to make room for a prefetched shard."""


class ShardCache:
    """A local cache of the shards of a remote folder. Picklable.

    Args:
        remote: location of the shards.
        folder: the cache, created if missing; several data sets may share it. If other users may write there, a
            folder of this user inside it is used.
        max_bytes: limit on the total size of the cached files of this user.

    Raises:
        PermissionError: the folder cannot be used safely; says why.
    """

    def __init__(self, remote: RemoteFolder, folder: Path, max_bytes: int) -> None:
        self.remote, self.folder, self.max_bytes = remote, own_folder(folder), max_bytes
        self._verified = VerifiedShards()

    def path(self, shard: ShardEntry) -> Path:
        """The path of a shard in the cache. Equal shards share a path; those of different builds do not."""
        return self.folder / f"{shard.name}-{shard.sha256[:16]}{CACHED}"

    @contextlib.contextmanager
    def open(self, shard: ShardEntry) -> Iterator[int]:
        """A descriptor of a shard, which is fetched if needed and cannot be removed inside the block.

        Raises:
            ValueError: the remote folder has no such shard, or it does not match the manifest.
            OSError: the shard cannot be fetched, or the disk is full.
        """
        descriptor = self._open(shard)
        assert descriptor is not None, "None is only returned when prefetching"
        try:
            yield descriptor
        finally:
            release(descriptor)

    def fetch(self, shard: ShardEntry, keep: Collection[ShardEntry]) -> bool:
        """Prefetch a shard, unless it is cached or another process is fetching it. Raises as `open` does.

        Args:
            shard: the shard to fetch.
            keep: shards that must not be removed to make room.

        Returns:
            Whether there was room.
        """
        if not self.path(shard).exists():
            try:
                descriptor = self._open(shard, ahead={self.path(each) for each in keep})
            except _NoRoomError:
                return False
            if descriptor is not None:
                release(descriptor)
        return True

    def remove_damaged(self, shard: ShardEntry) -> None:
        """Remove a cached shard if its SHA-256 no longer matches the manifest."""
        path = self.path(shard)
        descriptor = open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
        if descriptor is None:
            return
        found = ""
        with contextlib.suppress(OSError):  # unreadable counts as damaged
            found = file_hash(descriptor)
        release(descriptor)
        if found != shard.sha256:
            self._remove(path)

    def touch(self, shards: Iterable[ShardEntry]) -> None:
        """Mark cached shards as used now, the first as the most recent: they are needed in this order."""
        for shard in reversed(list(shards)):
            with contextlib.suppress(OSError):
                _mark_used(self.path(shard))

    def _open(self, shard: ShardEntry, ahead: Collection[Path] | None = None) -> int | None:
        """A descriptor, locked against removal.

        Args:
            shard: the shard to open.
            ahead: when prefetching: files that must not be removed; returns None if another process is fetching it.
        """
        path = self.path(shard)
        partial = path.with_name(f".{path.name}{PARTIAL}")
        while True:
            descriptor = open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
            if descriptor is not None:
                if self._is_right(path, descriptor, shard):
                    _mark_used(descriptor)
                    return descriptor
                release(descriptor)
                # Damaged, planted, or incomplete: the machine stopped while it was written.
                if not self._remove(path):  # another process is looking at it, too
                    time.sleep(_WAIT_SECONDS)
            check_refusal(path.with_suffix(_REFUSED))
            try:
                descriptor = open_locked(partial, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if ahead is not None:
                    return None
                if (other := open_locked(partial, os.O_RDONLY, fcntl.LOCK_SH)) is not None:
                    release(other)
                continue
            if descriptor is None:
                continue
            if path.exists():  # another process finished it in the meantime
                partial.unlink()
                release(descriptor)
            elif self._download(shard, descriptor, partial, ahead):
                return descriptor

    def _is_right(self, path: Path, descriptor: int, shard: ShardEntry) -> bool:
        try:
            return os.fstat(descriptor).st_size == shard.num_bytes and self._verified.check(path, descriptor, shard)
        except OSError as error:
            release(descriptor)
            raise OSError(error.errno, f"cannot be read ({error.strerror})", str(path)) from error

    def _remove(self, path: Path) -> bool:
        """Remove a cached shard and its notes, unless a process reads it."""
        return remove(path) and (remove(path.with_suffix(NOTES)) or True)

    def _download(self, shard: ShardEntry, descriptor: int, partial: Path, ahead: Collection[Path] | None) -> bool:
        """Fetch into the locked file and give it its final name. If it returns False, the descriptor is closed."""
        path = self.path(shard)
        try:
            check_size(self.remote, shard)
            with path_in_errors(self.folder):
                self._reserve(shard, descriptor, partial, ahead)
                for _ in range(_DOWNLOADS):
                    found = self._copy(shard, descriptor)
                    if found == shard.sha256:
                        break
                else:
                    reason = f"its SHA-256 is {found}, the manifest says {shard.sha256}; damaged, or from another build"
                    reason = f"{self.remote.url}/{shard.name}.tar: {reason}"
                    write_refusal(path.with_suffix(_REFUSED), reason)
                    raise ValueError(reason)
                os.fsync(descriptor)
                partial.replace(path)
                sync_folder(self.folder)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                _mark_used(descriptor)
                self._verified.add(path, descriptor, shard)
                if is_at(path, descriptor):  # otherwise it was removed between the two locks
                    return True
        except BaseException:
            partial.unlink(missing_ok=True)
            release(descriptor)
            raise
        release(descriptor)
        return False

    def _copy(self, shard: ShardEntry, descriptor: int) -> str:
        """Fetch the shard into the file; returns the SHA-256 of the received data."""
        digest, name = hashlib.sha256(), f"{shard.name}.tar"
        begins = range(0, shard.num_bytes, _BLOCK_BYTES)
        for first in range(0, len(begins), _BLOCKS_AT_ONCE):
            some = begins[first : first + _BLOCKS_AT_ONCE]
            ranges = [(name, begin, min(begin + _BLOCK_BYTES, shard.num_bytes)) for begin in some]
            for (_, begin, _), block in zip(ranges, self.remote.read_ranges(ranges), strict=True):
                digest.update(block)
                written = 0
                while written < len(block):
                    written += os.pwrite(descriptor, memoryview(block)[written:], begin + written)
        return digest.hexdigest()

    def _reserve(self, shard: ShardEntry, descriptor: int, partial: Path, ahead: Collection[Path] | None) -> None:
        """Make room for the file, then allocate its size."""
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
                        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                            raise
                        os.ftruncate(descriptor, 0)
                        if ahead is not None:  # the disk is smaller than max_bytes: keep what is cached
                            raise _NoRoomError from error
                        if not others:
                            raise OSError(error.errno, f"no room for {shard.name}.tar", str(self.folder)) from None
                removed = self._remove_oldest({partial, *(ahead or ())})
            if not removed:
                if ahead is not None:
                    raise _NoRoomError
                time.sleep(_WAIT_SECONDS)  # all files are being read or fetched, which does not take long

    def _remove_oldest(self, keep: Collection[Path]) -> bool:
        """Remove an unused file: leftovers of a dead process first, then the least recently used shard."""
        files = [path for path, _ in self._files() if path not in keep]
        return any(map(self._remove, sorted(files, key=lambda path: (path.suffix != PARTIAL, _last_use(path)))))

    def _files(self) -> list[tuple[Path, int]]:
        """Cached and partial shards with the bytes they use or have reserved."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix == CACHED or path.name.endswith(CACHED + PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode):
                        found.append((path, status.st_size))
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclusive right to make room."""
        descriptor = open_own(self.folder / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def check_size(remote: RemoteFolder, shard: ShardEntry) -> None:
    """Raise a ValueError if a shard is missing or its size differs from the manifest."""
    where, size = f"{remote.url}/{shard.name}.tar", remote.size(f"{shard.name}.tar")
    if size is None:
        raise ValueError(f"{where}: the manifest lists this shard, but there is no such object")
    if size != shard.num_bytes:
        raise ValueError(f"{where}: has {size} bytes, the manifest says {shard.num_bytes}")


def _mark_used(file: Path | int) -> None:
    now = time.time_ns()  # the kernel's own file times have a resolution of a few milliseconds
    os.utime(file, ns=(now, now))


def _last_use(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _allocate(descriptor: int, num_bytes: int) -> None:
    """Allocate the disk space now, so that a full disk is noticed before anything is fetched."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, num_bytes)
    else:
        os.ftruncate(descriptor, num_bytes)
