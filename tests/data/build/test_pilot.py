import shutil
from pathlib import Path
from typing import Any

import pytest

from epam_data.build.build import build
from epam_data.build.pilot import PilotReport, PilotSettings, advised_samples_per_shard, pilot
from epam_data.system.executors import ExecutorSettings
from tests.data.raw_data import cut_avi, folder_bytes, ntu60_plan, ntu_name

SETTINGS = PilotSettings(clips=10, sizes_px=(64, 96), jpeg_qualities=(80, 95), compared_clips=3)


@pytest.fixture(scope="module")
def report(ntu60_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> PilotReport:
    """A pilot of raw data with a fault of every kind; all clips are tried."""
    folder = tmp_path_factory.mktemp("pilot")
    raw = Path(shutil.copytree(ntu60_raw, folder / "raw"))
    videos = raw / "videos"
    (videos / f"{ntu_name(1, 2)}_rgb.avi").unlink()
    (videos / f"{ntu_name(2, 3)}_rgb.avi").write_bytes(b"")
    (videos / f"{ntu_name(3, 4)}_rgb.avi").write_bytes((videos / f"{ntu_name(3, 4)}_rgb.avi").read_bytes()[:400])
    cut = videos / f"{ntu_name(7, 8)}_rgb.avi"
    cut.write_bytes(cut_avi(cut.read_bytes(), 30))
    (videos / "holiday.mov").write_bytes(b"film")
    plan = ntu60_plan(raw, folder / "scratch")
    return pilot(plan, PilotSettings(**{**SETTINGS.__dict__, "clips": 19}), ExecutorSettings(workers=2))


def test_files_that_do_not_fit_are_named(report: PilotReport):
    files = report.files
    assert files.num_clips == 19
    assert files.without_video == [ntu_name(1, 2)]
    assert files.without_clip == ["holiday.mov"]
    assert files.empty == [f"{ntu_name(2, 3)}_rgb.avi"]
    assert files.unusual == [f"{ntu_name(3, 4)}_rgb.avi"]


def test_failures_are_counted_by_reason(report: PilotReport):
    assert (report.num_tried, report.num_built, report.num_clips) == (19, 16, 19)
    assert report.skipped["no video found"] == 1 and sum(report.skipped.values()) == 3
    assert report.mended == {"the video gives N frames, the skeleton has N; the first N are used": 1}
    assert report.findings == []


def test_costs(report: PilotReport):
    assert report.core_seconds > 0
    sizes = report.whole_bytes
    assert list(sizes) == ["64 px, quality 80", "64 px, quality 95", "96 px, quality 80", "96 px, quality 95"]
    assert sizes["64 px, quality 80"] < sizes["64 px, quality 95"] < sizes["96 px, quality 95"]


def test_what_a_user_reads(report: PilotReport):
    lines = report.describe().splitlines()
    assert f"  1 clips without a video: {ntu_name(1, 2)}" in lines
    assert "built 16 of 19 random clips; of all, 1 to 8 of 19 would fail (95 %)" in lines
    assert "check: 0 problems in the shards of these clips" in lines
    assert lines[-1].startswith("shards: ") and "--shard.samples_per_shard" in lines[-1]


def test_the_same_clips_each_time(ntu60_raw: Path, tmp_path: Path):
    first, second = (
        pilot(ntu60_plan(ntu60_raw, tmp_path / out), SETTINGS, ExecutorSettings()) for out in ("one", "two")
    )
    assert first.num_tried == first.num_built == 10 and first.num_clips == 19
    assert first.whole_bytes == second.whole_bytes
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(("bytes_per_clip", "advice"), [(0.8e6, 256), (2e6, 128), (0, 256), (1e9, 1)])
def test_advice_on_shards(bytes_per_clip: float, advice: int):
    assert advised_samples_per_shard(bytes_per_clip) == advice


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clips": 0}, "pilot.clips must be >= 1, got 0"),
        ({"sizes_px": ()}, "pilot.sizes_px must name at least one value"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PilotSettings(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jpeg_qualities": (80, 200)}, r"^shard\.jpeg_quality must be in 1\.\.100, got 200$"),
        ({"sizes_px": (4,)}, r"^prepare\.rgb_size_px must be in 8\.\.4096, got 4$"),
    ],
)
def test_settings_are_checked_before_anything_is_built(
    ntu60_raw: Path, tmp_path: Path, values: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        pilot(ntu60_plan(ntu60_raw, tmp_path / "out"), PilotSettings(**values), ExecutorSettings())
    assert not (tmp_path / "out").exists()


def test_a_build_is_not_replaced(ntu60_raw: Path, tmp_path: Path):
    plan = ntu60_plan(ntu60_raw, tmp_path)
    build(plan)
    before = folder_bytes(tmp_path)
    with pytest.raises(ValueError, match="holds a build of other inputs"):
        pilot(plan, SETTINGS, ExecutorSettings())
    assert folder_bytes(tmp_path) == before
