"""Clips per second on one core, in one run: from shards, and decoded with heatmaps generated on the fly.

    python -m benchmarks.loading --dataset ntu60 --videos videos --skeletons ntu60_hrnet.pkl --protocol xsub \
        --mmaction .venv-mmaction/bin/python

Batches of 16 clips with 16 RGB frames of 224 x 224 and 48 heatmaps per joint of 56 x 56, from the same recordings, with
random frames, in one process without workers. On the fly: MMAction2's transforms, on the recordings and, as EPAM-Net's
authors train, on videos of the persons' crops made in advance (`--mmaction` is an interpreter with MMAction2; `make
test-mmaction` creates one); and by hand, with decord for the chosen frames, Pillow for the crops and NumPy for the
heatmaps. From shards: webdataset with our decoding, and our stream, on enough copies for an epoch.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import av
import decord
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.copies import write_copies
from benchmarks.heatmap import numpy_heatmap
from benchmarks.measure import publish, seconds_per_call
from benchmarks.other_loaders import clips_per_second, with_webdataset
from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.readers.videos import VideoFinder
from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Sample, SampleInfo
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.settings import ShardSettings
from epam_data.show.describe import read_sample
from epam_data.skeleton import LAYOUTS
from epam_data.stream import Stream, StreamSettings
from epam_data.stream.order.draws import Draw, draw_training

BATCH, NUM_CLIPS, SHARD_CLIPS, TURNS = 16, 512, 64, 5
SETTINGS = StreamSettings(batch_size=BATCH, workers=0)


def video_of(videos: Path, info: SampleInfo) -> Path:
    """The recording of a clip."""
    found = VideoFinder(videos).find(info.name)
    assert found is not None
    return videos / found


def on_the_fly(
    videos: Path, info: SampleInfo, keypoints: NDArray[np.floating], draw: Draw
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One clip from the raw recording: (16, 224, 224, 3) uint8 and (48, V, 56, 56) float32."""
    frames = decord.VideoReader(str(video_of(videos, info)), num_threads=1).get_batch(draw.rgb_frames).asnumpy()
    x1, y1, x2, y2 = info.box
    size = (info.rgb_size_px, info.rgb_size_px)
    rgb = np.stack(
        [np.asarray(Image.fromarray(f[y1:y2, x1:x2]).resize(size, Image.Resampling.BILINEAR)) for f in frames]
    )
    chosen = keypoints[:, draw.pose_frames]
    heat_size = info.heatmap_size_px
    points = to_heatmap_pixels(chosen[..., :2], info.image_size, info.video_size, info.box, (heat_size, heat_size))
    return rgb, numpy_heatmap(points, chosen[..., 2].astype(np.float64), heat_size, info.sigma_px)


def by_hand(videos: Path, samples: list[Sample]) -> float:
    """Clips per second of `on_the_fly`."""

    def decode_batch() -> None:
        for position in range(BATCH):
            sample = samples[position % len(samples)]
            draw = draw_training(sample.info.num_frames, SETTINGS, seed=0, epoch=0, position=position)
            on_the_fly(videos, sample.info, sample.keypoints, draw)

    return BATCH / seconds_per_call(decode_batch, repeats=3)


def annotation(video: Path, size_hw: tuple[int, int], points: NDArray[Any], scores: NDArray[Any]) -> dict[str, Any]:
    """A clip as an annotation of MMAction2's `PoseDataset`."""
    return {
        "filename": str(video),
        "img_shape": size_hw,
        "original_shape": size_hw,
        "total_frames": points.shape[1],
        "keypoint": points.astype(np.float32),
        "keypoint_score": scores.astype(np.float32),
        "label": 0,
        "start_index": 0,
        "modality": "Pose",
    }


def write_crops(sample: Sample, path: Path) -> dict[str, Any]:
    """Writes the frames of a sample as a video, as EPAM-Net's authors do; returns its annotation."""
    info, size = sample.info, (sample.info.rgb_size_px, sample.info.rgb_size_px)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = size
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for frame in sample.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    points = to_heatmap_pixels(sample.keypoints[..., :2], info.image_size, info.video_size, info.box, size)
    return annotation(path, size, points, sample.keypoints[..., 2])


def with_mmaction(python: str, videos: Path, samples: list[Sample], skeleton: str, folder: Path) -> dict[str, float]:
    """Clips per second of MMAction2's transforms, on the recordings and on crops."""
    recordings = [
        annotation(video_of(videos, s.info), s.info.image_size, s.keypoints[..., :2], s.keypoints[..., 2])
        for s in samples
    ]
    content = {
        "flip_pairs": LAYOUTS[skeleton].flip_pairs,
        "recordings": recordings,
        "crops": [write_crops(sample, folder / f"{sample.info.key}.mp4") for sample in samples],
    }
    (folder / "clips.pkl").write_bytes(pickle.dumps(content))
    command = [python, "-m", "benchmarks.mmaction_loading", str(folder / "clips.pkl")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {way: 1 / seconds for way, seconds in json.loads(done.stdout.splitlines()[-1]).items()}


def from_shards(root: Path) -> tuple[float, float]:
    """Clips per second of webdataset and of our stream, in turns."""
    stream = Stream(root, split="train", settings=SETTINGS, training=True)
    rates = [
        (clips_per_second(with_webdataset(root, 0)), clips_per_second((batch.label,) for batch in stream.epoch(turn)))
        for turn in range(TURNS)
    ]
    theirs, ours = zip(*rates, strict=True)
    return median(theirs), median(ours)


def rows(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The table: the rate of each way, absolute and relative to MMAction2 (or to the first row)."""
    raw = RawSettings(videos=arguments.videos, skeletons=arguments.skeletons, protocol=arguments.protocol)
    shards, copies, crops = (folder / name for name in ("shards", "copies", "crops"))
    copies.mkdir()
    crops.mkdir()
    build(BuildPlan(dataset=arguments.dataset, raw=raw, prepare=PrepareSettings(), shard=ShardSettings(), out=shards))
    samples = [read_sample(shards, key.decode())[0] for key in load_index(shards).keys]
    rates = dict[str, float]()
    if arguments.mmaction:
        skeleton = load_manifest(shards).skeleton
        theirs = with_mmaction(arguments.mmaction, arguments.videos, samples, skeleton, crops)
        rates["MMAction2's transforms"] = theirs["recordings"]
        rates["MMAction2's transforms, on crops"] = theirs["crops"]
    rates["decord, Pillow and NumPy"] = by_hand(arguments.videos, samples)
    write_copies(shards, copies, clips=NUM_CLIPS, shard_clips=SHARD_CLIPS)
    rates["shards, webdataset"], rates["shards, our stream"] = from_shards(copies)
    first = next(iter(rates.values()))
    for way, rate in rates.items():
        yield {"loading": way, "clips/s per core": rate, "ms per clip": 1e3 / rate, "times faster": rate / first}


def main() -> None:
    """Build shards of the recordings, then time all ways on the same clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--skeletons", type=Path, required=True)
    parser.add_argument("--protocol")
    parser.add_argument("--mmaction", help="interpreter of an environment with MMAction2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        publish(f"loading_{arguments.dataset}", list(rows(arguments, Path(folder))))


if __name__ == "__main__":
    main()
