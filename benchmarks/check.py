"""Clips per second of a check in depth, on one core: `python -m benchmarks.check`.

A clip of NTU's size: 84 frames of 224 x 224, one person of 17 joints, heatmaps of 56 x 56. In depth means everything
except the pixels of the JPEGs: hashes, tar, members, offsets and headers of all frames, the heatmap against the
reference and its invariants, and the crop. The plain reference generates and compares complete heatmap volumes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import publish, seconds_per_call
from epam_data.check.check_shard import CheckTask, ShardChecker
from epam_data.check.reference import reference_heatmap
from epam_data.check.rules.alignment import expected_box
from epam_data.check.rules.heatmaps import heatmap_error
from epam_data.samples.heatmap import quantise
from epam_data.samples.prepare import draw_heatmap
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Sample, SampleInfo
from epam_data.shards.codec import USUAL_CODECS
from epam_data.shards.layout import ShardSummary
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from epam_data.skeleton import COCO17
from epam_data.synth import figure_motion
from epam_data.taxonomy import TAXONOMIES

CLIPS, FRAMES = 8, 84
PREPARE = PrepareSettings()


def make_clip(number: int) -> Sample:
    """A moving figure in a 1080p image; the frames have a texture, so that the JPEGs have a realistic size."""
    rng = np.random.default_rng(number)
    points = figure_motion(number % 6, FRAMES, rng, rng) * 700 + (960, 1000) + rng.normal(0, 2, (FRAMES, 17, 2))
    keypoints = np.concatenate([points, rng.uniform(0.6, 0.95, (FRAMES, 17, 1))], axis=-1)[None].astype(np.float16)
    values = dict.fromkeys(("video_frames", "skeleton_frames", "num_frames"), FRAMES)
    info = SampleInfo(
        **values,
        key=f"clip-{number}",
        name=f"clip-{number}",
        split="train",
        label=number,
        coarse_label=TAXONOMIES["ntu60"].coarse_of[number],
        image_size=(1080, 1920),
        video_size=(1080, 1920),
        box=(0, 0, 1920, 1080),
        rgb_size_px=PREPARE.rgb_size_px,
        heatmap_size_px=PREPARE.heatmap_size_px,
        heatmap_kind=PREPARE.heatmap_kind,
        sigma_px=PREPARE.sigma_px,
        heatmap_scale=1.0,
        skeleton="coco17",
    )
    info = SampleInfo(**{**info.__dict__, "box": expected_box(info, keypoints, PREPARE)})
    heatmap = quantise(draw_heatmap(info, keypoints[..., :2], keypoints[..., 2], COCO17), 1.0)
    return Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=_frames(rng))


def _frames(rng: np.random.Generator) -> NDArray[np.uint8]:
    coarse = rng.integers(40, 200, (FRAMES, 28, 28, 3), dtype=np.uint8)
    fine: NDArray[np.uint8] = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return fine


def shard_of(clips: list[Sample], folder: Path) -> tuple[Manifest, ShardSummary]:
    """The clips as one shard, and a manifest with the fields that the check needs."""
    with ShardWriter(folder, "train-000000", "train", ShardSettings()) as writer:
        for clip in clips:
            writer.write(clip)
        summary = writer.finish()
    table = TAXONOMIES["ntu60"]
    values: dict[str, Any] = dict.fromkeys(Manifest.__dataclass_fields__)
    values |= {name: getattr(table, name) for name in ("classes", "groups", "coarse_of")}
    values |= {"skeleton": "coco17", "joints": COCO17.joints, "prepare": PREPARE, "codecs": USUAL_CODECS}
    return Manifest(**values), summary


def main() -> None:
    """Time the check, with and without decoding, and the plain reference on the same clips."""
    clips = [make_clip(number) for number in range(CLIPS)]
    with tempfile.TemporaryDirectory() as folder:
        manifest, summary = shard_of(clips, Path(folder))
        keys = frozenset(clip.info.key for clip in clips)

        def seconds(*, deep: bool, rgb: bool = False) -> float:
            task = CheckTask(entry=ShardEntry.of(summary), rows=summary.rows, deep=keys if deep else frozenset())
            checker = ShardChecker(root=Path(folder), manifest=manifest, rgb=rgb, videos=None)
            findings = checker(task)[1].findings
            assert not findings, json.dumps([str(finding) for finding in findings])
            return seconds_per_call(lambda: checker(task)) / CLIPS

        breadth, depth, decoded = seconds(deep=False), seconds(deep=True), seconds(deep=True, rgb=True)

    def plain() -> None:
        for clip in clips:
            np.abs(
                clip.heatmap / 255 - reference_heatmap(clip.info, clip.keypoints, use_scores=True, layout=COCO17)
            ).max()

    def sparse() -> None:
        for clip in clips:
            heatmap_error(clip.info, clip.keypoints, clip.heatmap, use_scores=True, layout=COCO17)

    slow, fast = seconds_per_call(plain) / CLIPS, seconds_per_call(sparse) / CLIPS
    plain_depth = depth - fast + slow  # the check in depth if it used the plain reference
    rows = [
        ("breadth only", breadth),
        ("depth", depth),
        ("depth and every frame decoded (--rgb)", decoded),
        ("reference where a pixel may not be 0", fast),
        ("reference over the complete volume", slow),
        ("depth, with the complete reference", plain_depth),
    ]
    publish(
        "check",
        [{"what": what, "clips/s per core": 1 / s, "ms per clip": s * 1e3, "of depth": s / depth} for what, s in rows],
    )


if __name__ == "__main__":
    main()
