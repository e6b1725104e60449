"""Shards without this package: webdataset, NumPy and zstandard (and Pillow for the frames) are enough."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import webdataset
import zstandard
from PIL import Image

if len(sys.argv) > 1:
    shards = Path(sys.argv[1])
else:
    from small_data import small_shards  # only to have shards to read

    shards = small_shards()

manifest = json.loads((shards / "manifest.json").read_text())
urls = [str(shards / f"{shard['name']}.tar") for shard in manifest["shards"] if shard["split"] == "val"]
for sample in webdataset.WebDataset(urls, shardshuffle=False):
    info = json.loads(sample["json"])
    keypoints = np.load(io.BytesIO(sample["keypoints.npy"]))  # (M, T, V, 3): x, y, score
    stored = np.load(io.BytesIO(zstandard.decompress(sample["heatmap.npy.zst"])))  # (T, V, h, w) uint8
    heatmap = stored.astype(np.float32) * info["heatmap_scale"] / 255
    start, end = info["frame_offsets"][:2]  # the frames are JPEGs, one after another
    first_frame = np.asarray(Image.open(io.BytesIO(sample["rgb.mjpeg"][start:end])))
    print(
        sample["__key__"],
        manifest["classes"][info["label"]],
        f"keypoints {keypoints.shape}, heatmaps {heatmap.shape} up to {heatmap.max():.2f}, frame {first_frame.shape}",
    )
