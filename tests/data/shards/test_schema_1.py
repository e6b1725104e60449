"""Shards that were written as version 1 was released stay readable; SCHEMA.md says what that allows.

If a test here fails, the code has to change, not the shards: somebody has terabytes of them.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from epam_data.check.check import CheckSettings, check
from epam_data.shards.index import load_index
from epam_data.shards.layout import MANIFEST
from epam_data.shards.manifest import load_manifest
from epam_data.show.describe import read_sample
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings

ROOT = Path(__file__).parent / "schema_1"
CLIPS = {  # key: label, frames, SHA-256 of keypoints and heatmaps, mean of the frames
    "S001C001P000R001A001": (0, 20, "db7ab9ad22b9bcc8", "3e7fefacb8f7a8fa", 60.11),
    "S001C001P001R001A002": (1, 23, "a1d29dd783c4bf81", "e23cd3d69ec2702c", 60.21),
    "S001C001P002R001A003": (2, 26, "39a64a8f71e58e8a", "4d8e8ee10e1f0dde", 60.58),
}


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def test_every_member_means_what_it_meant() -> None:
    manifest, index = load_manifest(ROOT), load_index(ROOT)
    assert (manifest.dataset, manifest.protocol, len(manifest.classes)) == ("ntu60", "xsub", 60)
    assert [key.decode() for key in index.keys.tolist()] == list(CLIPS)
    for key, (label, num_frames, keypoints, heatmap, mean) in CLIPS.items():
        sample, _ = read_sample(ROOT, key)
        assert (sample.info.label, sample.info.num_frames) == (label, num_frames)
        assert (sha256(sample.keypoints), sha256(sample.heatmap)) == (keypoints, heatmap)
        assert abs(sample.frames.mean() - mean) < 1  # JPEG decoders differ in the last bit


def test_the_stream_reads_them() -> None:
    clips = StreamSettings(batch_size=2, rgb_frames=2, pose_frames=4, workers=0)
    stream = Stream(ROOT, split="train", settings=clips, training=True)
    (batch,) = stream.epoch(0)
    rgb, pose = BatchFinisher.for_shards(stream.manifest)(batch)
    assert sorted(batch.label.tolist()) == [0, 1]
    assert (rgb.shape, pose.shape) == ((2, 3, 2, 32, 32), (2, 17, 4, 8, 8))


def test_the_check_finds_nothing() -> None:
    report = check(ROOT, CheckSettings(sample="all", rgb=True), ExecutorSettings())
    assert not report.findings and report.num_deep == 3


@pytest.mark.parametrize("where", ["the manifest", "its shards' settings"])
def test_what_a_later_version_1_adds_is_passed_over(tmp_path: Path, where: str) -> None:
    root = shutil.copytree(ROOT, tmp_path / "shards")
    values = json.loads((root / MANIFEST).read_text())
    (values if where == "the manifest" else values["prepare"])["of_a_later_day"] = 1
    (root / MANIFEST).write_text(json.dumps(values))
    assert load_manifest(root).shards == load_manifest(ROOT).shards
