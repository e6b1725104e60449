"""What a single clip of a build gives, and why it may be skipped."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.build import build_shard, ingest
from epam_data.build.build import BuildOptions, build, finalise
from epam_data.build.build_shard import FIRST_CLIPS, check_length, members_or_problem
from epam_data.build.plan import BuildPlan, ClipLimits
from epam_data.samples import colours
from epam_data.samples.colours import check_colours
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Clip, Problem
from epam_data.shards.layout import PROBLEMS
from epam_data.shards.manifest import load_manifest
from tests.data.raw_data import SMALL, background, ntu60_plan, ntu_name, write_ntu60, write_video


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ntu60(tmp_path_factory.mktemp("raw"), 3, 1)


@pytest.fixture
def changed(raw: Path, tmp_path: Path) -> Path:
    """A copy of `raw` to change."""
    return Path(shutil.copytree(raw, tmp_path / "raw"))


def clip_of_length(num_frames: int) -> Clip:
    keypoints = np.broadcast_to(np.float16(5), (1, num_frames, 17, 2))
    return Clip(
        key="a", name="a", split="train", label=0, keypoints=keypoints, scores=keypoints[..., 0], image_size=(96, 128)
    )


def default_plan(out: Path, **limits: Any) -> BuildPlan:
    return ntu60_plan(out, out, prepare=PrepareSettings(), limits=ClipLimits(**limits))


# Long clips


@pytest.mark.parametrize("num_frames", [1, 2300, 5000])
def test_clips_of_some_minutes_fit(tmp_path: Path, num_frames: int) -> None:
    check_length(default_plan(tmp_path), clip_of_length(num_frames))


@pytest.mark.parametrize(
    ("num_frames", "process_mb", "advised"), [(10_000, 2048, 3900), (20_000, 4000, 7500), (600, 300, 500)]
)
def test_a_clip_that_is_too_long_is_refused_before_it_is_decoded(
    tmp_path: Path, num_frames: int, process_mb: int, advised: int
) -> None:
    message = (
        rf"^a: its {num_frames} frames need more memory than limits\.process_mb = {process_mb}; "
        rf"set --limits\.process_mb {advised}, or cut the recording into shorter ones$"
    )
    with pytest.raises(ValueError, match=message):
        check_length(default_plan(tmp_path, process_mb=process_mb), clip_of_length(num_frames))
    check_length(default_plan(tmp_path, process_mb=advised), clip_of_length(num_frames))


def test_a_clip_that_no_reader_takes_is_refused(tmp_path: Path) -> None:
    message = r"^a: the heatmap of its 21000 frames has 1120 MB, at most 1074 can be read; cut the recording"
    with pytest.raises(ValueError, match=message):
        check_length(default_plan(tmp_path, process_mb=100_000), clip_of_length(21_000))


def test_a_long_clip_is_a_problem_of_its_own(tmp_path: Path) -> None:
    clip = replace(clip_of_length(10_000), video=tmp_path / "a.mp4")
    problem = members_or_problem(None, default_plan(tmp_path), clip)  # type: ignore[arg-type]  # no process is asked
    assert isinstance(problem, Problem) and "its 10000 frames need more memory" in problem.reason


class NoMemory:
    def call(self, *_: object) -> None:
        raise MemoryError


def test_where_memory_ends_the_limit_is_named(tmp_path: Path) -> None:
    clip = replace(clip_of_length(10), video=tmp_path / "a.mp4")
    problem = members_or_problem(NoMemory(), default_plan(tmp_path, process_mb=300), clip)  # type: ignore[arg-type]
    assert isinstance(problem, Problem)
    assert problem.reason == (
        "a: needs more memory than limits.process_mb = 300; set --limits.process_mb 600, "
        "or cut the recording into shorter ones"
    )


@pytest.mark.soak
def test_a_clip_of_many_frames_is_built_within_the_default_memory(tmp_path: Path) -> None:
    """600 frames took some 750 MB when the heatmap was made as floats in one piece."""
    write_video(tmp_path / "a.mp4", [background((96, 128))] * 600, g="600")
    clip = replace(clip_of_length(600), video=tmp_path / "a.mp4")
    process = build_shard.IsolatedProcess(timeout_seconds=120, memory_bytes=620_000_000)
    try:
        made = members_or_problem(process, default_plan(tmp_path, process_mb=620), clip)
    finally:
        process.close()
    assert not isinstance(made, Problem), made.reason
    assert made[0].num_frames == 600


# Videos that are not there


def test_what_lies_there_instead_is_in_the_report(changed: Path, tmp_path: Path) -> None:
    video = changed / "videos" / f"{ntu_name(1, 2)}_rgb.avi"
    video.rename(video.with_suffix(".MKV"))
    plan = ntu60_plan(changed, tmp_path / "out")
    (problem,) = build(plan).problems
    name = ntu_name(1, 2)
    there = f"{name}_rgb.MKV is there: rename or convert it to {name}.mp4 or {name}.avi"
    assert problem.reason == f"{name}: no video found; {there}"
    assert json.loads((tmp_path / "out" / PROBLEMS).read_text())["reason"] == problem.reason


def test_first_clips_that_are_absent_alike_stop_a_build(tmp_path: Path) -> None:
    raw = write_ntu60(tmp_path, FIRST_CLIPS + 1, 0)
    for video in (raw / "videos").iterdir():
        video.rename(video.with_suffix(".MOV"))
    message = r"^the first 20 clips all failed for one reason: no video found \(one of them: .*_rgb\.MOV is there: "
    with pytest.raises(ValueError, match=message):
        build(ntu60_plan(raw, tmp_path / "out"))


# Decoders


@pytest.fixture
def _forget_colours() -> Iterator[None]:
    yield
    check_colours.cache_clear()


@pytest.mark.usefixtures("_forget_colours")
def test_a_pyav_of_wrong_colours_builds_nothing(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pyav = colours._by_pyav
    check_colours.cache_clear()
    monkeypatch.setattr(colours, "_by_pyav", lambda number: by_pyav(5))
    with pytest.raises(ValueError, match=r"^PyAV .* of BT\.709, expected .*: its colours are wrong\. Install PyAV 17"):
        build(ntu60_plan(raw, tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize("go_on", [build, finalise], ids=["resume", "finalise"])
@pytest.mark.parametrize(("name", "other"), [("libswscale", "8.3.100"), ("av", "16.0.0")])
def test_shards_of_another_decoder_are_not_continued(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: str, go_on: Any
) -> None:
    plan = ntu60_plan(raw, tmp_path / "out")
    build(plan)
    versions = load_manifest(tmp_path / "out").versions
    assert {"av", "libavcodec", "libswscale", "numba"} <= set(versions)
    now = {**versions, name: other}
    monkeypatch.setattr("epam_data.build.plan.tool_versions", lambda: now)
    monkeypatch.setattr(ingest, "tool_versions", lambda: now)
    message = rf"holds a build of other inputs \(versions\.{name}: {versions[name]} -> {other}\)"
    with pytest.raises(ValueError, match=message):
        go_on(plan)


def test_files_that_decord_does_not_decode_are_noted(changed: Path, tmp_path: Path) -> None:
    video = changed / "videos" / f"{ntu_name(1, 2)}_rgb.avi"
    plain = build(ntu60_plan(changed, tmp_path / "plain"))
    assert plain.problems == ()
    write_video(tmp_path / "a.h264", [background((96, 128))] * 20)
    (tmp_path / "a.h264").replace(video)
    plan = ntu60_plan(changed, tmp_path / "out", prepare=replace(SMALL, decoder="decord"))
    report = build(plan, BuildOptions())
    assert [problem.action for problem in report.problems] == ["mended"]
    assert report.problems[0].reason == f"{ntu_name(1, 2)}: decoded by PyAV, since decord cannot decode it"
    assert load_manifest(tmp_path / "out").problems == {"mended": 1}
