"""Progress of a build: finished shards, and the finished clips of shards in progress.

A shard takes minutes, so each worker writes its shard's counts to a small file in the work folder. The build's main
process, or `epam-data status` in another terminal or host, reads them to show progress by clips.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epam_data.build.receipts import ShardResult
from epam_data.system.file_reads import IrregularFileError, read_small
from epam_data.system.files import atomic_write_bytes
from epam_data.system.progress import OnProgress
from epam_data.system.typed_json import decode_json

if TYPE_CHECKING:
    from epam_data.build.plan import ShardTask  # slow to import, and `status` does not need it

_NOTE_EVERY_SECONDS = 1.0
_TASKS = "tasks.json"
_MAX_NOTE_BYTES, _MAX_TASKS_BYTES = 4096, 128 << 20  # the latter for a million shards


@dataclass(frozen=True)
class Count:
    """Finished clips, built or skipped."""

    clips: int = 0
    skipped: int = 0  # of the clips
    frames: int = 0  # in the built clips

    def __add__(self, other: Count) -> Count:
        return Count(self.clips + other.clips, self.skipped + other.skipped, self.frames + other.frames)

    @classmethod
    def of(cls, result: ShardResult) -> Count:
        """The count of a finished shard."""
        return cls(len(result.summary.rows) + result.num_skipped, result.num_skipped, result.num_frames)


class ShardNotes:
    """Progress notes of the shards in progress: one file each in the work folder."""

    def __init__(self, work_folder: Path) -> None:
        self._folder = work_folder / "progress"
        self._last = float("-inf")  # not 0: the clock starts near 0 after a reboot

    def write(self, name: str, count: Count) -> None:
        """Write a shard's count, at most once a second."""
        if time.monotonic() - self._last >= _NOTE_EVERY_SECONDS:
            self._last = time.monotonic()
            # Under another name first, so that nobody reads half a file. The build does not depend on it.
            with contextlib.suppress(OSError):
                self._folder.mkdir(exist_ok=True)
                new = self._folder / f".{name}"
                new.write_text(json.dumps(asdict(count)))
                new.replace(self._folder / name)

    def read(self) -> dict[str, Count]:
        """All notes, by shard."""
        counts = {}
        for path in self._folder.glob("[!.]*"):
            try:
                counts[path.name] = decode_json(read_small(path, _MAX_NOTE_BYTES), Count, str(path))
            except (FileNotFoundError, IrregularFileError, ValueError):  # removed, no note, or cut off by a full disk
                continue
        return counts

    def remove(self, names: Iterable[str]) -> None:
        """Remove the notes of shards that are finished or not started."""
        for name in names:
            for path in (self._folder / name, self._folder / f".{name}"):
                path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove all notes: the build is finished."""
        shutil.rmtree(self._folder, ignore_errors=True)


def write_tasks(work_folder: Path, tasks: list[ShardTask]) -> None:
    """Write the list of shards to build."""
    noted = {task.name: (len(task.rows), task.fingerprint) for task in tasks}
    atomic_write_bytes(work_folder / _TASKS, json.dumps(noted).encode())


def read_tasks(work_folder: Path) -> dict[str, tuple[int, str]]:
    """The shards to build: name -> (clips, fingerprint).

    Raises:
        ValueError: no build was started here, or the file is damaged or too large.
        IrregularFileError: it is no regular file.
    """
    try:
        noted = read_small(work_folder / _TASKS, _MAX_TASKS_BYTES)
    except FileNotFoundError:
        raise ValueError(f"{work_folder}: no {_TASKS} found; no build was started here") from None
    return decode_json(noted, dict[str, tuple[int, str]], str(work_folder / _TASKS))


class BuildWatch:
    """Context manager that calls `progress` once a second with the state of a build.

    Args:
        notes: of the shards in progress.
        tasks: all tasks of the build.
        reused: results of shards that were already finished.
        progress: called with (clips done, total clips, a note).
    """

    def __init__(
        self, notes: ShardNotes, tasks: list[ShardTask], reused: list[ShardResult], progress: OnProgress
    ) -> None:
        self._notes, self._progress = notes, progress
        self._total = sum(len(task.rows) for task in tasks)
        self._open = {task.name for task in tasks} - {result.summary.name for result in reused}
        self._finished = self._before = sum(map(Count.of, reused), Count())
        self._started = time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BuildWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._report()

    def finished(self, result: ShardResult) -> None:
        """Count a shard as finished."""
        with self._lock:
            self._finished += Count.of(result)
            self._open.discard(result.summary.name)

    def _run(self) -> None:
        self._report()
        while not self._ended.wait(_NOTE_EVERY_SECONDS):
            self._report()

    def _report(self) -> None:
        with self._lock:
            in_progress = (count for name, count in self._notes.read().items() if name in self._open)
            now = sum(in_progress, self._finished)
        frames = (now.frames - self._before.frames) / max(time.monotonic() - self._started, 1e-9)
        self._progress(now.clips, self._total, f"{frames:.0f} frames/s, {now.skipped} skipped")
