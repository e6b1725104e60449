from pathlib import Path

import fsspec
import pytest

from epam_data.build import build_shard
from epam_data.cli import main
from tests.data.raw_data import folder_bytes, ntu_name


def test_a_dry_run_builds_nothing(arguments: list[str], tmp_path: Path, capsys):
    assert main(["build", *arguments, "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("19 clips (train 14, val 5), ")
    assert not (tmp_path / "out").exists()


def test_quick_looks(arguments: list[str], tmp_path: Path, capsys):
    def build(out: str, *choice: str) -> str:
        assert main(["build", *arguments, "--out", str(tmp_path / out), *choice]) == 0
        return capsys.readouterr().out

    assert "5 clips in 1 shards" in build("split", "--split", "val")
    assert "2 clips in 2 shards" in build("only", "--only", ntu_name(0, 1), ntu_name(15, 16))
    assert "3 clips in " in build("limit", "--limit", "3")


def test_a_selection_is_another_build(arguments: list[str], tmp_path: Path, capsys):
    out = str(tmp_path / "out")
    assert main(["build", *arguments, "--out", out, "--split", "val"]) == 0
    assert main(["build", *arguments, "--out", out]) == 2
    assert "holds a build of other inputs (selection.split: val -> None)" in capsys.readouterr().err
    assert main(["build", *arguments, "--out", out, "--restart"]) == 0
    assert "19 clips in 3 shards (1 reused)" in capsys.readouterr().out


def test_a_build_to_a_url(arguments: list[str], ntu60_raw: Path, tmp_path: Path, capsys):
    url, work = "memory://bucket/commands", str(tmp_path / "work")
    assert main(["build", *arguments, "--out", url]) == 2
    assert "give --work FOLDER" in capsys.readouterr().err
    assert main(["build", *arguments, "--out", url, "--work", work]) == 0
    assert main(["status", url, "--work", work]) == 0
    assert f"{url}: finished" in capsys.readouterr().out
    assert main(["build", *arguments, "--out", str(tmp_path / "folder")]) == 0
    fs = fsspec.filesystem("memory")
    published = {path.rpartition("/")[2]: fs.cat_file(path) for path in fs.find(url) if ".build" not in path}
    fs.rm(url, recursive=True)
    assert published == folder_bytes(tmp_path / "folder")


def test_reasons_are_summed_up(arguments: list[str], ntu60_raw: Path, tmp_path: Path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in sorted((ntu60_raw / "videos").iterdir())[:16]:
        (videos / path.name).symlink_to(path)
    out = str(tmp_path / "out")
    assert main(["build", *arguments, "--raw.videos", str(videos), "--out", out]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("16 clips in 3 shards (0 reused), ")
    assert printed[1:] == ["3 skipped: no video found", f"all 3 with their reasons: {out}/problems.jsonl"]


def test_a_wrong_folder_of_videos_stops_the_build(
    arguments: list[str], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build_shard, "FIRST_CLIPS", 5)
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    command = ["build", *arguments, "--raw.videos", str(videos), "--out", str(out)]
    for part in ([], ["--part", "1/2"]):
        assert main([*command, *part]) == 2
        error = capsys.readouterr().err
        assert error.startswith("epam-data build: the first 5 clips all failed for one reason: no video found (")
        assert f"Check --raw.videos {videos} and --raw.skeletons " in error
        assert not list(out.glob("*.tar"))
    assert main([*command, "--max-failures", "20"]) == 2
    printed = capsys.readouterr()
    assert "0 clips in 3 shards" in printed.out and "19 skipped: no video found" in printed.out
    assert "no clip could be built, so this is no data set" in printed.err
    assert not (out / "manifest.json").exists() and (out / "problems.jsonl").read_text().count("\n") == 19
    assert main([*command, "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert "12 of the clips that were tried failed:\n  12 x no video found, such as: S0" in printed.out


@pytest.mark.parametrize("option", ["--dry-run", "--restart", "--retry-skipped", "--part=0/2"])
def test_finalise_builds_nothing(arguments: list[str], tmp_path: Path, capsys, option: str):
    assert main(["finalise", *arguments, "--out", str(tmp_path), option]) == 2
    assert "is an option of build; finalise builds nothing" in capsys.readouterr().err


def test_outputs_that_cannot_be_are_refused(arguments: list[str], tmp_path: Path, capsys):
    work = ["--work", str(tmp_path / "work")]
    assert main(["build", *arguments, "--out", "sftp://host/folder", *work]) == 2
    assert "sftp://host/folder: out must be a folder or in an object store (s3, " in capsys.readouterr().err
    assert main(["build", *arguments, "--out", "memory://bucket/x", *work, "--workers", "2"]) == 2
    assert "memory:// exists in one process only" in capsys.readouterr().err


def test_a_part_that_is_none(arguments: list[str], tmp_path: Path, capsys):
    assert main(["build", *arguments, "--out", str(tmp_path / "out"), "--part", "0/0"]) == 2
    assert "part must be i/n with 0 <= i < n, got 0/0" in capsys.readouterr().err
