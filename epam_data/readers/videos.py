"""Find the video of a clip by its name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

VIDEO_ENDINGS = ("_rgb.avi", "_rgb.mp4", ".avi", ".mp4")


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
        for folder in dict.fromkeys((path.parent, PurePosixPath())):
            for ending in VIDEO_ENDINGS:
                if path.name + ending in self._listing(folder):
                    return str(folder / (path.name + ending))
        return None

    def _listing(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._listings:
            path = self.root / folder
            self._listings[folder] = frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else frozenset()
        return self._listings[folder]
