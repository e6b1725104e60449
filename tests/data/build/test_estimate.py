import shutil
from pathlib import Path

import pytest

from epam_data.build.build import build
from epam_data.build.estimate import Estimate, Measured, estimate
from epam_data.build.plan import Selection
from tests.data.raw_data import ntu60_plan, ntu_name


def test_counts_are_exact_and_sizes_near(ntu60_raw: Path, tmp_path: Path):
    plan = ntu60_plan(ntu60_raw, tmp_path / "out")
    guess = estimate(plan)
    assert not (tmp_path / "out").exists()
    assert guess.num_clips == {"train": 14, "val": 5} and guess.num_shards == 6
    assert guess.num_frames == sum(20 + 3 * (number % 8) for number in range(19))
    assert guess.without_video == () and guess.num_unread == guess.num_excluded == 0
    report = build(plan)
    assert guess.num_bytes == pytest.approx(report.num_bytes, rel=0.25)
    assert guess.measured is not None and guess.measured.num_clips == 6


def test_what_will_be_missing_is_told(ntu60_raw: Path, tmp_path: Path):
    raw = Path(shutil.copytree(ntu60_raw, tmp_path / "raw"))
    (raw / "videos" / f"{ntu_name(3, 4)}_rgb.avi").unlink()
    (raw / "videos" / f"{ntu_name(5, 6)}_rgb.avi").write_bytes(b"no video")
    guess = estimate(ntu60_plan(raw, tmp_path / "out"))
    assert guess.without_video == (ntu_name(3, 4),)
    assert f"1 without a video: {ntu_name(3, 4)}" in guess.describe(2)
    assert guess.measured is not None  # the clip that cannot be decoded is passed over


def test_the_reasons_of_failures_are_told(ntu60_raw: Path, tmp_path: Path):
    raw = Path(shutil.copytree(ntu60_raw, tmp_path / "raw"))
    for path in (raw / "videos").iterdir():
        path.write_bytes(b"no video")
    guess = estimate(ntu60_plan(raw, tmp_path / "out"))
    assert guess.measured is None and len(guess.failures) == 12
    told = guess.describe(2)
    assert "12 of the clips that were tried failed:\n  12 x " in told and "such as: S0" in told
    assert told.endswith("no clip could be built, so time and size are unknown")


def test_no_clip_can_be_built(ntu60_raw: Path, tmp_path: Path):
    raw = Path(shutil.copytree(ntu60_raw, tmp_path / "raw"))
    for path in (raw / "videos").iterdir():
        path.unlink()
    guess = estimate(ntu60_plan(raw, tmp_path / "out", selection=Selection(limit=3)))
    assert guess.measured is None and guess.num_bytes is None and guess.core_seconds is None
    assert "time and size are unknown" in guess.describe(2)


def test_the_whole_is_scaled_by_frames():
    guess = Estimate(
        num_clips={"train": 56_578},
        num_frames=4_752_552,
        num_shards=222,
        num_unread=0,
        num_excluded=302,
        without_video=(),
        measured=Measured(num_clips=6, num_frames=600, seconds=6.0, num_bytes=6_000_000),
    )
    assert guess.core_seconds == pytest.approx(47_525.52)
    lines = guess.describe(2).splitlines()
    assert lines[0] == "56578 clips (train 56578), 4752552 frames, 222 shards"
    assert "302 records are excluded by the data set itself" in lines
    assert lines[-2:] == ["about 47.5 GB", "about 13 h 12 min on one core, 6 h 36 min on 2"]
