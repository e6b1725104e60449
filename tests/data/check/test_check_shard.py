import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.check import check_shard
from epam_data.check.check_shard import CheckTask, ClipMeasures, Depth, ShardChecker, ShardFindings
from epam_data.check.rules.finding import Finding
from epam_data.check.rules.motion import MAX_LAG, Motion
from epam_data.readers.videos import VideoFinder
from epam_data.shards.codec import decode, encode
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from tests.data.check.rules.test_members import ENTRY, manifest, row
from tests.data.damage import change_bytes, rewrite_first, with_json, with_sample
from tests.data.raw_data import make_sample


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
    assert any(finding.check == "tar" and finding.offset == 0 for finding in result.findings)
    assert any("the member is missing" in finding.what for finding in result.findings)
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
    assert [(f.check, f.shard, f.what) for f in result.findings] == [
        ("shard", "train-000000", "cannot be read (Is a directory)")
    ]
    (root / "train-000000.tar").rmdir()
    _, result = checker(root)(task(root, 0, frozenset()))
    assert [(f.check, f.shard, f.what) for f in result.findings] == [("shard", "train-000000", "the shard is missing")]
    assert result.measures == result.contents == ()


def test_a_shard_of_another_size_is_a_finding(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    entry = load_manifest(root).shards[0]
    for size in (0, 512):
        (root / "train-000000.tar").write_bytes(bytes(size))
        first = checker(root)(task(root, 0, frozenset()))[1].findings[0]
        assert (first.check, first.what) == ("shard", f"has {size} bytes, the manifest says {entry.num_bytes}")


def test_what_identifies_a_clip_is_16_bytes_of_the_hashes_of_two_members(ntu60_shards: Path):
    _, result = checker(ntu60_shards)(task(ntu60_shards, 0, frozenset()))
    for content, (key, _, members) in zip(result.contents, read_shard(ntu60_shards / "train-000000.tar"), strict=True):
        assert (content.key, content.split) == (key, "train")
        assert content.digests == {
            name: hashlib.sha256(members[ending]).digest()[:16]
            for name, ending in (("frames", "rgb.mjpeg"), ("keypoints", "keypoints.npy"))
        }


def found_after(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], root: Path, tmp_path: Path, rgb: bool = True
) -> tuple[str, ShardFindings]:
    """The key of the first clip after that change of its members, and what a look in depth finds."""
    copy = Path(shutil.copytree(root, tmp_path / "shards"))
    key = rewrite_first(copy, change)
    job = task(copy, 0, frozenset())
    return key, checker(copy, rgb)(CheckTask(entry=job.entry, rows=job.rows, deep=frozenset(r.key for r in job.rows)))[
        1
    ]


def places(result: ShardFindings) -> list[tuple[str, str, str]]:
    return [(finding.check, finding.key, finding.member) for finding in result.findings]


@pytest.mark.parametrize(
    ("ending", "check"), [("json", "json"), ("keypoints.npy", "keypoints"), ("heatmap.npy.zst", "heatmap")]
)
def test_a_member_that_does_not_open_is_said_once(ending: str, check: str, ntu60_shards: Path, tmp_path: Path):
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return with_json(members, schema=9) if ending == "json" else {**members, ending: b"x" * 40}

    key, result = found_after(change, ntu60_shards, tmp_path)
    assert places(result) == [(check, key, ending)]
    assert key not in {clip.key for clip in (*result.measures, *result.contents)} and len(result.measures) == 3


def test_a_frame_that_is_no_jpeg_is_said_once_and_nothing_is_decoded(ntu60_shards: Path, tmp_path: Path):
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return {**with_json(members, frame_crc32=None), "rgb.mjpeg": b"xx" + members["rgb.mjpeg"][2:]}

    _, result = found_after(change, ntu60_shards, tmp_path)
    (named,) = result.findings
    assert named.check == "frames" and named.what.startswith("frame 0 is not a JPEG")
    assert named.offset == load_index(tmp_path / "shards").row(0).member_offsets()[-1]
    assert [clip.decoded for clip in result.measures] == [False, True, True, True]


def test_pixels_that_do_not_decode_are_said_with_their_place(ntu60_shards: Path, tmp_path: Path):
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        end = int(json_of(members)["frame_offsets"][3])
        data = bytearray(members["rgb.mjpeg"])
        data[end - 40 : end - 2] = b"\xff\xd9" * 19
        return {**with_json(members, frame_crc32=None), "rgb.mjpeg": bytes(data)}

    def json_of(members: dict[str, bytes]) -> Any:
        return json.loads(members["json"])

    key, result = found_after(change, ntu60_shards, tmp_path)
    (found,) = result.findings
    offsets = json_of(next(members for _, _, members in read_shard(ntu60_shards / "train-000000.tar")))["frame_offsets"]
    start = load_index(tmp_path / "shards").row(0).member_offsets()[-1]
    assert (found.check, found.key, found.offset) == ("frames", key, start + offsets[2])
    assert found.what.startswith("frame 2") and not result.measures[0].decoded


def test_a_heatmap_that_is_not_its_keypoints_is_said_by_each_rule(ntu60_shards: Path, tmp_path: Path):
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return with_sample(members, heatmap=decode(members).heatmap // 2)

    key, result = found_after(change, ntu60_shards, tmp_path, rgb=False)
    assert set(places(result)) == {("heatmap", key, "heatmap.npy.zst")}
    said = " ".join(finding.what for finding in result.findings)
    assert "differs from the reference" in said and "the pixel at a joint is too low" in said
    assert result.measures[0].heatmap_error > 0.1


def test_a_box_beside_the_person_is_said_in_depth_alone(ntu60_shards: Path, tmp_path: Path):
    key, result = found_after(lambda members: with_json(members, box=[0, 0, 60, 60]), ntu60_shards, tmp_path)
    assert ("alignment", key, "keypoints.npy") in places(result)
    shallow = checker(tmp_path / "shards")(task(tmp_path / "shards", 0, frozenset()))[1]
    assert shallow.findings == ()


@pytest.mark.parametrize(("lag", "is_said"), [(0, False), (5, True), (None, False)])
def test_a_shift_between_frames_and_joints_is_said(
    lag: int | None, is_said: bool, ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch
):
    curve = [0.1] * (2 * MAX_LAG + 1)
    curve[MAX_LAG + (lag or 0)] = 0.7
    motion = None if lag is None else Motion(curve=tuple(curve))
    monkeypatch.setattr(check_shard, "motion_of", lambda *_: motion)
    rows = task(ntu60_shards, 0, frozenset()).rows
    job = task(ntu60_shards, 0, frozenset([rows[1].key]))
    _, result = checker(ntu60_shards, rgb=True)(job)
    wanted = [Finding(check="alignment", shard="train-000000", key=rows[1].key, member="keypoints.npy",
                      offset=rows[1].member_offsets()[1], what=motion.alarm)] if is_said else []  # fmt: skip
    assert list(result.findings) == wanted
    assert [clip.motion for clip in result.measures] == [None, motion, None, None]


def test_recordings_that_are_not_there_are_said_of_the_clips_in_depth(ntu60_shards: Path, tmp_path: Path):
    rows = task(ntu60_shards, 0, frozenset()).rows
    one = ShardChecker(root=ntu60_shards, manifest=load_manifest(ntu60_shards), rgb=False, videos=tmp_path)
    _, result = one(task(ntu60_shards, 0, frozenset([rows[2].key])))
    (found,) = result.findings
    assert (found.check, found.key) == ("alignment", rows[2].key) and found.what.startswith("no video of")
    assert checker(ntu60_shards).finder is None


def measured(keypoints: np.ndarray) -> ClipMeasures:
    """The measures of one clip with those keypoints, not in depth."""
    sample = make_sample()
    changed = type(sample)(info=sample.info, keypoints=keypoints.astype(np.float16), heatmap=sample.heatmap,
                           frames=sample.frames)  # fmt: skip
    members = {ending: memoryview(data) for ending, data in encode(changed).items()}
    one = ShardChecker(root=Path(), manifest=manifest(), rgb=False, videos=None)
    faults, measures = one.check_clip(members, row(), ENTRY, deep=False, rgb=False)
    assert faults == () and measures is not None
    assert measures.jpeg_bytes == len(members["rgb.mjpeg"]) and measures.shard == "train-000000"
    assert (measures.heatmap_error, measures.decoded, measures.motion) == (None, False, None)
    return measures


def test_persons_and_scores_count_where_they_are_visible():
    keypoints = np.zeros((3, 6, 17, 3))
    keypoints[0, :3, 4] = (30, 20, 0.5)  # joint 4 of the first person, in half of the frames
    keypoints[0, 5, 4] = (30, 20, 1.0)
    keypoints[2, 0, 4] = (40, 30, 0.25)
    keypoints[2, 1, 6] = (40, 0, 0.75)
    clip = measured(keypoints)
    assert clip.num_persons == 2 and clip.num_frames == 6 and clip.crop_px == (58, 50)
    assert clip.joint_scores[4] == pytest.approx((3 * 0.5 + 1.0 + 0.25) / 5) and clip.joint_scores[6] == 0.75
    assert len(clip.joint_scores) == 17 and np.isnan(clip.joint_scores).sum() == 15
    assert clip.visible == pytest.approx(6 / (3 * 6 * 17))
    assert measured(np.zeros((1, 6, 17, 3))).num_persons == 0


def test_what_was_not_looked_at_has_no_measure():
    assert Depth() == Depth(faults=(), heatmap_error=None, decoded=False, motion=None)
    values = dict.fromkeys(("key", "shard", "num_frames", "jpeg_bytes", "num_persons", "joint_scores", "crop_px",
                            "visible", "outside_image", "outside_crop"))  # fmt: skip
    clip = ClipMeasures(**values)
    assert (clip.heatmap_error, clip.decoded, clip.motion) == (None, False, None)


def test_folders_of_videos_are_listed_once(ntu60_raw: Path, ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(check_shard, "VideoFinder", lambda root: made.append(root) or VideoFinder(root))
    job = task(ntu60_shards, 0, frozenset(row.key for row in task(ntu60_shards, 0, frozenset()).rows))
    one = ShardChecker(root=ntu60_shards, manifest=load_manifest(ntu60_shards), rgb=False, videos=ntu60_raw / "videos")
    assert one(job)[1].findings == () and len(made) == 1
