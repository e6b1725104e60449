"""Shards of many tiny samples with one or two persons and true heatmaps: what the stream's laws are tested on."""

import hashlib
from pathlib import Path

import numpy as np

from epam_data.samples.heatmap import heatmap_scale, quantise
from epam_data.samples.prepare import draw_heatmap
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Sample
from epam_data.shards.index import index_bytes
from epam_data.shards.layout import INDEX, MANIFEST
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from epam_data.skeleton import COCO17, joint_is_missing
from epam_data.taxonomy import TAXONOMIES
from tests.data.raw_data import background, sample_info

CLASSES = TAXONOMIES["synthetic"]
NUM_TRAIN, NUM_VAL = 53, 29
PREPARE = PrepareSettings(rgb_size_px=32, heatmap_size_px=8, sigma_px=0.7)


def person_sample(number: int, split: str) -> Sample:
    """A sample of few frames; the classes are unequal: half of all samples are of class 0, a quarter of class 1 ..."""
    rng = np.random.default_rng((number, len(split)))
    label = min((number & -number).bit_length() - 1 if number else 5, 5)
    persons, frames = int(rng.integers(1, 3)), int(rng.integers(3, 12))
    keypoints = rng.uniform((5, 5, 0.2), (70, 80, 1.1), (persons, frames, 17, 3))
    keypoints[rng.random(keypoints.shape[:-1]) < 0.1] = 0
    keypoints = keypoints.astype(np.float16)
    heights = np.where(joint_is_missing(keypoints[..., :2], keypoints[..., 2]), 0, keypoints[..., 2])
    info = sample_info(
        key=f"{split}-{number}",
        name=f"{split}-{number}",
        split=split,
        label=label,
        coarse_label=CLASSES.coarse_of[label],
        num_frames=frames,
        video_frames=frames,
        skeleton_frames=frames,
        rgb_size_px=PREPARE.rgb_size_px,
        heatmap_size_px=PREPARE.heatmap_size_px,
        sigma_px=PREPARE.sigma_px,
        heatmap_scale=heatmap_scale(heights),
    )
    return Sample(
        info=info,
        keypoints=keypoints,
        heatmap=quantise(draw_heatmap(info, keypoints[..., :2], heights, COCO17), info.heatmap_scale),
        frames=np.stack([background((32, 32), number + frame) for frame in range(frames)]),
    )


def write_people(root: Path) -> Path:
    """53 training samples in shards of 7 and 29 evaluation samples, 6 classes."""
    root.mkdir(parents=True, exist_ok=True)
    settings, summaries = ShardSettings(), []
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for start in range(0, count, 7):
            with ShardWriter(root, f"{split}-{start // 7:06d}", split, settings) as writer:
                for number in range(start, min(start + 7, count)):
                    writer.write(person_sample(number, split))
                summaries.append(writer.finish())
    index = index_bytes(summaries)
    (root / INDEX).write_bytes(index)
    manifest = Manifest(
        dataset="synthetic",
        protocol=None,
        skeleton="coco17",
        joints=COCO17.joints,
        taxonomy="synthetic",
        classes=CLASSES.classes,
        groups=CLASSES.groups,
        coarse_of=CLASSES.coarse_of,
        prepare=PREPARE,
        shard=settings,
        sources={},
        versions={},
        problems={},
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(map(ShardEntry.of, summaries)),
    )
    (root / MANIFEST).write_bytes(manifest.to_json())
    return root
