"""Raw action-recognition recordings -> WebDataset shards with precomputed heatmaps -> exact streams.

The way of one clip through the package, one file each::

    raw --readers--> Clip --prepare--> Sample --codec--> shard --stream--> Batch
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epam_data.schema import SCHEMA_VERSION, Clip, Sample

if TYPE_CHECKING:
    from epam_data.samples.heatmap import generate_pose_heatmap

__version__ = "0.1.0"
__all__ = ["SCHEMA_VERSION", "Clip", "Sample", "generate_pose_heatmap"]


def __getattr__(name: str) -> Any:
    if name != "generate_pose_heatmap":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Loaded when it is asked for: a loader's worker starts in half the time without numba.
    from epam_data.samples.heatmap import generate_pose_heatmap

    return generate_pose_heatmap
