import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from epam_data.build import watch as watch_module
from epam_data.build.plan import ShardTask
from epam_data.build.receipts import ShardResult
from epam_data.build.watch import BuildWatch, Count, ShardNotes, read_tasks, write_tasks
from epam_data.schema import Problem
from epam_data.shards.layout import IndexRow, ShardSummary


@pytest.fixture(autouse=True)
def every_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_NOTE_EVERY_SECONDS", 0.0)


def task(name: str, size: int) -> ShardTask:
    return ShardTask(name=name, split="train", rows=tuple(range(size)), videos=(None,) * size, fingerprint=name)


def result(name: str, num_frames: list[int], num_skipped: int = 0) -> ShardResult:
    rows = tuple(
        IndexRow(key=f"{name}-{n}", label=0, coarse_label=0, num_frames=frames, offset=0, member_bytes=(1, 1, 1, 1))
        for n, frames in enumerate(num_frames)
    )
    skipped = Problem(name="a", split="train", action="skipped", reason="a: no video found")
    return ShardResult(
        summary=ShardSummary(name=name, split="train", num_bytes=1, sha256="", rows=rows),
        problems=(skipped,) * num_skipped,
        fingerprint=name,
        stamp=None,
        seconds=1.0,
    )


def test_notes_come_back_until_they_are_removed(tmp_path: Path):
    notes = ShardNotes(tmp_path)
    assert notes.read() == {}
    notes.write("train-000000", Count(clips=1, frames=80))
    notes.write("train-000000", Count(clips=2, skipped=1, frames=80))
    notes.write("val-000000", Count(clips=5, frames=400))
    assert notes.read() == {"train-000000": Count(2, 1, 80), "val-000000": Count(5, 0, 400)}
    notes.remove(["train-000000", "train-000007"])
    assert list(notes.read()) == ["val-000000"]
    notes.remove_all()
    assert notes.read() == {} and not (tmp_path / "progress").exists()


def test_a_cut_note_is_passed_over(tmp_path: Path):
    notes = ShardNotes(tmp_path)
    notes.write("train-000000", Count(clips=1))
    (tmp_path / "progress" / "train-000001").write_text('{"clips":')
    assert list(notes.read()) == ["train-000000"]


def test_what_is_no_note_is_passed_over(tmp_path: Path):
    """A folder of shards may come from a stranger, with its work folder."""
    notes = ShardNotes(tmp_path)
    notes.write("train-000000", Count(clips=1))
    os.mkfifo(tmp_path / "progress" / "train-000001")  # it would block whoever opens it
    (tmp_path / "progress" / "train-000002").symlink_to("/dev/zero")
    (tmp_path / "progress" / "train-000003").mkdir()
    (tmp_path / "progress" / "train-000004").write_text('{"clips": 1}' + " " * 5000)
    assert list(notes.read()) == ["train-000000"]


def test_a_list_of_shards_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tasks(tmp_path, [task("train-000000", 2)])
    monkeypatch.setattr(watch_module, "_MAX_TASKS_BYTES", 10)
    with pytest.raises(ValueError, match=r"/tasks\.json: is larger than 10 bytes, the most that is read$"):
        read_tasks(tmp_path)
    (tmp_path / "tasks.json").unlink()
    os.mkfifo(tmp_path / "tasks.json")
    with pytest.raises(OSError, match=r"Not a regular file: '.*/tasks\.json'"):
        read_tasks(tmp_path)


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path):
    (tmp_path / "progress").write_text("a file where the folder should be")
    ShardNotes(tmp_path).write("train-000000", Count(clips=1))


def test_notes_are_not_written_for_every_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch_module, "_NOTE_EVERY_SECONDS", 3600.0)
    notes = ShardNotes(tmp_path)
    for clips in range(3):
        notes.write("train-000000", Count(clips=clips))
    assert notes.read()["train-000000"].clips == 0


def test_tasks(tmp_path: Path):
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path))}: no tasks\.json found; no build was started"):
        read_tasks(tmp_path)
    write_tasks(tmp_path, [task("train-000000", 3), task("val-000000", 1)])
    assert read_tasks(tmp_path) == {"train-000000": (3, "train-000000"), "val-000000": (1, "val-000000")}


def test_a_watch_counts_what_was_there_what_is_finished_and_what_is_in_progress(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(watch_module, "_NOTE_EVERY_SECONDS", 0.001)
    told: list[tuple[int, int, str]] = []

    def wait_for(clips: int) -> str:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if told and told[-1][0] == clips:
                return told[-1][2]
            time.sleep(0.001)
        raise AssertionError(f"{clips} clips were never told, the last was {told[-1]}")

    notes = ShardNotes(tmp_path)
    tasks = [task("a", 4), task("b", 4), task("c", 4)]
    with BuildWatch(notes, tasks, [result("a", [80] * 4)], lambda *said: told.append(said)) as watch:
        assert wait_for(4).startswith("0 frames/s, 0 skipped")
        notes.write("b", Count(clips=3, skipped=1, frames=160))
        assert wait_for(7).endswith(" 1 skipped")
        watch.finished(result("b", [80] * 3, num_skipped=1))  # its note counts no more
        wait_for(8)
        watch.finished(result("c", [80] * 4))
        wait_for(12)
    assert {total for _, total, _ in told} == {12}
    assert told[-1][2].endswith("/s, 1 skipped") and not told[-1][2].startswith("0 frames/s")
