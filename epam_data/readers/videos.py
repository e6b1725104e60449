"""Find the video of a clip by its name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

VIDEO_ENDINGS = ("_rgb.avi", "_rgb.mp4", ".avi", ".mp4")

OTHER_ENDINGS = (".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv")
"""Endings of videos that have others names than ours: they are named where no video was found."""

_MOST_ENTRIES = 200_000  # of a tree that is searched for what lies there instead


class VideoFinder:
    """Finds the videos of a data set by name; lists each folder once."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder, expected the videos")
        self.root = root
        self._listings: dict[PurePosixPath, frozenset[str]] = {}
        self._plain_names: dict[PurePosixPath, dict[str, list[PurePosixPath]]] = {}

    def find(self, name: str) -> str | None:
        """The path relative to the root, or None.

        Looks for `NAME_rgb.avi`, `NAME_rgb.mp4`, `NAME.avi` and `NAME.mp4` in the folder part of `name`, then in the
        root. A name that has the ending of a video stands for that file, too, or for one with another of ours.
        """
        path = PurePosixPath(name)
        for folder in self._folders(path):
            for file in _files_of(path.name):
                if file in self._listing(folder):
                    return str(folder / file)
        return None

    def describe_absence(self, name: str) -> str:
        """What lies there in place of the video that `find` did not find, for a message.

        Looks where `find` does, then everywhere below the root; capital letters and other endings do not matter.
        """
        path = PurePosixPath(_without_ending(name))
        near = [entry for folder in self._folders(path) for entry in self._alike(folder).get(_plain(path.name), ())]
        for entry in near or self._everywhere.get(_plain(path.name), []):
            is_video = entry.suffix.lower() in (*OTHER_ENDINGS, *VIDEO_ENDINGS)
            if not is_video and not (self.root / entry).is_dir():
                continue
            if not is_video:
                return f"{entry} is a folder: frames as pictures are not read, only videos"
            if not near:
                return f"{entry} is there: move it to the video folder, or put its folder into the clip's name"
            return f"{entry} is there: rename or convert it to {path.name}.mp4 or {path.name}.avi"
        where = f"{path.parent} or the video folder" if path.parent != PurePosixPath() else "the video folder"
        return f"expected {path.name}.avi, {path.name}.mp4, or with _rgb before the ending, in {where}"

    def _folders(self, path: PurePosixPath) -> tuple[PurePosixPath, ...]:
        return tuple(dict.fromkeys((path.parent, PurePosixPath())))

    def _alike(self, folder: PurePosixPath) -> dict[str, list[PurePosixPath]]:
        """What is in a folder, see `_by_plain_name`."""
        if folder not in self._plain_names:
            self._plain_names[folder] = _by_plain_name(folder / name for name in sorted(self._listing(folder)))
        return self._plain_names[folder]

    @cached_property
    def _everywhere(self) -> dict[str, list[PurePosixPath]]:
        """The same for all that is below the root, or comes first in a large tree."""
        found: list[PurePosixPath] = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            relative = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [relative / name for name in (*folders, *sorted(files))]
            if len(found) > _MOST_ENTRIES:
                break
        return _by_plain_name(found)

    def _listing(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._listings:
            path = self.root / folder
            self._listings[folder] = frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else frozenset()
        return self._listings[folder]


def _files_of(name: str) -> Iterator[str]:
    """The names that the file of a clip may have, the usual ones first."""
    yield from (name + ending for ending in VIDEO_ENDINGS)
    plain = _without_ending(name)
    if plain != name:
        if name.lower().endswith(VIDEO_ENDINGS):
            yield name
        yield from (plain + ending for ending in VIDEO_ENDINGS)


def _without_ending(name: str) -> str:
    """A clip's name without the ending of a video, if it has one."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (*OTHER_ENDINGS, *VIDEO_ENDINGS) else name


def _by_plain_name(paths: Iterable[PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    """Videos of any ending, and folders, by their names without ending, `_rgb` and capital letters."""
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        if path.suffix.lower() in (*OTHER_ENDINGS, *VIDEO_ENDINGS):
            found[_plain(path.stem)].append(path)
        else:
            found[_plain(path.name)].append(path)  # a folder, if it is one
    return dict(found)


def _plain(name: str) -> str:
    return name.casefold().removesuffix("_rgb")
