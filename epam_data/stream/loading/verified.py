"""Which cached shards a run has compared with the manifest, so that each is hashed once and not by every process.

A shard that is in the cache already may be damaged, or planted by somebody who may write there. It is hashed (about a
second per gigabyte) before its first use in a run. The result is noted in a file beside it, signed with a key that only
the processes of the run have: nobody else can write such a note.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from epam_data.shards.manifest import ShardEntry
from epam_data.system.locked_files import open_locked, release

NOTES = ".hashed"
"""Ending of the file beside a shard."""

_NOTE_BYTES, _KEPT = 32, 64  # of a note, and how many runs' notes are kept
_BLOCK_BYTES = 1 << 20


class VerifiedShards:
    """The shards of a cache that this run has hashed. Its processes share the key by pickle."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: set[bytes] = set()

    def check(self, path: Path, descriptor: int, shard: ShardEntry) -> bool:
        """Whether an open shard has the hash of the manifest; it is hashed unless a process of this run has done so."""
        note = self._note(descriptor, shard)
        if note in self._known:
            return True
        with _opened(path.with_suffix(NOTES)) as notes:
            if note not in _read(notes):
                if file_hash(descriptor) != shard.sha256:
                    return False
                _add(notes, note)
        self._known.add(note)
        return True

    def add(self, path: Path, descriptor: int, shard: ShardEntry) -> None:
        """Note that the open shard was hashed while it was fetched."""
        note = self._note(descriptor, shard)
        with _opened(path.with_suffix(NOTES)) as notes:
            _add(notes, note)
        self._known.add(note)

    def _note(self, descriptor: int, shard: ShardEntry) -> bytes:
        status = os.fstat(descriptor)
        what = f"{status.st_dev} {status.st_ino} {status.st_size} {shard.name} {shard.sha256}"
        return hmac.digest(self._key, what.encode(), "sha256")


def file_hash(descriptor: int) -> str:
    """SHA-256 of an open file, as hexadecimal digits."""
    digest, position = hashlib.sha256(), 0
    while block := os.pread(descriptor, _BLOCK_BYTES, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The notes of a shard, which no other process has open; None: there cannot be any (the disk is full)."""
    notes = None
    with contextlib.suppress(OSError):
        notes = open_locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    try:
        yield notes
    finally:
        if notes is not None:
            release(notes)


def _read(notes: int | None) -> list[bytes]:
    data = b"" if notes is None else os.pread(notes, _NOTE_BYTES * _KEPT, 0)
    return [data[start : start + _NOTE_BYTES] for start in range(0, len(data), _NOTE_BYTES)]


def _add(notes: int | None, note: bytes) -> None:
    if notes is not None:
        with contextlib.suppress(OSError):
            os.pwrite(notes, b"".join([note, *_read(notes)][:_KEPT]), 0)
