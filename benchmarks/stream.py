"""Clips per second of the stream, against the bare decoding and against `webdataset` on the same shards.

    python -m benchmarks.stream --shards shards/ntu60_xsub

Copies of the clips of a shard directory make an epoch. Each way delivers batches of 16 clips (16 frames of 224 x 224,
48 heatmaps of 56 x 56 per joint) as torch tensors in the training process, frames and all drawn at random, from the
page cache. The floor is one process that decodes the same bytes into the same memory again and again, without reading,
shuffling or handing over. The ways take turns; the best of the turns counts, since others disturb only to the worse.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
import webdataset
import zstandard
from torch.utils.data import DataLoader

from benchmarks.measure import publish
from epam_data.codec import decode_heatmap
from epam_data.index import INDEX, MANIFEST, ShardEntry, index_bytes, load_index, load_manifest
from epam_data.schema import SampleInfo
from epam_data.shard import ShardReader, ShardSettings, ShardWriter
from epam_data.stream import Stream, StreamSettings
from epam_data.stream.augment import draw_training

BATCH, NUM_CLIPS, SHARD_CLIPS, TURNS = 16, 768, 64, 3
SETTINGS = StreamSettings(batch_size=BATCH)


def write_copies(source: Path, target: Path) -> None:
    """Shards of `NUM_CLIPS` copies of the clips of `source`."""
    manifest, index = load_manifest(source), load_index(source)
    reader = ShardReader(source, [shard.name for shard in manifest.shards])
    clips = [reader.read_members(int(index.shard[row]), index.row(row)) for row in range(len(index))]
    shards = []
    for first in range(0, NUM_CLIPS, SHARD_CLIPS):
        with ShardWriter(target, f"train-{first // SHARD_CLIPS:06d}", "train", ShardSettings()) as writer:
            for number in range(first, first + SHARD_CLIPS):
                members = clips[number % len(clips)]
                values = {**json.loads(members["json"]), "key": f"clip-{number}", "split": "train"}
                info = SampleInfo.from_dict(values)
                writer.write_members(info, {**members, "json": json.dumps(values).encode()})
            shards.append(writer.finish())
    (target / INDEX).write_bytes(index_bytes(shards))
    manifest = replace(manifest, shards=tuple(map(ShardEntry.of, shards)))
    (target / MANIFEST).write_bytes(manifest.to_json())


def floor(root: Path) -> Iterator[int]:
    """Decode the frames and the volume of one batch into one place, for ever."""
    manifest, index = load_manifest(root), load_index(root)
    reader = ShardReader(root, [shard.name for shard in manifest.shards])
    clips = [reader.read_members(int(index.shard[row]), index.row(row)) for row in range(BATCH)]
    heads = [json.loads(members["json"]) for members in clips]
    size, heat, joints = heads[0]["rgb_size_px"], heads[0]["heatmap_size_px"], len(manifest.joints)
    rgb = np.empty((BATCH, SETTINGS.rgb_frames, size, size, 3), np.uint8)
    heatmap = np.empty((BATCH, SETTINGS.pose_frames, joints, heat, heat), np.uint8)
    for step in range(NUM_CLIPS // BATCH):
        for slot, (members, head) in enumerate(zip(clips, heads, strict=True)):
            draw = draw_training(head["num_frames"], SETTINGS, seed=0, epoch=0, position=step * BATCH + slot)
            volume = decode_heatmap(members["heatmap.npy.zst"])
            np.take(volume, draw.pose_frames, axis=0, out=heatmap[slot], mode="clip")
            mjpeg, offsets = memoryview(members["rgb.mjpeg"]), head["frame_offsets"]
            for frame, out in zip(draw.rgb_frames.tolist(), rgb[slot], strict=True):
                simplejpeg.decode_jpeg(mjpeg[offsets[frame] : offsets[frame + 1]], "RGB", buffer=out)
        yield BATCH


def ours(root: Path, workers: int) -> Callable[[], Iterator[int]]:
    """An epoch of our stream; its processes are started once."""
    stream = Stream(root, split="train", settings=replace(SETTINGS, workers=workers), training=True)
    epochs = iter(range(1000))

    def epoch() -> Iterator[int]:
        for batch in stream.epoch(next(epochs)):
            yield len(batch)

    return epoch


def decode_webdataset(sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """A sample as `webdataset` gives it -> tensors; what a user of it would write over our format."""
    head = json.loads(sample["json"])
    rng = np.random.default_rng()
    draw = draw_training(head["num_frames"], SETTINGS, seed=0, epoch=0, position=int(rng.integers(1 << 30)))
    volume = np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(sample["heatmap.npy.zst"])))
    offsets, mjpeg = head["frame_offsets"], sample["rgb.mjpeg"]
    frames = [
        simplejpeg.decode_jpeg(mjpeg[offsets[frame] : offsets[frame + 1]], "RGB") for frame in draw.rgb_frames.tolist()
    ]
    return torch.from_numpy(np.stack(frames)), torch.from_numpy(volume[draw.pose_frames]), head["label"]


def with_webdataset(root: Path, workers: int) -> Callable[[], Iterator[int]]:
    """An epoch of `webdataset` with its usual shuffles."""
    urls = sorted(map(str, root.glob("train-*.tar")))
    data = webdataset.WebDataset(urls, shardshuffle=len(urls), nodesplitter=None, empty_check=False)
    data = data.shuffle(100).map(decode_webdataset).batched(BATCH)
    loader = DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)

    def epoch() -> Iterator[int]:
        for rgb, _, _ in loader:
            yield len(rgb)

    return epoch


def clips_per_second(epoch: Callable[[], Iterator[int]]) -> float:
    """Of one epoch, from the first batch on: the start of the processes is measured apart."""
    batches = epoch()
    next(batches)
    begun, count = time.perf_counter(), 0
    for clips in batches:
        count += clips
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_copies(arguments.shards, root)
        ways: dict[str, Callable[[], Iterator[int]]] = {
            "floor: bare decoding, one process": lambda: floor(root),
            "ours, in the training process": ours(root, 0),
            "ours, 1 worker": ours(root, 1),
            "ours, 2 workers": ours(root, 2),
            "webdataset, 1 worker": with_webdataset(root, 1),
            "webdataset, 2 workers": with_webdataset(root, 2),
        }
        rates = dict.fromkeys(ways, 0.0)
        for _ in range(TURNS):
            for name, epoch in ways.items():
                rates[name] = max(rates[name], clips_per_second(epoch))
    bare = next(iter(rates.values()))
    publish(
        "stream",
        [
            {"way": name, "clips/s": rate, "of the floor": rate / bare, "ms per clip": 1e3 / rate}
            for name, rate in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
