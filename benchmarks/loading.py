"""Clips per second on one core: from shards, and decoded and painted on the fly, in one run.

    python -m benchmarks.loading --dataset ntu60 --videos videos --skeletons ntu60_hrnet.pkl --protocol xsub

Batches of 16 clips of 16 RGB frames of 224 x 224 and 48 heatmaps of every joint on 56 x 56, from the same recordings,
with the same random frames. On the fly: decord decodes the drawn frames, which are cropped and resized; NumPy paints.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import decord
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.heatmap import numpy_heatmap
from benchmarks.measure import publish, seconds_per_call
from epam_data.build import build
from epam_data.heatmap import to_heatmap_pixels
from epam_data.index import load_index, load_manifest
from epam_data.inspect import read_sample
from epam_data.plan import BuildPlan
from epam_data.prepare import PrepareSettings
from epam_data.readers import RawSettings
from epam_data.schema import SampleInfo
from epam_data.shard import ShardSettings
from epam_data.stream import StreamSettings
from epam_data.stream.augment import Draw, draw_training
from epam_data.stream.dataset import ClipReader
from epam_data.video import VideoFinder

BATCH = 16
SETTINGS = StreamSettings()


def on_the_fly(
    videos: Path, info: SampleInfo, keypoints: NDArray[np.floating], draw: Draw
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One clip from the raw recording: (16, 224, 224, 3) uint8 and (48, V, 56, 56) float32."""
    found = VideoFinder(videos).find(info.name)
    assert found is not None
    frames = decord.VideoReader(str(videos / found), num_threads=1).get_batch(draw.rgb_frames).asnumpy()
    x1, y1, x2, y2 = info.box
    size = (info.rgb_size_px, info.rgb_size_px)
    rgb = np.stack(
        [np.asarray(Image.fromarray(f[y1:y2, x1:x2]).resize(size, Image.Resampling.BILINEAR)) for f in frames]
    )
    chosen = keypoints[:, draw.pose_frames]
    heat_size = info.heatmap_size_px
    points = to_heatmap_pixels(chosen[..., :2], info.image_size, info.video_size, info.box, (heat_size, heat_size))
    return rgb, numpy_heatmap(points, chosen[..., 2].astype(np.float64), heat_size, info.sigma_px)


def main() -> None:
    """Build shards of the recordings, then time both ways on the same clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--skeletons", type=Path, required=True)
    parser.add_argument("--protocol")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        raw = RawSettings(videos=arguments.videos, skeletons=arguments.skeletons, protocol=arguments.protocol)
        out = Path(folder)
        plan = BuildPlan(dataset=arguments.dataset, raw=raw, prepare=PrepareSettings(), shard=ShardSettings(), out=out)
        build(plan)
        index = load_index(out)
        reader = ClipReader(out, load_manifest(out), index)
        rows = np.arange(BATCH) % len(index)
        positions = np.arange(BATCH, dtype=np.int64)

        def draws() -> list[Draw]:
            return [
                draw_training(int(index.num_frames[row]), SETTINGS, seed=0, epoch=0, position=int(position))
                for row, position in zip(rows, positions, strict=True)
            ]

        raw_clips = [read_sample(out, key.decode())[0] for key in index.keys]

        def decode_batch() -> None:
            for row, draw in zip(rows, draws(), strict=True):
                on_the_fly(arguments.videos, raw_clips[row].info, raw_clips[row].keypoints, draw)

        slow = seconds_per_call(decode_batch, repeats=3) / BATCH
        fast = seconds_per_call(lambda: reader.read_batch(rows, positions, draws()), repeats=9) / BATCH
    publish(
        f"loading_{arguments.dataset}",
        [
            {"loading": "decord + NumPy", "clips/s per core": 1 / slow, "ms per clip": slow * 1e3, "times faster": 1.0},
            {"loading": "shards", "clips/s per core": 1 / fast, "ms per clip": fast * 1e3, "times faster": slow / fast},
        ],
    )


if __name__ == "__main__":
    main()
