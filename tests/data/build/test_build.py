"""Builds: the same bytes whatever the workers, interruptions and folders; each failed clip with its reason."""

import json
import os
import re
import shutil
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from epam_data.build import build_shard as build_module
from epam_data.build.build import BuildOptions, BuildReport, build, build_part, finalise, ingest
from epam_data.build.build_shard import FIRST_CLIPS, BugError, make_members
from epam_data.build.estimate import estimate
from epam_data.build.ingest import INPUTS
from epam_data.build.plan import BuildPlan, ClipLimits, Selection, ShardTask, clips_of, plan_tasks
from epam_data.build.receipts import ShardResult
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.check.check import CheckSettings, check
from epam_data.readers import RawSettings
from epam_data.readers.ntu60 import missing_skeletons
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Clip
from epam_data.shards.index import load_index
from epam_data.shards.layout import MANIFEST, PROBLEMS
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from epam_data.shards.settings import ShardSettings
from epam_data.system import executors
from epam_data.system.executors import ExecutorSettings
from epam_data.system.folder_lock import FolderLock
from epam_data.system.isolated import IsolatedProcess, ProcessStartError
from tests.data.raw_data import (
    SMALL,
    annotation,
    cut_avi,
    folder_bytes,
    ntu60_plan,
    ntu_name,
    person,
    write_ntu60,
    write_pickle,
    write_recording,
)

ABSENT = "expected NAME.avi, NAME.mp4, or with _rgb before the ending, in the video folder"


@pytest.fixture(scope="module")
def small_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 training clips and 1 validation clip."""
    return write_ntu60(tmp_path_factory.mktemp("small_raw"), 5, 1)


@pytest.fixture(scope="module")
def small_built(small_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_raw` as shards of 2, 2, 1 and 1. Read only."""
    out = tmp_path_factory.mktemp("small_built")
    build(small_plan(small_raw, out))
    return out


def small_plan(raw: Path, out: Path, /, **changes: Any) -> BuildPlan:
    return ntu60_plan(raw, out, **{"shard": ShardSettings(samples_per_shard=2), **changes})


# The same bytes


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_do_not_depend_on_workers_or_folder(
    ntu60_raw: Path, ntu60_shards: Path, tmp_path: Path, workers: int
) -> None:
    build(ntu60_plan(ntu60_raw, tmp_path / "elsewhere" / "deep"), BuildOptions(where=ExecutorSettings(workers=workers)))
    expected = folder_bytes(ntu60_shards)
    assert set(expected) == {
        *(MANIFEST, PROBLEMS, "index.h5"),
        *(f"train-{number:06d}.tar" for number in range(4)),
        *(f"val-{number:06d}.tar" for number in range(2)),
    }
    assert folder_bytes(tmp_path / "elsewhere" / "deep") == expected


def test_bytes_do_not_depend_on_where_the_raw_data_lie(small_raw: Path, small_built: Path, tmp_path: Path) -> None:
    shutil.copytree(small_raw, tmp_path / "moved")
    build(small_plan(tmp_path / "moved", tmp_path / "out"))
    assert folder_bytes(tmp_path / "out") == folder_bytes(small_built)


def test_a_finished_build_leaves_no_temporary_files(small_built: Path) -> None:
    assert [path for path in small_built.rglob("*") if "partial" in path.name] == []


def tasks_of(plan: BuildPlan) -> list[ShardTask]:
    plan.store.parent.mkdir(parents=True, exist_ok=True)
    sources = ingest(plan, restart=True)
    with SkeletonStore(plan.store) as store:
        return plan_tasks(plan, store, sources)


def test_the_plan_is_pure(small_raw: Path, tmp_path: Path) -> None:
    shutil.copytree(small_raw, tmp_path / "moved")
    one = tasks_of(small_plan(small_raw, tmp_path / "one"))
    assert one == tasks_of(small_plan(tmp_path / "moved", tmp_path / "two"))
    assert [(task.name, task.split, len(task.rows)) for task in one] == [
        *(("train-000000", "train", 2), ("train-000001", "train", 2), ("train-000002", "train", 1)),
        ("val-000000", "val", 1),
    ]
    assert sorted(row for task in one for row in task.rows) == list(range(6))
    assert all(video == f"{ntu_name(row, row % 60 + 1)}_rgb.avi" for task in one for row, video in
               zip(task.rows, task.videos, strict=True))  # fmt: skip


def test_clips_are_shuffled_by_the_seed(ntu60_raw: Path, tmp_path: Path) -> None:
    orders = [
        [
            row
            for task in tasks_of(
                ntu60_plan(ntu60_raw, tmp_path, shard=ShardSettings(samples_per_shard=size, shuffle_seed=seed))
            )
            for row in task.rows
        ]
        for seed, size in ((0, 4), (1, 4), (0, 3))
    ]
    assert orders[0] != sorted(orders[0]) and orders[0] != orders[1]
    assert orders[0] == orders[2], "how many clips a shard takes does not change the order"
    assert set(orders[0][:14]) == set(range(14)), "splits do not mix"


@pytest.mark.parametrize(
    "changes",
    [
        {"prepare": replace(SMALL, sigma_px=0.7)},
        {"prepare": replace(SMALL, pad_image=True)},
        {"shard": ShardSettings(samples_per_shard=2, jpeg_quality=80)},
        {"shard": ShardSettings(samples_per_shard=2, zstd_level=1)},
        {"dataset": "synthetic"},
    ],
)
def test_a_fingerprint_covers_every_setting(small_raw: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    before = tasks_of(small_plan(small_raw, tmp_path))
    after = tasks_of(small_plan(small_raw, tmp_path, **changes))
    assert {task.fingerprint for task in before}.isdisjoint(task.fingerprint for task in after)


def test_a_new_pickle_under_an_old_name_is_read(small_raw: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(small_raw, raw)
    before = tasks_of(small_plan(raw, tmp_path / "out"))
    names = [ntu_name(number, number + 1) for number in range(2)]
    content = {
        "split": {"xsub_train": names, "xsub_val": []},
        "annotations": [annotation(name, n, person(20)[None]) for n, name in enumerate(names)],
    }
    write_pickle(raw / "skeletons.pkl", content)
    after = tasks_of(small_plan(raw, tmp_path / "out"))
    assert len(before) == 4 and [len(task.rows) for task in after] == [2]


def test_the_protocol_chooses_the_splits(small_raw: Path, tmp_path: Path) -> None:
    for protocol, sizes in (("xsub", {"train": 5, "val": 1}), ("xview", {"train": 1, "val": 5})):
        tasks = tasks_of(small_plan(small_raw, tmp_path, protocol=protocol))
        assert {s: sum(len(t.rows) for t in tasks if t.split == s) for s in ("train", "val")} == sizes


def test_ma52_has_its_splits_and_hides_its_test_labels(ma52_shards: Path) -> None:
    manifest, index = load_manifest(ma52_shards), load_index(ma52_shards)
    labels = {}
    for number, shard in enumerate(manifest.shards):
        rows = index.shard == number
        labels[shard.split] = sorted(zip(index.label[rows], index.coarse_label[rows], strict=True))
    assert labels == {
        "train": [(0, 0), (7, 1), (14, 2), (21, 2)],
        "val": [(0, 0), (7, 1)],
        "test": [(-1, -1), (-1, -1)],
    }
    for _, _, members in read_shard(ma52_shards / "test-000000.tar"):
        values = json.loads(members["json"])
        assert values["label"] is None and values["coarse_label"] is None
    assert manifest.skeleton == "ma52_28" and manifest.protocol is None


# Resume


@pytest.fixture
def copied(small_built: Path, tmp_path: Path) -> Path:
    """A finished build that may be changed."""
    return Path(shutil.copytree(small_built, tmp_path / "out"))


def test_a_finished_build_is_not_built_again(small_raw: Path, small_built: Path, copied: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in copied.glob("*.tar")}
    report = build(small_plan(small_raw, copied))
    assert (report.num_shards, report.num_reused, report.num_samples) == (4, 4, 6)
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*.tar")} == stamps
    assert folder_bytes(copied) == folder_bytes(small_built)
    assert report.num_bytes == sum(path.stat().st_size for path in copied.glob("*.tar"))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "deleted": Path.unlink,
    "flipped": flip_a_bit,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-512]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "no receipt": lambda path: (path.parent / ".build" / "receipts" / f"{path.stem}.json").unlink(),
    "half a receipt": lambda path: (path.parent / ".build" / "receipts" / f"{path.stem}.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_shard_is_built_again(small_raw: Path, small_built: Path, copied: Path, damage: Any) -> None:
    damage(copied / "train-000001.tar")
    report = build(small_plan(small_raw, copied))
    assert (report.num_shards, report.num_reused) == (4, 3)
    assert folder_bytes(copied) == folder_bytes(small_built)


def test_a_lost_store_is_made_again(small_raw: Path, small_built: Path, copied: Path) -> None:
    plan = small_plan(small_raw, copied)
    plan.store.unlink()
    (copied / MANIFEST).unlink()
    assert build(plan).num_reused == 4
    assert folder_bytes(copied) == folder_bytes(small_built)


def test_an_interrupted_build_goes_on(
    small_raw: Path, small_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(small_raw, tmp_path)
    built = build_module.build_shard

    def stop_at_the_second(plan: BuildPlan, task: ShardTask) -> ShardResult:
        if task.name != "train-000000":
            raise KeyboardInterrupt
        return built(plan, task)

    monkeypatch.setattr(build_module, "build_shard", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        build(plan)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["train-000000.tar"]
    report = build(plan)
    assert (report.num_reused, report.num_samples) == (1, 6)
    assert folder_bytes(tmp_path) == folder_bytes(small_built)


def test_a_folder_with_another_build_is_refused_and_kept(small_raw: Path, small_built: Path, copied: Path) -> None:
    plan = small_plan(small_raw, copied, shard=ShardSettings(samples_per_shard=8))
    message = (
        f"{copied} holds a build of other inputs (shard.samples_per_shard: 2 -> 8); "
        "give another folder, or --restart to replace it"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(plan)
    assert folder_bytes(copied) == folder_bytes(small_built)


def test_shards_of_an_earlier_plan_are_removed(small_raw: Path, copied: Path) -> None:
    report = build(small_plan(small_raw, copied, shard=ShardSettings(samples_per_shard=8)), BuildOptions(restart=True))
    assert (report.num_shards, report.num_reused) == (2, 0)
    assert sorted(path.name for path in copied.glob("*.tar")) == ["train-000000.tar", "val-000000.tar"]


def test_a_video_that_comes_later_is_built_in(small_raw: Path, small_built: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(small_raw, tmp_path / "raw"))
    video = raw / "videos" / f"{ntu_name(2, 3)}_rgb.avi"
    data = video.read_bytes()
    video.unlink()
    plan = small_plan(raw, tmp_path / "out")
    report = build(plan)
    assert [problem.reason for problem in report.problems] == [
        f"{ntu_name(2, 3)}: no video found; {ABSENT}".replace("NAME", ntu_name(2, 3))
    ]
    assert (report.num_samples, report.num_skipped) == (5, 1)
    video.write_bytes(data)
    report = build(plan)
    assert (report.num_samples, report.num_reused, report.problems) == (6, 3, ())
    assert folder_bytes(tmp_path / "out") == folder_bytes(small_built)


# Clips that fail


class Broken:
    """An NTU set in which most clips are bad in their own way: `add` a clip, keep the reason that is expected."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.annotations: list[dict[str, Any]] = []
        self.reasons: dict[str, tuple[str, str]] = {}

    def add(self, number: int, reason: str | None, action: str = "skipped", **changes: Any) -> Path:
        name = changes.get("frame_dir", ntu_name(number, number))
        keypoints = person(20, seed=number)
        self.annotations.append(annotation(name, number - 1, keypoints[None], **changes))
        if reason is not None:
            self.reasons[name] = (action, reason.replace("NAME", name))
        video = self.root / "videos" / f"{ntu_name(number, number)}_rgb.avi"
        write_recording(video, keypoints, seed=number)
        return video


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Broken, BuildReport, Path]:
    """The broken set, built."""
    root = tmp_path_factory.mktemp("broken")
    clips = Broken(root / "raw")
    for number in (1, 2, 3):
        clips.add(number, None)
    clips.add(4, f"NAME: no video found; {ABSENT}").unlink()
    clips.add(5, r"NAME_rgb\.avi: not a readable video \(.*").write_bytes(np.random.default_rng(0).bytes(4000))
    clips.add(6, r"NAME_rgb\.avi: .*").write_bytes(b"")
    nan = np.full((1, 20, 17, 2), np.nan, np.float32)
    clips.add(7, "NAME: no person, every joint of every frame is missing", keypoint=nan)
    clips.add(8, "NAME: no person, every joint of every frame is missing", keypoint_score=np.zeros((1, 20, 17)))
    clips.add(9, r"NAME: keypoints must be \(M, T, V, 2\), got \(20, 17, 2\)", keypoint=nan[0])
    joints = {"keypoint": person(20, 28)[None], "keypoint_score": None}
    clips.add(10, "NAME: coco17 has 17 joints, got 28", **joints)
    nobody = {"keypoint": np.ones((0, 20, 17, 2), np.float32), "keypoint_score": None}
    clips.add(11, "NAME: no person, got 0 persons and 20 frames", **nobody)
    video = clips.add(12, "NAME: the video gives 8 frames, the skeleton has 20; at least 50% must overlap")
    video.write_bytes(cut_avi(video.read_bytes(), 8))
    video = clips.add(
        18, "NAME: the video gives 14 frames, the skeleton has 20; the first 14 are used", action="mended"
    )
    video.write_bytes(cut_avi(video.read_bytes(), 14))
    video = clips.add(19, r"NAME_rgb\.avi: decoding failed \(.*\)")
    video.write_bytes(cut_avi(video.read_bytes(), 14)[:-60])  # inside a frame
    video = clips.add(20, r"NAME_rgb\.avi: not a regular file, expected a video")
    video.unlink()
    os.mkfifo(video)  # it would block whoever opens it
    longer = {"keypoint": np.tile(person(15, seed=13), (1, 2, 1, 1)), "keypoint_score": None}
    clips.add(
        13, "NAME: the video gives 20 frames, the skeleton has 30; the first 20 are used", action="mended", **longer
    )
    clips.add(14, "NAME: the name says label 13, the annotation says 5", label=5)
    clips.add(
        15,
        r"'\.\./S001C001P015R001A015': a name must stay inside the video folder, got a path that leaves it",
        frame_dir="../S001C001P015R001A015",
    )
    clips.add(16, "x y: expected a name like S001C001P001R001A001", frame_dir="x y")
    listed = "S001C002P005R002A008"
    clips.add(8, f"{listed}: on the data set's list of .*", frame_dir=listed, action="excluded")
    gone = ntu_name(17, 17)
    clips.reasons[gone] = (
        "skipped",
        rf"{gone}: listed in split val, but skeletons\.pkl has no annotation of that name",
    )
    names = [fields["frame_dir"] for fields in clips.annotations]
    write_pickle(
        root / "raw" / "skeletons.pkl",
        {"split": {"xsub_train": names, "xsub_val": [gone]}, "annotations": clips.annotations},
    )
    plan = ntu60_plan(root / "raw", root / "out", prepare=replace(SMALL, max_frame_difference=4))
    return clips, build(plan), root


def test_each_bad_clip_is_recorded_with_its_reason(broken: tuple[Broken, BuildReport, Path]) -> None:
    clips, report, root = broken
    lines = [json.loads(line) for line in (root / "out" / PROBLEMS).read_text().splitlines()]
    assert lines == [dict(problem.__dict__) for problem in report.problems]
    assert {line["name"] for line in lines} == set(clips.reasons) and len(lines) == len(clips.reasons)
    for line in lines:
        action, reason = clips.reasons[line["name"]]
        assert line["action"] == action and line["split"] in ("train", "val")
        assert re.fullmatch(reason, line["reason"]), line


def test_the_other_clips_are_built(broken: tuple[Broken, BuildReport, Path]) -> None:
    _, report, root = broken
    built = {key for path in (root / "out").glob("*.tar") for key, _, _ in read_shard(path)}
    assert built == {ntu_name(number, number) for number in (1, 2, 3, 13, 18)}
    assert report.num_samples == 5 == len(load_index(root / "out"))
    manifest = load_manifest(root / "out")
    assert manifest.problems == {"excluded": 1, "mended": 2, "skipped": 15}
    assert report.num_skipped == 15
    assert sum(shard.num_samples for shard in manifest.shards) == 5


def test_problems_survive_a_resume(broken: tuple[Broken, BuildReport, Path]) -> None:
    _, report, root = broken
    before = folder_bytes(root / "out")
    plan = ntu60_plan(root / "raw", root / "out", prepare=replace(SMALL, max_frame_difference=4))
    again = build(plan)
    assert again.problems == report.problems and again.num_reused == again.num_shards
    assert folder_bytes(root / "out") == before


def test_reasons_do_not_hold_the_place_of_the_raw_data(broken: tuple[Broken, BuildReport, Path]) -> None:
    _, _, root = broken
    assert str(root) not in (root / "out" / PROBLEMS).read_text()


def test_whatever_a_clip_raises_is_recorded(small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        """Decodes in this process; one clip finds a bug."""

        def call(self, function: Any, plan: BuildPlan, clip: Any) -> Any:
            if clip.key == ntu_name(1, 2):
                raise RuntimeError("a bug in a library")
            return function(plan, clip)

    monkeypatch.setattr(build_module, "_clip_process", lambda limits: Process())
    report = build(small_plan(small_raw, tmp_path))
    assert report.num_samples == 5
    (problem,) = report.problems
    assert (problem.name, problem.action) == (ntu_name(1, 2), "skipped")
    assert problem.reason == f"{ntu_name(1, 2)}: RuntimeError('a bug in a library')"


def make_members_with_a_bug(plan: BuildPlan, clip: Clip) -> Any:
    """Called in the decoding process; on one clip a line of ours asks None for its shape."""
    return make_members(plan, clip if clip.key != ntu_name(1, 2) else replace_unchecked(clip, keypoints=None))


def replace_unchecked(clip: Clip, **changes: Any) -> Any:
    return SimpleNamespace(**{**vars(clip), **changes})


def make_members_that_a_library_fails(plan: BuildPlan, clip: Clip) -> Any:
    """Called in the decoding process; on one clip, Python code outside of our package raises."""
    if clip.key == ntu_name(1, 2):
        json.dumps(object())
    return make_members(plan, clip)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_of_ours_ends_the_build_with_its_place(
    small_raw: Path, small_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    plan = small_plan(small_raw, tmp_path)
    monkeypatch.setattr(build_module, "make_members", make_members_with_a_bug)
    monkeypatch.setattr(executors, "local_executor", ThreadPoolExecutor)  # a process would not see the line above
    message = rf"{ntu_name(1, 2)}: AttributeError\(.*'shape'.* is a bug of epam_data, please report it"
    with pytest.raises(BugError, match=message) as caught:
        build(plan, BuildOptions(where=ExecutorSettings(workers=workers)))
    assert re.search(r'prepare\.py", line \d+, in _check_clip', "".join(traceback.format_exception(caught.value)))
    with pytest.raises(BugError, match=message):
        estimate(plan)
    monkeypatch.undo()
    assert build(plan).num_samples == 6
    assert folder_bytes(tmp_path) == folder_bytes(small_built)


def test_the_same_error_in_a_library_costs_its_clip_alone(
    small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "make_members", make_members_that_a_library_fails)
    (problem,) = build(small_plan(small_raw, tmp_path)).problems
    assert problem.reason.startswith(f"{ntu_name(1, 2)}: TypeError('Object of type object is not JSON serializable')")


def make_members_or_hang(plan: BuildPlan, clip: Clip) -> Any:
    """Called in the decoding process, as `make_members` is; one clip makes it hang."""
    if clip.key == ntu_name(1, 2):
        signal.pause()
    return make_members(plan, clip)


def test_a_video_that_hangs_the_decoder_costs_its_clip_alone(
    small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "make_members", make_members_or_hang)
    report = build(small_plan(small_raw, tmp_path, limits=ClipLimits(clip_seconds=10)))
    assert [problem.reason for problem in report.problems] == [f"{ntu_name(1, 2)}: took over 10 s and was stopped"]
    assert (report.num_samples, report.num_skipped) == (5, 1)


def test_a_video_that_crashes_the_decoder_costs_its_clip_alone(small_raw: Path, tmp_path: Path) -> None:
    """decord reserves memory for each frame that a header announces, and dies where it gets none; PyAV does not ask."""
    raw = Path(shutil.copytree(small_raw, tmp_path / "raw"))
    video = raw / "videos" / f"{ntu_name(1, 2)}_rgb.avi"
    data = bytearray(video.read_bytes())
    for place in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    video.write_bytes(data)
    report = build(small_plan(raw, tmp_path / "decord", prepare=replace(SMALL, decoder="decord")))
    (problem,) = report.problems
    assert problem.reason == f"{ntu_name(1, 2)}: the decoding process died 2 times: by SIGABRT"
    assert (report.num_samples, report.num_skipped) == (5, 1)
    assert build(small_plan(raw, tmp_path / "pyav")).num_samples == 6


def test_the_302_listed_recordings_are_excluded(small_raw: Path, tmp_path: Path) -> None:
    names = [*sorted(missing_skeletons()), ntu_name(0, 1)]
    content = {
        "split": {"xsub_train": names, "xsub_val": []},
        "annotations": [annotation(ntu_name(0, 1), 0, person(20)[None])],
    }
    pickle = write_pickle(tmp_path / "ntu60.pkl", content)
    raw = RawSettings(videos=small_raw / "videos", skeletons=pickle, protocol="xsub")
    report = build(small_plan(small_raw, tmp_path / "out", raw=raw))
    assert report.num_samples == 1 and report.num_skipped == 0
    assert load_manifest(tmp_path / "out").problems == {"excluded": 302}


# What stops a build


@pytest.mark.parametrize("layout", ["one list", "two splits"])
def test_two_records_of_one_key_get_their_own(small_raw: Path, tmp_path: Path, layout: str) -> None:
    names = [f"a/{ntu_name(0, 1)}", f"b/{ntu_name(0, 1)}"]
    splits = {"xsub_train": names, "xsub_val": []}
    if layout == "two splits":
        splits = {"xsub_train": names[:1], "xsub_val": names[1:]}
    annotations = [annotation(name, 0, person(20)[None]) for name in names]
    pickle = write_pickle(tmp_path / "all.pkl", {"split": splits, "annotations": annotations})
    raw = RawSettings(videos=small_raw / "videos", skeletons=pickle, protocol="xsub")
    build(small_plan(small_raw, tmp_path / "out", raw=raw))
    assert set(load_index(tmp_path / "out").row_of_key) == {f"a-{ntu_name(0, 1)}", f"b-{ntu_name(0, 1)}"}
    where = ExecutorSettings(workers=0)
    report = check(tmp_path / "out", CheckSettings(sample="all", skeletons=pickle), where)
    assert {finding.check for finding in report.findings} <= {"duplicate"}, "one video stands for both here"


def test_a_set_whose_records_are_all_refused_says_why(small_raw: Path, tmp_path: Path) -> None:
    names = ["one", "two", ntu_name(0, 1)]
    annotations = [annotation(name, 0, person(20)[None]) for name in names]
    annotations[2]["keypoint"] = annotations[2]["keypoint"] / 1000
    pickle = write_pickle(tmp_path / "all.pkl", {"split": {"xsub_train": names}, "annotations": annotations})
    raw = RawSettings(videos=small_raw / "videos", skeletons=pickle, protocol="xsub")
    with pytest.raises(ValueError) as caught:
        build(small_plan(small_raw, tmp_path / "out", raw=raw))
    first, second, third = str(caught.value).splitlines()
    assert first == f"{pickle}: no usable clip of protocol 'xsub'; all 3 records were refused:"
    assert second.strip().endswith("such as: one: expected a name like S001C001P001R001A001") and "2 x" in second
    assert "1 x keypoint must be in pixels" in third
    lines = [json.loads(line) for line in (tmp_path / "out" / PROBLEMS).read_text().splitlines()]
    assert [line["name"] for line in lines] == names


def test_an_unknown_data_set_lists_the_known(tmp_path: Path) -> None:
    known = "ma52, ntu60, synthetic, or module:NAME of a reader of your own"
    with pytest.raises(ValueError, match=f"^dataset must be one of {known}, got 'kinetics'$"):
        small_plan(tmp_path, tmp_path, dataset="kinetics")


def test_absent_raw_data_are_named(small_raw: Path, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "none", tmp_path / "out")
    message = f"{tmp_path / 'none' / 'skeletons.pkl'}: no such file, expected a skeleton pickle"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(plan)
    raw = RawSettings(videos=tmp_path / "none", skeletons=small_raw / "skeletons.pkl", protocol="xsub")
    with pytest.raises(ValueError, match=r"none: no such folder, expected the videos$"):
        build(small_plan(small_raw, tmp_path / "out", raw=raw))


def test_a_protocol_without_a_clip_is_refused(small_raw: Path, tmp_path: Path) -> None:
    pickle = write_pickle(tmp_path / "all.pkl", {"split": {"xsub_train": []}, "annotations": []})
    raw = RawSettings(videos=small_raw / "videos", skeletons=pickle, protocol="xsub")
    with pytest.raises(ValueError, match=r"all\.pkl: no usable clip of protocol 'xsub'$"):
        build(small_plan(small_raw, tmp_path / "out", raw=raw))


def test_a_split_whose_clips_all_fail_makes_an_empty_shard(small_raw: Path, tmp_path: Path) -> None:
    raw = RawSettings(videos=tmp_path, skeletons=small_raw / "skeletons.pkl", protocol="xsub")
    report = build(small_plan(small_raw, tmp_path / "out", raw=raw))
    assert (report.num_samples, report.num_skipped, report.num_shards) == (0, 6, 4)
    assert len(load_index(tmp_path / "out")) == 0


# Clips that all fail


@pytest.fixture(scope="module")
def many_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip more than are tried first, without a single video."""
    root = tmp_path_factory.mktemp("many_raw")
    names = [ntu_name(number, number + 1) for number in range(FIRST_CLIPS + 1)]
    annotations = [annotation(name, number, person(20)[None]) for number, name in enumerate(names)]
    write_pickle(root / "skeletons.pkl", {"split": {"xsub_train": names, "xsub_val": []}, "annotations": annotations})
    (root / "videos").mkdir()
    return root


def add_video(raw: Path, out: Path, number: int) -> str:
    """Write the video of one of the clips, counted in the order of the build; returns its name."""
    plan = small_plan(raw, out)
    tasks = tasks_of(plan)
    with SkeletonStore(plan.store) as store:
        name = store.names[list(clips_of(tasks))[number][0]]
    write_recording(raw / "videos" / f"{name}_rgb.avi", person(20))
    return name


def test_a_build_whose_first_clips_all_fail_for_one_reason_stops(many_raw: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(many_raw, tmp_path / "raw"))
    add_video(raw, tmp_path / "order", FIRST_CLIPS)  # the last one: it comes too late
    plan = small_plan(raw, tmp_path / "out")
    message = (
        rf"^the first 20 clips all failed for one reason: no video found "
        r"\(one of them: S\w+: no video found; expected .*\)\. "
        rf"Check --raw\.videos {raw}/videos and --raw\.skeletons {raw}/skeletons\.pkl; "
        r"to build the other clips, allow failures with --max-failures 20 or more$"
    )
    for refused in (
        lambda: build(plan),
        lambda: build(plan, BuildOptions(max_failures=FIRST_CLIPS - 1, where=ExecutorSettings(workers=2))),
        lambda: build_part(plan, BuildOptions(), 1, 3),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
        assert not list((tmp_path / "out").glob("*.tar"))
        assert not (tmp_path / "out" / INPUTS).exists(), "so that other inputs are not refused"
    report = build(plan, BuildOptions(max_failures=FIRST_CLIPS))
    assert (report.num_samples, report.num_skipped) == (1, FIRST_CLIPS)


def test_one_good_clip_among_the_first_is_enough(many_raw: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(many_raw, tmp_path / "raw"))
    add_video(raw, tmp_path / "order", FIRST_CLIPS - 1)
    report = build(small_plan(raw, tmp_path / "out"))
    assert (report.num_samples, report.num_skipped) == (1, FIRST_CLIPS)


def test_first_clips_that_fail_for_several_reasons_stop_nothing(many_raw: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(many_raw, tmp_path / "raw"))
    (raw / "videos" / f"{add_video(raw, tmp_path / 'order', 5)}_rgb.avi").write_bytes(b"")
    assert build(small_plan(raw, tmp_path / "out")).num_skipped == FIRST_CLIPS + 1


def test_a_wrong_folder_leaves_a_finished_build_as_it_is(many_raw: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(many_raw, tmp_path / "raw"))
    add_video(raw, tmp_path / "order", 0)
    plan = small_plan(raw, tmp_path / "out")
    build(plan)
    before = folder_bytes(tmp_path / "out")
    with pytest.raises(ValueError, match="the first 20 clips all failed"):
        build(replace(plan, raw=replace(plan.raw, videos=many_raw / "videos")))
    assert folder_bytes(tmp_path / "out") == before
    assert build(plan).num_reused == 11


def test_both_decoders_build_the_same_samples(small_raw: Path, small_built: Path, tmp_path: Path) -> None:
    prepare: PrepareSettings = replace(SMALL, decoder="decord")
    build(small_plan(small_raw, tmp_path, prepare=prepare))
    for path in small_built.glob("*.tar"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_parts_of_an_array_job_make_the_same_folder(small_raw: Path, small_built: Path, tmp_path: Path) -> None:
    plan = small_plan(small_raw, tmp_path)
    for part in (2, 0, 1):
        with pytest.raises(ValueError, match=r"of 4 shards are not built, or damaged: .*; run their parts again"):
            finalise(plan)
        assert not build_part(plan, BuildOptions(), part, 3).problems
        assert not (tmp_path / "manifest.json").exists()
    finalise(plan)
    assert folder_bytes(tmp_path) == folder_bytes(small_built)
    with pytest.raises(ValueError, match=r"^part must be i/n with 0 <= i < n, got 3/3$"):
        build_part(plan, BuildOptions(), 3, 3)


def test_a_second_build_is_refused_and_told_who_is_first(small_raw: Path, tmp_path: Path) -> None:
    plan = small_plan(small_raw, tmp_path)
    plan.work_folder.mkdir()
    first = f"another build is running here: process {os.getpid()} on "
    with FolderLock(plan.work_folder):
        for second in (build, finalise, lambda plan: build_part(plan, BuildOptions(), 0, 2)):
            with pytest.raises(ValueError, match=first):
                second(plan)
    with FolderLock(plan.work_folder, "lock-1-of-2"):
        for second in (build, finalise, lambda plan: build_part(plan, BuildOptions(), 0, 3)):
            with pytest.raises(ValueError, match=first):
                second(plan)
        build_part(plan, BuildOptions(), 0, 2)  # another part of the same job may


def test_a_clip_that_takes_too_long_is_skipped_and_the_build_goes_on(small_raw: Path, tmp_path: Path) -> None:
    plan = small_plan(small_raw, tmp_path, limits=ClipLimits(clip_seconds=1e-3))
    report = build(plan, BuildOptions(where=ExecutorSettings(workers=2)))
    assert report.num_samples == 0 and report.num_shards == 4
    assert {problem.reason.partition(": ")[2] for problem in report.problems} == {"took over 0.001 s and was stopped"}
    assert report.num_skipped == len(report.problems) > 4
    again = build(small_plan(small_raw, tmp_path), BuildOptions(retry_skipped=True))
    assert again.num_reused == 0 and not again.problems


def test_an_unfinished_folder_holds_no_manifest(small_raw: Path, tmp_path: Path) -> None:
    plan = small_plan(small_raw, tmp_path)
    build(plan)
    next(tmp_path.glob("train-*.tar")).unlink()

    def stop(done: int, total: int, note: str) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan, progress=stop)
    assert not (tmp_path / "manifest.json").exists()
    assert build(plan).num_reused == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_seconds": 0}, r"limits\.clip_seconds must be > 0, got 0"),
        ({"process_mb": 10}, r"limits\.process_mb must be >= 256, got 10"),
    ],
)
def test_bad_limits_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipLimits(**changes)


def test_foreign_files_in_the_output_folder_stay(small_raw: Path, tmp_path: Path) -> None:
    (tmp_path / "nturgbd_videos.tar").write_bytes(b"precious")
    build(small_plan(small_raw, tmp_path))
    assert (tmp_path / "nturgbd_videos.tar").read_bytes() == b"precious"


def test_a_plan_that_fails_claims_no_folder(small_raw: Path, tmp_path: Path) -> None:
    for changes in ({"selection": Selection(only=("nobody",))}, {"protocol": "xset"}):
        with pytest.raises(ValueError, match=r"has no clip nobody|no split of protocol 'xset'"):
            build(small_plan(small_raw, tmp_path, **changes))
    assert build(small_plan(small_raw, tmp_path)).num_samples == 6


def test_a_machine_that_starts_no_process_skips_no_clip(
    small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ProcessStartError(12, "no decoding process can be started: Cannot allocate memory")

    plan = small_plan(small_raw, tmp_path, limits=ClipLimits(clip_seconds=99))  # a decoding process of its own
    monkeypatch.setattr(IsolatedProcess, "_start", fail)
    with pytest.raises(OSError, match="no decoding process can be started"):
        build(plan)
    monkeypatch.undo()
    assert build(plan).num_samples == 6


def test_damaged_shards_are_named(copied: Path, small_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "epam_data")
    (copied / "train-000001.tar").write_bytes(b"damaged")
    build(small_plan(small_raw, copied))
    assert caplog.messages == ["verifying 4 finished shards", "train-000001.tar is damaged or missing"]


def test_a_damaged_store_is_named(copied: Path, small_raw: Path) -> None:
    plan = small_plan(small_raw, copied)
    data = plan.store.read_bytes()
    with SkeletonStore(plan.store) as store:
        numbers = store.clip(0, None).keypoints.tobytes()[:64]
    plan.store.write_bytes(data.replace(numbers, bytes(64)))
    for path in copied.glob("*.tar"):
        path.unlink()
    with pytest.raises(ValueError, match=r"skeletons\.h5: damaged \(.*\); remove it, and the next build recreates it$"):
        build(plan)
