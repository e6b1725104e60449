"""The columnar skeleton store: all clips of a data set in one HDF5 file, from which workers read single rows.

Reading one clip from a skeleton pickle means reading all of it, gigabytes for NTU. The main process of a build reads
the pickles once and writes this file; workers then read only the rows of their tasks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from epam_data.readers.names import unique_keys
from epam_data.schema import STORED_SPLITS, Clip, Problem, label_from_stored, stored_label
from epam_data.system.files import atomic_write, temporary_path

_CHUNK_CLIPS = 1024
_MARGIN_BYTES = 4 << 20  # for two chunks of numbers and HDF5's own tables
_FORMAT = 2  # of this file; a store with another format is created again


def write_store(path: Path, clips: Iterable[Clip | Problem], sources: dict[str, str]) -> None:
    """Write the clips, the problems, and the names and hashes of the source files.

    Clips of one key get others, see `unique_keys`.

    Raises:
        ValueError: two clips have the same name.
    """
    columns = _Columns()
    problems: list[Problem] = []
    names: set[str] = set()
    with atomic_write(path) as whole, h5py.File(whole.name, "w") as file:
        points = {
            kind: file.create_dataset(kind, (0,), kind, maxshape=(None,), chunks=(1 << 18,), fletcher32=True)
            for kind in ("float16", "float32")
        }
        for clip in clips:
            if isinstance(clip, Problem):
                problems.append(clip)
                continue
            if clip.name in names:
                raise ValueError(f"{clip.name}: two clips of this name")
            names.add(clip.name)
            columns.add(clip)
            if columns.num_pending == _CHUNK_CLIPS:
                _reserve(path.parent, columns.pending_bytes)
                columns.flush(points)
        _reserve(path.parent, columns.pending_bytes + columns.num_bytes)
        columns.flush(points)
        columns.set_keys(problems)
        columns.write(file)
        file.attrs["format"] = _FORMAT
        file.attrs["sources"] = json.dumps(sources)
        file.create_dataset("problems", data=np.bytes_(json.dumps([asdict(problem) for problem in problems])))


def _reserve(folder: Path, num_bytes: int) -> None:
    """Raise an OSError if the disk has no room for `num_bytes`: HDF5 would crash the process when a write fails."""
    if not hasattr(os, "posix_fallocate"):
        return
    ballast = temporary_path(folder / "ballast")
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes + _MARGIN_BYTES)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, for the skeleton store", str(folder)) from error
    finally:
        ballast.unlink(missing_ok=True)


def stored_sources(path: Path) -> dict[str, str] | None:
    """Names and hashes of the source files of a store; None if there is no readable store."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != _FORMAT:
                return None
            sources: dict[str, str] = json.loads(file.attrs["sources"])
            return sources
    except (OSError, KeyError):
        return None


class SkeletonStore:
    """Read access to a store; open one per process."""

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "r")
        self._columns: dict[str, Any] = {name: self._file[name][()] for name in _COLUMNS}
        self.names = [name.decode() for name in self._file["name"][()]]
        self.keys = [key.decode() for key in self._file["key"][()]]

    def __len__(self) -> int:
        return len(self.keys)

    def __enter__(self) -> SkeletonStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def problems(self) -> list[Problem]:
        """Records that the reader could not turn into clips."""
        return [Problem(**values) for values in json.loads(self._file["problems"][()])]

    def rows_of_split(self, split: str) -> NDArray[np.int64]:
        """Rows of a split's clips, in the order of the source files."""
        return np.flatnonzero(self._columns["split"] == STORED_SPLITS.index(split))

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(N,) number of frames of each clip's skeletons."""
        frames: NDArray[np.int64] = self._columns["shape"][:, 1].astype(np.int64)
        return frames

    def split(self, row: int) -> str:
        """The split of a clip."""
        return STORED_SPLITS[self._columns["split"][row]]

    def clip(self, row: int, video: Path | None) -> Clip:
        """One clip, with the given video."""
        column = {name: values[row] for name, values in self._columns.items()}
        shape = tuple(column["shape"].tolist())
        kind = "float32" if column["is_float32"] else "float16"
        start = int(column["start"])
        try:
            values = self._file[kind][start : start + 3 * int(np.prod(shape))]
        except OSError as error:  # a wrong checksum, or the disk
            what = f"{self._file.filename}: damaged ({error})"
            raise ValueError(f"{what}; remove it, and the next build recreates it") from error
        xy, scores = np.split(values, [2 * int(np.prod(shape))])
        return Clip(
            key=self.keys[row],
            name=self.names[row],
            split=self.split(row),
            label=label_from_stored(int(column["label"])),
            keypoints=xy.reshape(*shape, 2),
            scores=scores.reshape(shape),
            image_size=(int(column["image_size"][0]), int(column["image_size"][1])),
            video=video,
        )


_COLUMNS = {
    "split": "u1",
    "label": "i4",
    "image_size": "i4",
    "shape": "i4",  # (M, T, V)
    "is_float32": "?",
    "start": "i8",  # first of the clip's 3 M T V numbers in the dataset of its dtype: x and y, then scores
}


class _Columns:
    """Rows in memory, and pending numbers that are appended in large blocks."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {name: [] for name in ("key", "name", *_COLUMNS)}
        self.pending: dict[str, list[Any]] = {"float16": [], "float32": []}
        self.length = {"float16": 0, "float32": 0}

    @property
    def num_pending(self) -> int:
        return sum(map(len, self.pending.values())) // 2

    @property
    def pending_bytes(self) -> int:
        return sum(array.nbytes for arrays in self.pending.values() for array in arrays)

    @property
    def num_bytes(self) -> int:
        """Size of the columns; keys and names are padded to the longest."""
        widths = [max(map(len, self.rows[name]), default=0) for name in ("key", "name")]
        return len(self.rows["key"]) * (sum(widths) + 40)

    def add(self, clip: Clip) -> None:
        kind = clip.keypoints.dtype.name
        values = {
            "key": clip.key.encode(),
            "name": clip.name.encode(),
            "split": STORED_SPLITS.index(clip.split),
            "label": stored_label(clip.label),
            "image_size": clip.image_size,
            "shape": clip.scores.shape,
            "is_float32": kind == "float32",
            "start": self.length[kind],
        }
        for name, value in values.items():
            self.rows[name].append(value)
        self.pending[kind] += [clip.keypoints.ravel(), clip.scores.ravel()]
        self.length[kind] += clip.keypoints.size + clip.scores.size

    def set_keys(self, problems: Sequence[Problem]) -> None:
        """Give each clip a key of its own."""
        names = [name.decode() for name in self.rows["name"]]
        keys = {name: key.decode() for name, key in zip(names, self.rows["key"], strict=True)}
        unique = unique_keys(keys, (problem.name for problem in problems))
        self.rows["key"] = [unique[name].encode() for name in names]

    def flush(self, points: dict[str, Any]) -> None:
        for kind, arrays in self.pending.items():
            if arrays:
                block = np.concatenate(arrays)
                start = len(points[kind])
                points[kind].resize(start + len(block), axis=0)
                points[kind][start:] = block  # not [-len(block):], a clip may hold no person
                arrays.clear()

    def write(self, file: Any) -> None:
        for name in ("key", "name"):
            file.create_dataset(name, data=np.array(self.rows[name], "S"))
        for name, dtype in _COLUMNS.items():
            shape = {"image_size": (-1, 2), "shape": (-1, 3)}.get(name, (-1,))
            file.create_dataset(name, data=np.array(self.rows[name], dtype).reshape(shape))
