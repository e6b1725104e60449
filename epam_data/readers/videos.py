"""Find the video of a clip by its name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

VIDEO_ENDINGS = ("_rgb.avi", "_rgb.mp4", ".avi", ".mp4")

OTHER_ENDINGS = (".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv")
"""Endings of videos that have others names than ours: they are named where no video was found."""


class VideoFinder:
    """Finds the videos of a data set by name; lists each folder once."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder, expected the videos")
        self.root = root
        self._listings: dict[PurePosixPath, frozenset[str]] = {}

    def find(self, name: str) -> str | None:
        """The path relative to the root, or None.

        Looks for `NAME_rgb.avi`, `NAME_rgb.mp4`, `NAME.avi` and `NAME.mp4` in the folder part of `name`, then in the
        root.
        """
        path = PurePosixPath(name)
        for folder in self._folders(path):
            for ending in VIDEO_ENDINGS:
                if path.name + ending in self._listing(folder):
                    return str(folder / (path.name + ending))
        return None

    def describe_absence(self, name: str) -> str:
        """What lies there in place of the video that `find` did not find, for a message."""
        path = PurePosixPath(name)
        for folder in self._folders(path):
            for entry in sorted(self._listing(folder)):
                stem, dot, ending = entry.rpartition(".")
                is_named = (stem or entry).removesuffix("_rgb") == path.name.removesuffix("_rgb")
                if is_named and f"{dot}{ending}".lower() in (*OTHER_ENDINGS, ".avi", ".mp4"):
                    return f"{folder / entry} is there: rename or convert it to {path.name}.mp4 or {path.name}.avi"
                if entry == path.name and (self.root / folder / entry).is_dir():
                    return f"{folder / entry} is a folder: frames as pictures are not read, only videos"
        where = f"{path.parent} or the video folder" if path.parent != PurePosixPath() else "the video folder"
        return f"expected {path.name}.avi, {path.name}.mp4, or with _rgb before the ending, in {where}"

    def _folders(self, path: PurePosixPath) -> tuple[PurePosixPath, ...]:
        return tuple(dict.fromkeys((path.parent, PurePosixPath())))

    def _listing(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._listings:
            path = self.root / folder
            self._listings[folder] = frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else frozenset()
        return self._listings[folder]
