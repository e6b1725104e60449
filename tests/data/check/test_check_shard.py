import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from epam_data.check import check_shard
from epam_data.check.check_shard import CheckTask, ShardChecker
from epam_data.readers.videos import VideoFinder
from epam_data.shards.codec import decode
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from tests.data.damage import change_bytes


def task(root: Path, number: int, deep: frozenset[str]) -> CheckTask:
    index = load_index(root)
    rows = tuple(index.row(row) for row in np.flatnonzero(index.shard == number).tolist())
    return CheckTask(entry=load_manifest(root).shards[number], rows=rows, deep=deep)


def checker(root: Path, rgb: bool = False) -> ShardChecker:
    return ShardChecker(root=root, manifest=load_manifest(root), rgb=rgb, videos=None)


def test_what_is_measured_of_a_clip(ntu60_shards: Path):
    samples = {key: decode(members) for key, _, members in read_shard(ntu60_shards / "train-000000.tar")}
    deep = next(iter(samples))
    name, result = checker(ntu60_shards)(task(ntu60_shards, 0, frozenset([deep])))
    assert name == "train-000000" and result.findings == ()
    assert [clip.key for clip in result.measures] == [content.key for content in result.contents] == list(samples)
    for clip in result.measures:
        sample = samples[clip.key]
        x1, y1, x2, y2 = sample.info.box
        assert (clip.num_frames, clip.num_persons, clip.crop_px) == (sample.info.num_frames, 1, (y2 - y1, x2 - x1))
        scores = sample.keypoints[..., 2].astype(float).mean(axis=(0, 1))
        assert clip.joint_scores == pytest.approx(scores.tolist(), rel=1e-3)
        assert (clip.visible, clip.outside_image, clip.outside_crop, clip.decoded) == (1, 0, 0, False)
        assert (clip.heatmap_error is not None) == (clip.key == deep)


def test_rgb_decodes_the_clips_in_depth_alone(ntu60_shards: Path):
    job = task(ntu60_shards, 0, frozenset(row.key for row in task(ntu60_shards, 0, frozenset()).rows[:2]))
    _, result = checker(ntu60_shards, rgb=True)(job)
    assert [clip.decoded for clip in result.measures] == [True, True, False, False]


def test_every_clip_of_a_damaged_shard_is_checked_in_depth(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    job = task(root, 0, frozenset())
    change_bytes(root / "train-000000.tar", lambda data: data.__setitem__(257, data[257] ^ 1))  # the magic word "ustar"
    _, result = checker(root)(job)
    assert any("sha256" in finding.what for finding in result.findings)
    assert all(clip.decoded and clip.heatmap_error is not None for clip in result.measures) and result.measures


def test_a_checker_travels_to_other_processes(ntu60_shards: Path):
    job = task(ntu60_shards, 4, frozenset())
    assert pickle.loads(pickle.dumps(checker(ntu60_shards)))(pickle.loads(pickle.dumps(job))) == checker(ntu60_shards)(
        job
    )


def test_one_clip_that_no_check_foresaw_is_a_finding(ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch):
    job = task(ntu60_shards, 0, frozenset())
    bad, open_one = job.rows[1].key, check_shard.open_sample

    def opened(members, row, *others):
        if row.key == bad:
            raise KeyError("surprise")
        return open_one(members, row, *others)

    monkeypatch.setattr(check_shard, "open_sample", opened)
    _, result = checker(ntu60_shards)(job)
    assert [(f.shard, f.key, f.what) for f in result.findings] == [
        ("train-000000", bad, "cannot be checked (KeyError: 'surprise')")
    ]
    assert [clip.key for clip in result.measures] == [row.key for row in job.rows if row.key != bad]


def test_a_shard_that_cannot_be_read_is_a_finding(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    (root / "train-000000.tar").unlink()
    (root / "train-000000.tar").mkdir()
    _, result = checker(root)(task(root, 0, frozenset()))
    assert [finding.what for finding in result.findings] == ["cannot be read (Is a directory)"]


def test_folders_of_videos_are_listed_once(ntu60_raw: Path, ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(check_shard, "VideoFinder", lambda root: made.append(root) or VideoFinder(root))
    job = task(ntu60_shards, 0, frozenset(row.key for row in task(ntu60_shards, 0, frozenset()).rows))
    one = ShardChecker(root=ntu60_shards, manifest=load_manifest(ntu60_shards), rgb=False, videos=ntu60_raw / "videos")
    assert one(job)[1].findings == () and len(made) == 1
