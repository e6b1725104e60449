"""Raw action-recognition recordings -> WebDataset shards with precomputed heatmaps -> exact streams.

The way of one clip through the package, one file each::

    raw --readers--> Clip --prepare--> Sample --codec--> shard --stream--> Batch
"""

from epam_data.heatmap import generate_pose_heatmap
from epam_data.schema import SCHEMA_VERSION, Clip, Sample

__version__ = "0.1.0"
__all__ = ["SCHEMA_VERSION", "Clip", "Sample", "generate_pose_heatmap"]
