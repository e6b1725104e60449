"""Where a build writes: a folder, or a prefix of an object store (an fsspec URL as s3://bucket/ntu60).

In both a file appears whole or not at all. A folder's file is written under another name, synced and renamed; an
object is written to a staging folder of this machine and uploaded in one piece.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from pathlib import Path
from typing import Protocol

from epam_data.system.file_reads import IrregularFileError, read_small
from epam_data.system.files import PARTIAL, atomic_write_bytes, file_sha256
from epam_data.system.remote import RemoteFolder, is_url

WORK_FOLDER = ".build"
"""In the output: the receipts of finished shards and what they were made from; in a folder also the skeleton store."""

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory")
"""Protocols of fsspec whose objects appear whole."""

MAX_SMALL_BYTES = 1 << 28
"""Largest receipt or other small file that is read."""

_ATTEMPTS = 5
_PART_BYTES = 16 << 20  # an upload holds two parts in memory


class Output(Protocol):
    """What a build needs of the place where it writes. Names are relative, with `/`."""

    staging: Path
    """Folder of this machine where a shard is written before it is published."""

    def publish(self, name: str) -> str | None:
        """Make a whole file of the staging folder appear; returns a stamp of its content, where the place has one."""

    def is_intact(self, name: str, *, num_bytes: int, sha256: str, stamp: str | None) -> bool:
        """Whether a published file is there and still what it was."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none."""

    def read_folder(self, folder: str) -> dict[str, bytes]:
        """The content of every small file of a folder, by its name in the folder; without those that are too large."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def shard_sizes(self) -> dict[str, int]:
        """Bytes of each shard that is there, by its name without `.tar`."""

    def remove_leftovers(self) -> None:
        """Remove what a build that was killed has left half-written; nobody else may be at work."""


def open_output(out: Path | str, work_folder: Path) -> Output:
    """The output at a path or URL; `work_folder` is where a build to a URL keeps its own files.

    Raises:
        ValueError: the URL's protocol is none of an object store, or its package is not installed.
    """
    if not is_url(out):
        return FolderOutput(Path(out))
    protocol = str(out).partition("://")[0]
    if protocol not in OBJECT_STORES:  # elsewhere a file can be seen while it is written
        raise ValueError(f"{out}: out must be a folder or in an object store ({', '.join(OBJECT_STORES)})")
    return UrlOutput(str(out), work_folder / "staging")


class FolderOutput:
    """A folder of this machine or of a shared file system.

    Raises:
        ValueError: the work folder, or a folder in it, is a link: a build writes and removes files there.
    """

    def __init__(self, root: Path) -> None:
        self.root = self.staging = root
        work = root / WORK_FOLDER
        for path in (work, *work.glob("*")):
            if path.is_symlink():
                raise ValueError(f"{path}: must not be a link, since a build writes and removes files there; remove it")

    def publish(self, name: str) -> str | None:
        return None  # `ShardWriter` has renamed it

    def is_intact(self, name: str, *, num_bytes: int, sha256: str, stamp: str | None) -> bool:
        """By size and SHA-256."""
        path = self.root / name
        return path.is_file() and path.stat().st_size == num_bytes and file_sha256(path) == sha256

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, data)

    def read(self, name: str) -> bytes | None:
        try:
            return read_small(self.root / name, MAX_SMALL_BYTES)
        except FileNotFoundError:
            return None

    def read_folder(self, folder: str) -> dict[str, bytes]:
        contents = {}
        for path in (self.root / folder).glob("[!.]*"):  # dots: being written
            # Another process has removed it, it is no file, or too large.
            with contextlib.suppress(FileNotFoundError, IrregularFileError, ValueError):
                contents[path.name] = read_small(path, MAX_SMALL_BYTES)
        return contents

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def shard_sizes(self) -> dict[str, int]:
        return {path.stem: path.stat().st_size for path in self.root.glob("[!.]*.tar")}

    def remove_leftovers(self) -> None:
        for pattern in (f".*{PARTIAL}", f"{WORK_FOLDER}/.*{PARTIAL}", f"{WORK_FOLDER}/*/.*{PARTIAL}"):
            for leftover in self.root.glob(pattern):
                leftover.unlink()


class UrlOutput:
    """A prefix of an object store; each operation is tried again when it fails.

    An upload that a kill cuts off is never seen. S3 keeps its parts, unseen, until the bucket's lifecycle rule for
    incomplete multipart uploads removes them.
    """

    def __init__(self, url: str, staging: Path) -> None:
        self._remote = RemoteFolder(url, attempts=_ATTEMPTS)
        # A folder of this build alone: a task of an earlier one may still be running somewhere.
        self.staging = staging / uuid.uuid4().hex[:12]

    def publish(self, name: str) -> str | None:
        """Upload, and give the object's checksum (on S3 its ETag)."""
        fs, path, local = self._remote.fs, self._remote.path(name), self.staging / name
        limits = {"chunksize": _PART_BYTES, "max_concurrency": 2} if "s3" in fs.protocol else {}

        def upload() -> str:
            fs.put_file(str(local), path, **limits)
            if fs.size(path) != local.stat().st_size:
                raise OSError(f"received {fs.size(path)} of {local.stat().st_size} bytes")
            return str(fs.checksum(path))

        stamp = self._remote.retry("written", name, upload)
        local.unlink()
        return stamp

    def is_intact(self, name: str, *, num_bytes: int, sha256: str, stamp: str | None) -> bool:
        """By size and by the checksum that the store keeps: to hash it here, all of it would have to be fetched."""
        fs, path = self._remote.fs, self._remote.path(name)

        def look() -> bool:
            try:
                return bool(fs.size(path) == num_bytes) and str(fs.checksum(path)) == stamp
            except FileNotFoundError:
                return False

        return self._remote.retry("looked at", name, look)

    def write(self, name: str, data: bytes) -> None:
        self._remote.retry("written", name, lambda: self._remote.fs.pipe_file(self._remote.path(name), data))

    def read(self, name: str) -> bytes | None:
        return self._remote.read(name, MAX_SMALL_BYTES)

    def read_folder(self, folder: str) -> dict[str, bytes]:
        fs, contents = self._remote.fs, dict[str, bytes]()

        def fetch() -> dict[str, bytes]:
            """What an attempt has read is kept: of many objects, one or another fails each time."""
            try:
                listing = fs.ls(self._remote.path(folder), detail=True)
            except FileNotFoundError:
                return {}
            small = [entry["name"] for entry in listing if int(entry["size"] or 0) <= MAX_SMALL_BYTES]
            left = [path for path in small if path not in contents]
            found = fs.cat(left, on_error="return") if left else {}  # all at once, not one round trip each
            contents.update({path: bytes(data) for path, data in found.items() if not isinstance(data, Exception)})
            for failure in found.values():
                if isinstance(failure, Exception):
                    raise failure
            return {path.rpartition("/")[2]: data for path, data in contents.items()}

        return self._remote.retry("read", folder, fetch)

    def remove(self, name: str) -> None:
        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._remote.fs.rm_file(self._remote.path(name))

        self._remote.retry("removed", name, delete)

    def shard_sizes(self) -> dict[str, int]:
        def fetch() -> dict[str, int]:
            try:
                listing = self._remote.fs.ls(self._remote.path("").rstrip("/"), detail=True)
            except FileNotFoundError:
                return {}
            sizes = {entry["name"].rpartition("/")[2]: int(entry["size"] or 0) for entry in listing}
            return {name.removesuffix(".tar"): size for name, size in sizes.items() if name.endswith(".tar")}

        return self._remote.retry("listed", "", fetch)

    def remove_leftovers(self) -> None:
        shutil.rmtree(self.staging.parent, ignore_errors=True)
