"""The tool versions that the bytes of a shard depend on, and the differences between two tables of settings."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from epam_data.system.printable import brief, printable

_TOOLS = (
    "epam",
    "numpy",
    "av",
    "decord2",
    "simplejpeg",
    "zstandard",
    "h5py",
    "numba",
)  # their versions may change the bytes of a shard
_FFMPEG = ("libavformat", "libavcodec", "libswscale")  # PyAV may be built for the FFmpeg of the system


def tool_versions() -> dict[str, str]:
    """Versions of this package and of the libraries that the bytes of a shard depend on; "none" if one is absent.

    A build is not continued with other versions, so the frames of a shard directory are those of one decoder.
    """
    import av  # not above: commands that decode nothing import this module, too

    ffmpeg = {name: ".".join(map(str, av.library_versions[name])) for name in _FFMPEG}
    return {name: _version(name) for name in _TOOLS} | ffmpeg


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # there is no decord for some platforms
        return "none"


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The values that differ between two tables of settings, as `key: old -> new`."""
    lines = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{printable(key, 60)}.")
        elif before != after:
            lines.append(f"{prefix}{printable(key, 60)}: {_shown(before)} -> {_shown(after)}")
    return lines


def _shown(value: Any) -> str:
    return printable(value) if isinstance(value, str) else brief(value)
