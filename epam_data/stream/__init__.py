"""Shards -> batches: exact epochs that do not depend on ranks or workers. The only part that needs torch.

The names below are loaded on first use: the loader's worker processes use this package without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epam_data.stream.batch import Batch
    from epam_data.stream.device import BatchFinisher
    from epam_data.stream.sequential import SequentialStream
    from epam_data.stream.settings import StreamSettings
    from epam_data.stream.stream import Stream

__all__ = ["Batch", "BatchFinisher", "SequentialStream", "Stream", "StreamSettings"]

_MODULES = {
    "Batch": "batch",
    "BatchFinisher": "device",
    "SequentialStream": "sequential",
    "Stream": "stream",
    "StreamSettings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
