"""Raw action-recognition recordings -> WebDataset shards with precomputed heatmaps -> exact streams.

The path of one clip through the package::

    raw --readers--> Clip --prepare--> Sample --codec--> shard --stream--> Batch
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epam_data.samples.heatmap import generate_pose_heatmap
    from epam_data.schema import SCHEMA_VERSION, Clip, Sample

__version__ = "0.1.0"
__all__ = ["SCHEMA_VERSION", "Clip", "Sample", "generate_pose_heatmap"]

# Loaded on first use, so that commands start without NumPy and loader workers without numba.
_MODULES = {
    "SCHEMA_VERSION": "schema",
    "Clip": "schema",
    "Sample": "schema",
    "generate_pose_heatmap": "samples.heatmap",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
