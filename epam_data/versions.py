"""The tool versions that the bytes of a shard depend on, and the differences between two tables of settings."""

from __future__ import annotations

from importlib.metadata import version
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
            lines += differences(before, after, f"{prefix}{printable(key, 60)}.")
        elif before != after:
            lines.append(f"{prefix}{printable(key, 60)}: {_shown(before)} -> {_shown(after)}")
    return lines


def _shown(value: Any) -> str:
    return printable(value) if isinstance(value, str) else brief(value)
