"""A folder of this machine that holds the remote shards in use: each fetched once, whoever asks, and never too many.

Any number of processes share it, without a server: the kernel's file locks say who does what, and are let go when a
process dies, however it dies (a child that it has forked while it was fetching keeps that one lock, though).

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
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from epam_data.shards.manifest import ShardEntry
from epam_data.system.files import PARTIAL, path_in_errors, sync_folder
from epam_data.system.locked_files import is_at, open_locked, release, remove
from epam_data.system.progress import volume
from epam_data.system.remote import RemoteFolder

CACHED = ".cached"
"""Ending of a shard in a cache: nothing that somebody else has put into the folder is ever removed."""

_BLOCK_BYTES = 8 << 20
_BLOCKS_AT_ONCE = 4
_DOWNLOADS = 2  # of a shard whose hash is wrong, before it is given up
_WAIT_SECONDS = 0.1  # before another look for room
_REFUSED, _REFUSED_SECONDS = ".refused", 600.0  # a note for the others: this shard need not be fetched for a while


class _NoRoomError(Exception):
    """Nothing may be removed for a shard that is fetched ahead."""


class ShardCache:
    """Shards of one remote folder in a local one. It may travel to other processes.

    Args:
        remote: where the shards are.
        folder: the cache; made if it is absent. Shards of other data sets may lie there, too.
        max_bytes: what all files of the folder may take together.
    """

    def __init__(self, remote: RemoteFolder, folder: Path, max_bytes: int) -> None:
        self.remote, self.folder, self.max_bytes = remote, folder, max_bytes
        with path_in_errors(folder):
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
        descriptor = self._open(shard)
        assert descriptor is not None, "we wait for it"
        try:
            yield descriptor
        finally:
            release(descriptor)

    def fetch(self, shard: ShardEntry, keep: Collection[ShardEntry]) -> bool:
        """Fetch a shard ahead of its use, unless it is here or another process is at it. Raises as `open` does.

        Args:
            shard: to fetch.
            keep: shards that make no room for it.

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
        """Remove the file of a shard if its SHA-256 is not the manifest's any more: disks forget."""
        path = self.path(shard)
        descriptor = open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
        if descriptor is None:
            return
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "rb") as file, contextlib.suppress(OSError):  # a disk that cannot read it forgot it
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != shard.sha256:
            remove(path)

    def touch(self, shards: Iterable[ShardEntry]) -> None:
        """Count shards that are here as used now, the first as the last: they are wanted in this order."""
        for shard in reversed(list(shards)):
            with contextlib.suppress(OSError):
                _mark_used(self.path(shard))

    def _open(self, shard: ShardEntry, ahead: Collection[Path] | None = None) -> int | None:
        """A descriptor, locked against removal.

        Args:
            shard: to open.
            ahead: of its use: files that make no room, and None is returned where somebody else fetches the shard.
        """
        path = self.path(shard)
        partial = path.with_name(f".{path.name}{PARTIAL}")
        while True:
            descriptor = open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
            if descriptor is not None:
                if os.fstat(descriptor).st_size == shard.num_bytes:
                    with contextlib.suppress(PermissionError):  # another user's: it can be read all the same
                        _mark_used(descriptor)
                    return descriptor
                release(descriptor)
                remove(path)  # the machine stopped before the disk had it all
            self._check_refused(path)
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
            if path.exists():  # it came while we were on the way
                partial.unlink()
                release(descriptor)
            elif self._download(shard, descriptor, partial, ahead):
                return descriptor

    def _download(self, shard: ShardEntry, descriptor: int, partial: Path, ahead: Collection[Path] | None) -> bool:
        """Fetch into the locked file and give it its name; returns whether it is there, else it is closed."""
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
                    told = f"its SHA-256 is {found}, the manifest says {shard.sha256}; damaged, or of another build"
                    path.with_suffix(_REFUSED).write_text(f"{self.remote.url}/{shard.name}.tar: {told}")
                    self._check_refused(path)
                os.fsync(descriptor)
                partial.replace(path)
                sync_folder(self.folder)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                _mark_used(descriptor)
                if is_at(path, descriptor):  # else it was removed in the moment between two locks
                    return True
        except BaseException:
            partial.unlink(missing_ok=True)
            release(descriptor)
            raise
        release(descriptor)
        return False

    def _check_refused(self, path: Path) -> None:
        """Raise what another process has found out about a shard a while ago: a ValueError."""
        note = path.with_suffix(_REFUSED)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - note.stat().st_mtime < _REFUSED_SECONDS:
                raise ValueError(note.read_text())
            note.unlink()

    def _copy(self, shard: ShardEntry, descriptor: int) -> str:
        """Fetch the shard into the file; returns the SHA-256 of what came."""
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
                        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                            raise
                        os.ftruncate(descriptor, 0)
                        if ahead is not None:  # the disk is smaller than we may use: what is here is worth more
                            raise _NoRoomError from error
                        if not others:
                            raise OSError(error.errno, f"no room for {shard.name}.tar", str(self.folder)) from None
                removed = self._remove_oldest({partial, *(ahead or ())})
            if not removed:
                if ahead is not None:
                    raise _NoRoomError
                time.sleep(_WAIT_SECONDS)  # all that is here is being read or fetched: that does not take long

    def _remove_oldest(self, keep: Collection[Path]) -> bool:
        """Remove a file that nobody uses: what a dead process left, else the shard whose last use is longest ago."""
        files = [path for path, _ in self._files() if path not in keep]
        return any(map(remove, sorted(files, key=lambda path: (path.suffix != PARTIAL, _last_use(path)))))

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


def _mark_used(file: Path | int) -> None:
    now = time.time_ns()  # the kernel's own time of a file moves in steps of some milliseconds
    os.utime(file, ns=(now, now))


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
