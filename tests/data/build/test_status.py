import re
import shutil
from pathlib import Path

import pytest

from epam_data.build import build as build_module
from epam_data.build.build import BuildOptions, build, build_part
from epam_data.build.status import BuildStatus, build_status
from epam_data.build.watch import Count, ShardNotes
from epam_data.shards.settings import ShardSettings
from epam_data.system.files import file_sha256
from epam_data.system.folder_lock import FolderLock
from epam_data.system.progress import volume
from tests.data.raw_data import ntu60_plan, ntu_name


def test_a_finished_build(ntu60_shards: Path):
    status = build_status(str(ntu60_shards))
    assert (status.state, status.num_shards_done, status.num_clips_done) == ("finished", 6, 19)
    assert status.num_bytes == sum(path.stat().st_size for path in ntu60_shards.glob("*.tar"))
    assert status.describe().splitlines() == [
        f"{ntu60_shards}: finished",
        f"6 of 6 shards ({volume(status.num_bytes)}), 19 of 19 clips",
    ]


def test_a_build_at_work_and_interrupted(ntu60_raw: Path, tmp_path: Path):
    raw = Path(shutil.copytree(ntu60_raw, tmp_path / "raw"))
    (raw / "videos" / f"{ntu_name(3, 4)}_rgb.avi").unlink()
    plan = ntu60_plan(raw, tmp_path / "out")
    for part in (0, 1):
        build_part(plan, BuildOptions(), part, 3)

    interrupted = build_status(str(tmp_path / "out"))
    assert (interrupted.state, interrupted.num_shards_done, interrupted.num_shards) == ("interrupted", 4, 6)
    assert interrupted.skipped == {"no video found": 1}
    assert "rerun the build command" in interrupted.describe()

    ShardNotes(plan.work_folder).write("train-000002", Count(clips=3, frames=90))
    assert build_status(str(tmp_path / "out")).num_clips_done == interrupted.num_clips_done  # nobody is at work on them
    with FolderLock(plan.work_folder):
        at_work = build_status(str(tmp_path / "out"))
    assert (at_work.state, at_work.num_shards_in_work) == ("at work", 1)
    assert at_work.num_clips_done == interrupted.num_clips_done + 3
    assert at_work.seconds_left is not None and at_work.seconds_left > 0
    assert re.search(r"^process \d+ on \S+, since 20", at_work.describe(), re.MULTILINE)

    build_part(plan, BuildOptions(), 2, 3)
    assert build_status(str(tmp_path / "out")).state == "not finalised"
    build(plan)
    assert build_status(str(tmp_path / "out")).state == "finished"


def test_shards_of_an_earlier_recipe_and_lost_ones_do_not_count(
    ntu60_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build(ntu60_plan(ntu60_raw, tmp_path))
    (tmp_path / "train-000001.tar").unlink()
    lost = build_status(str(tmp_path))
    assert (lost.state, lost.num_shards_done) == ("interrupted", 5)
    other = ntu60_plan(ntu60_raw, tmp_path, shard=ShardSettings(samples_per_shard=4, jpeg_quality=50))
    monkeypatch.setattr(build_module, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(other, BuildOptions(restart=True))
    assert build_status(str(tmp_path)).num_shards_done == 0


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_looking_changes_nothing(ntu60_shards: Path):
    def content() -> dict[Path, str]:
        return {path: file_sha256(path) for path in ntu60_shards.rglob("*") if path.is_file()}

    before = content()
    build_status(str(ntu60_shards))
    assert content() == before


def test_no_build_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no tasks\.json found; no build was started here"):
        build_status(str(tmp_path))
    with pytest.raises(ValueError, match=r"^s3://bucket/set: give the build's --work folder, too"):
        build_status("s3://bucket/set")


def test_the_time_left_goes_by_shards_in_progress():
    facts = {
        "out": "shards",
        "state": "at work",
        "workplaces": (),
        "num_shards": 9,
        "num_shards_done": 1,
        "num_clips": 90,
        "num_clips_done": 10,
        "num_bytes": 2_000_000_000,
        "skipped": {},
        "num_shards_in_work": 2,
    }
    assert "2 shards in progress, about 1 h 01 min left" in BuildStatus(**facts, seconds_left=3660.0).describe()
    assert "time left unknown" in BuildStatus(**facts, seconds_left=None).describe()
