"""The tool versions that the bytes of a shard depend on, and the differences between two tables of settings."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

_TOOLS = (
    "epam",
    "numpy",
    "av",
    "decord2",
    "simplejpeg",
    "zstandard",
    "h5py",
)  # their versions may change the bytes of a shard


def tool_versions() -> dict[str, str]:
    """Versions of this package and of the libraries that the bytes of a shard depend on."""
    return {name: version(name) for name in _TOOLS}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The values that differ between two tables of settings, as `key: old -> new`."""
    lines = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
