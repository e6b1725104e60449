"""Find the video of a clip by its name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

VIDEO_ENDINGS = ("_rgb.avi", "_rgb.mp4", ".avi", ".mp4")

_EXPECTED = "expected NAME_rgb.avi, NAME_rgb.mp4, NAME.avi or NAME.mp4"
_MOST_ENTRIES = 200_000  # of the tree that is searched for what lies there instead
_LOOKED_AT = 100  # of the files in a folder that may hold frames
_SHOWN = 2
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class VideoFinder:
    """Finds the videos of a data set by name; lists each folder once."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder, expected the videos")
        self.root = root
        self._listings: dict[PurePosixPath, frozenset[str]] = {}
        self._stems: dict[PurePosixPath, dict[str, list[PurePosixPath]]] = {}

    def find(self, name: str) -> str | None:
        """The path relative to the root, or None.

        Looks for `NAME_rgb.avi`, `NAME_rgb.mp4`, `NAME.avi` and `NAME.mp4` in the folder part of `name`, then in the
        root. A name may end in `_rgb` already.
        """
        path = PurePosixPath(name)
        for folder in dict.fromkeys((path.parent, PurePosixPath())):
            for ending in VIDEO_ENDINGS:
                if path.name + ending in self._listing(folder):
                    return str(folder / (path.name + ending))
        return None

    def why_absent(self, name: str) -> str:
        """Why `find` finds nothing: what lies there in its place, with NAME for the last part of the clip's name.

        Looks where `find` does, then everywhere below the root. Clips whose videos are absent for one reason get one
        text, so that they can be counted.
        """
        path = PurePosixPath(name)
        near = dict.fromkeys((path.parent, PurePosixPath()))
        alike = [each for folder in near for each in self._by_stem(folder).get(_plain(path.name), ())]
        alike = alike or self._everywhere.get(_plain(path.name), [])
        if not alike:
            return "no video found"
        shown = ", ".join(self._described(each, path.name) for each in alike[:_SHOWN])
        more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
        return f"no video found, {_EXPECTED}; there is {shown}{more}"

    def _described(self, path: PurePosixPath, stem: str) -> str:
        what = path.name.replace(stem, "NAME", 1) if stem in path.name else path.name
        where = "" if path.parent == PurePosixPath() else f" in the folder {path.parent}"
        if not (self.root / path).is_dir():
            return f"{what}{where}"
        with os.scandir(self.root / path) as entries:
            has_pictures = any(entry.name.lower().endswith(_PICTURES) for entry in islice(entries, _LOOKED_AT))
        return f"{what}{where}, a folder{' of frames, which must be joined to a video' if has_pictures else ''}"

    def _by_stem(self, folder: PurePosixPath) -> dict[str, list[PurePosixPath]]:
        """The files and folders in a folder by their names without ending, `_rgb` and case."""
        if folder not in self._stems:
            self._stems[folder] = _grouped(folder / name for name in sorted(self._listing(folder)))
        return self._stems[folder]

    @cached_property
    def _everywhere(self) -> dict[str, list[PurePosixPath]]:
        """The same for all below the root, or what comes first in a large tree."""
        found: list[PurePosixPath] = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            relative = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [relative / name for name in (*folders, *sorted(files))]
            if len(found) > _MOST_ENTRIES:
                break
        return _grouped(found)

    def _listing(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._listings:
            path = self.root / folder
            self._listings[folder] = frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else frozenset()
        return self._listings[folder]


def _grouped(paths: Iterable[PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        for stem in {_plain(path.name), _plain(path.stem)}:
            found[stem].append(path)
    return dict(found)


def _plain(stem: str) -> str:
    return stem.casefold().removesuffix("_rgb")
